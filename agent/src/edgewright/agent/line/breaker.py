"""When a model is given up, how fast its runner is replaced, and how a frame's time is shared.

>>> breaker = Breaker()
>>> [breaker.failed(at) for at in (0.0, 1.0, 2.0)]
[False, False, True]
>>> Breaker().failed(0.0), replacement_delay_s(1), replacement_delay_s(4)
(False, 0.0, 1.0)
"""

from collections import deque
from typing import Final

FAILURES_TO_BREAK: Final = 3
BREAKER_WINDOW_S: Final = 60.0
LATE_IN_A_ROW: Final = 3
"""So many late answers in a row mean a slow runner. One alone may be the scheduler's fault."""

IDLE_S: Final = 2.0
"""A runner that has had nothing to do for so long is asked for a sign of life."""

SIGN_OF_LIFE_WITHIN_S: Final = 2.0
"""It takes microseconds; a runner without one by then is dead-locked, or the device is far overloaded."""

HANG_GRACE_S: Final = 0.5
"""A runner that has not answered so long after a deadline hangs and is killed."""

START_LIMIT_S: Final = 30.0
"""A runner that is not warm by then hangs; a large model on a small board takes seconds."""

_FREE_FAILURES: Final = 2
_FIRST_DELAY_S: Final = 0.5
_LONGEST_DELAY_S: Final = 30.0

_SEND_RESERVE_S: Final = 0.001
_STAND_IN_SHARE: Final = 0.25
"""Part of the time that is kept for a stand-in at least; a busy scheduler alone takes milliseconds."""


class Breaker:
    """Counts what the failures of one model's runners cost; three within a minute break the model."""

    def __init__(self) -> None:
        self._failures: deque[float] = deque()

    def failed(self, now: float, cost: int = 1) -> bool:
        """Count a failure at ``now`` (seconds, monotonic); whether the model is broken."""
        self._failures.extend([now] * cost)
        return self.recent(now) >= FAILURES_TO_BREAK

    def recent(self, now: float) -> int:
        """What the failures of the last minute cost."""
        while self._failures and now - self._failures[0] > BREAKER_WINDOW_S:
            self._failures.popleft()
        return len(self._failures)


def replacement_delay_s(recent_failures: int) -> float:
    """How long to wait before the next runner starts: not at all at first, then doubling up to 30 s."""
    if recent_failures <= _FREE_FAILURES:
        return 0.0
    return min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2.0 ** (recent_failures - _FREE_FAILURES - 1))


def answer_by(now: float, deadline: float, stand_in_run_s: float | None) -> float:
    """Until when the active runner may answer, so that the stand-in and the sending still fit.

    All in seconds; ``stand_in_run_s`` is how long the stand-in takes, None without one.

    >>> answer_by(0.0, 0.1, None), round(answer_by(0.0, 0.1, 0.004), 3)
    (0.099, 0.074)
    """
    reserve = _SEND_RESERVE_S
    if stand_in_run_s is not None:
        reserve += max(2 * stand_in_run_s, (deadline - now) * _STAND_IN_SHARE)
    return deadline - min(reserve, (deadline - now) / 2)
