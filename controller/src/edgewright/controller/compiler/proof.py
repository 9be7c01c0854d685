"""How an artifact was proven, in words for people.

Two facts that are easily mixed up. A manifest's ``qualification`` is ``hardware`` only where a device of
the target has measured the artifact before its release. Whether the machine that compiled is of the target's
kind, so that the gates could judge latency too, is less: such an artifact stays ``emulated``, and is told as
one whose latency was judged.
"""

from collections.abc import Mapping
from typing import Final, Literal

HARDWARE: Final[Literal["hardware"]] = "hardware"
"""What a manifest says of an artifact that a device has measured."""


def was_raced(numbers: Mapping[str, float]) -> bool:
    """Whether the gates judged latency too, by a verdict's numbers: the machine was of the target's kind.

    >>> was_raced({"length": 10.0, "latency_us": 200.0}), was_raced({"length": 10.0})
    (True, False)
    """
    return "latency_us" in numbers


def how_proven(qualification: str, raced: bool) -> str:
    """What a person is told.

    >>> how_proven("hardware", True), how_proven("emulated", True), how_proven("emulated", False)
    ('measured on devices', 'emulated, latency included', 'emulated')
    """
    if qualification == HARDWARE:
        return "measured on devices"
    return f"{qualification}, latency included" if raced else qualification
