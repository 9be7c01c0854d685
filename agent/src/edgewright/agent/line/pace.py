"""When the next frame may come: the time until then is what a shadowed candidate may use.

>>> pace = Pace()
>>> for at in (0.0, 0.1, 0.19, 0.3, 0.4): pace.frame(at)
>>> round(pace.slack_s(0.41), 3)
0.09
"""

from collections import deque
from typing import Final

_INTERVALS: Final = 16
_FEWEST: Final = 3
"""Before so many intervals nothing is known, and there is no slack."""


class Pace:
    """The newest intervals between frames; three in four of them are not shorter than what is expected."""

    def __init__(self) -> None:
        self._intervals: deque[float] = deque(maxlen=_INTERVALS)
        self._last: float | None = None

    def frame(self, read_at: float) -> None:
        """Note when a frame was read, monotonic seconds."""
        if self._last is not None:
            self._intervals.append(read_at - self._last)
        self._last = read_at

    def slack_s(self, now: float) -> float:
        """Seconds from ``now`` until the next frame may come; 0 where one is due or nothing is known."""
        if self._last is None or len(self._intervals) < _FEWEST:
            return 0.0
        expected = sorted(self._intervals)[len(self._intervals) // 4]
        return max(0.0, self._last + expected - now)
