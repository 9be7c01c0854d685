"""Which windows have counted: each number of a stream once, in whatever order they come.

Ingest takes numbers within ``AHEAD`` of the first that it lacks, so one that lies further back than that has
been counted, and what is remembered of a stream is two numbers.

>>> counted = Counted()
>>> [counted.add("r1", "s", number) for number in (7, 9, 8, 9, 7, 6, 9 + AHEAD, 9, 10)]
[True, True, True, False, False, True, True, False, True]
"""

from typing import Final

from edgewright.wire.numbering import AHEAD

_LOWER: Final = (1 << AHEAD) - 1


class Counted:
    """See the module's text."""

    def __init__(self) -> None:
        self._streams: dict[tuple[str, str], tuple[int, int]] = {}

    def add(self, device: str, stream: str, number: int) -> bool:
        """Count a number; whether it is a new one."""
        # Bit n of ``lower`` says that ``highest - 1 - n`` has counted.
        highest, lower = self._streams.get((device, stream), (-1, 0))
        if number > highest:
            beyond = min(number - highest, AHEAD + 1)
            lower = (lower << 1 | (highest >= 0)) << (beyond - 1) & _LOWER
            self._streams[device, stream] = (number, lower)
            return True
        back = highest - number - 1
        if not 0 <= back < AHEAD or lower >> back & 1:
            return False
        self._streams[device, stream] = (highest, lower | 1 << back)
        return True
