"""Which numbers of a build differ from run to run: what a clock or the operating system gave.

They stand in reports and never in what is signed, so that the same build gives the same bytes.
"""

from collections.abc import Mapping
from typing import Final

_MEASURED: Final = ("latency", "memory")
"""Words in the names of gates and numbers that a clock or the operating system gives."""


def is_measured(name: str) -> bool:
    """Whether a gate or a number is a measured time or memory.

    >>> is_measured("fp32_latency_us"), is_measured("logit_error")
    (True, False)
    """
    return any(word in name for word in _MEASURED)


def settled(numbers: Mapping[str, float]) -> dict[str, float]:
    """The numbers that the same build gives again."""
    return {name: value for name, value in sorted(numbers.items()) if not is_measured(name)}
