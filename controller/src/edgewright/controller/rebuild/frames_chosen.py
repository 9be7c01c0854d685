"""The dataset of one rebuild as a value, which the controller stores and the worker of a rung reads.

It stands alone because a worker starts once a rung: with the database beside it a worker's imports took
1.9 s of processor time, without it 0.6 s.
"""

from collections.abc import Sequence

import msgspec


class Labelled(msgspec.Struct, frozen=True):
    """One item of a snapshot: its true class, the blob with its picture, its robot, who told its class."""

    truth: str
    image_sha256: str
    device: str = ""
    source: str = ""


class Snapshot(msgspec.Struct, frozen=True):
    """What one rebuild works with; stored as a blob, so that a run can be repeated.

    Attributes:
        labels: the new version's classes: the running version's in its order, then new ones by name.
        fit, gate: the two parts, oldest first.
        left_out: items by class that were too few to become a label.
        set_aside: sources that disagree with audits, and how.
        audited: items of the gate part that a person has labelled.
        trimmed: items of one robot that were left out, because it told too many of them.
        one_device: the robot that supplies more than its share all the same; empty for none.
    """

    labels: tuple[str, ...]
    fit: tuple[Labelled, ...]
    gate: tuple[Labelled, ...]
    left_out: dict[str, int]
    set_aside: dict[str, str] = {}
    audited: int = 0
    trimmed: dict[str, int] = {}
    one_device: str = ""


def tell_dataset(chosen: Snapshot, known: Sequence[str]) -> str:
    """A snapshot in a sentence, for the rebuild's row."""
    sentence = f"learns from {len(chosen.fit)} fresh frames and is judged on {len(chosen.gate)}"
    if chosen.audited:
        sentence += f", {chosen.audited} of them audited"
    new = [label for label in chosen.labels if label not in known]
    parts = [
        f"new classes: {', '.join(new)}" if new else "",
        *(f"{source} is set aside: {why.rstrip('.')}" for source, why in chosen.set_aside.items()),
        *(f"{count} frames of {device} are left out" for device, count in chosen.trimmed.items()),
    ]
    return "; ".join((sentence, *(part for part in parts if part))) + "."
