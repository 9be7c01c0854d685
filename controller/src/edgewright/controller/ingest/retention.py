"""How long what devices tell is kept: three numbers that whoever starts a controller may set."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Retention:
    """How long telemetry is kept.

    Attributes:
        windows_days: single windows; their sums by minute, hour and day stay.
        samples_days: captured frames that no person labelled.
        samples_mb: what the pictures of captured frames may take, MiB; the oldest go first.
    """

    windows_days: int = 30
    samples_days: int = 180
    samples_mb: int = 20 * 1024
