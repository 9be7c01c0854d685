"""Qualification on hardware: what a device is asked to measure, and what it answers.

The order is a document that the director signs for one device: ``Targets{version, expires, targets}`` with
one target a candidate and ``QualificationOrders`` in a field of its own. No order reads as an assignment and
no assignment as an order: each demands its own field. The image repository has not signed candidates, so a
candidate is measured in a process on trial and never becomes anything that decides.

The answer is a ``Measured`` in a ``Report``, one a candidate, sealed with the device's key like every report.

>>> candidate_path("garment-packing", "x86_64-ort-cpu", 4, "int8")
'qualification/garment-packing/x86_64-ort-cpu/4/int8.json'
"""

import re
from typing import Annotated, Any, Final

import msgspec

from edgewright.wire.assignment import Count, Seconds
from edgewright.wire.errors import MalformedMessageError

FIELD: Final = "x-edgewright-qualification"
"""Name of our field among the Targets document's unrecognised fields; an assignment's is another one."""

MAX_CANDIDATES: Final = 16
"""Of one order. A compiler keeps fewer for a target."""

LONGEST_LIFE_SECONDS: Final = 2 * 86400
"""Of an order, from its issue to its expiry; the controller's last a day."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class QualificationOrders(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an order says beside its candidates.

    Attributes:
        device: the only device that may act on it.
        issued: seconds since the epoch, by the controller's clock.
        min_director_root: the device must trust at least this version of the director's root.
    """

    device: str
    issued: Seconds
    min_director_root: Count = 0


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What a device measured of one candidate.

    Attributes:
        order: number of the order.
        manifest_sha256: the candidate.
        ok: every limit of its manifest holds on this device.
        error: number of the first thing that does not hold, 0 for none; ``detail`` says it in a sentence.
        worst_difference: largest difference of a golden output, relative to the range of the golden outputs.
        latency_p50_us, latency_p99_us: of one inference, microseconds.
        memory_mb: resident memory of the process, MiB.
        threads: that did best.
        placement: number of graph nodes by execution provider.
        runtime: name, version and provider that it ran on.
        unmeasured: the device could not hold it against its limits: it had no room, no runtime for it, or
            its bytes did not come whole. ``ok`` is false then, and nothing is said of the candidate.
    """

    order: Count
    manifest_sha256: str
    ok: bool
    error: int = 0
    detail: str = ""
    worst_difference: float = 0.0
    latency_p50_us: int = 0
    latency_p99_us: int = 0
    memory_mb: float = 0.0
    threads: int = 0
    placement: Annotated[dict[str, int], msgspec.Meta(max_length=16)] = {}
    runtime: Annotated[str, msgspec.Meta(max_length=128)] = ""
    unmeasured: bool = False


def candidate_folder(model: str, target: str, version: int) -> str:
    """Where the paths of a version's candidates begin."""
    return f"qualification/{model}/{target}/{version}/"


def candidate_path(model: str, target: str, version: int, candidate: str) -> str:
    """Target path of a candidate's manifest; the image repository has no role that could sign one.

    Raises:
        MalformedMessageError: the name cannot stand in a path.
    """
    if not _NAME.fullmatch(candidate):
        raise MalformedMessageError(f"{candidate[:80]!r} cannot name a candidate.")
    return f"{candidate_folder(model, target, version)}{candidate}.json"


def read_orders(value: Any) -> QualificationOrders:
    """Read the field ``x-edgewright-qualification``.

    Raises:
        MalformedMessageError: it has another shape.
    """
    try:
        return msgspec.convert(value, QualificationOrders)
    except msgspec.ValidationError as error:
        raise MalformedMessageError(f"The order cannot be read: {error}.") from error
