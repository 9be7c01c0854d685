"""How much may be captured now: bytes a second and a day, as a factor of each chance.

Rules:

- The factor is known before a frame is looked at: it follows from what was captured before and from the time.
  A chance that is multiplied by it stays a known one. Nothing is dropped afterwards for its size, because
  large pictures are not like the others.
- So a picture may take more than is left. That is a debt: the factor is 0 until it is paid back, and the
  budget is exceeded by the few pictures at most that were drawn before.
- Below half a purse, or a quarter of the day, the factor falls with what is left; it does not stop at once.
  So a budget that is short thins the whole day, instead of telling of its morning only.
- Half of the rate and of the day is the audit's own: hard cases cannot take it, and what they leave of theirs
  is the audit's too.
- The day is kept over restarts (``budget``). What cannot be read or written down counts as spent.
"""

import logging
from pathlib import Path
from time import time
from typing import Final, Literal

from edgewright.agent.budget import Budget
from edgewright.agent.line.developing import ROOM
from edgewright.wire.errors import ByteBudgetError, EdgewrightError, StorageFullError
from edgewright.wire.messages import MAX_IMAGE_BYTES

SAVED_S: Final = 60.0
"""What a purse holds at most, seconds of its rate."""

THIN_BELOW: Final = 0.5
"""Part of a full purse below which it thins."""

DAY_THIN_BELOW: Final = 0.25
FILE_NAME: Final = "captured.json"
OVERDRAFT_BYTES: Final = ROOM * MAX_IMAGE_BYTES
"""What may have been drawn and not yet been paid."""

RETRY_S: Final = 60.0
"""Between two tries to write down what the day has taken."""

PurseName = Literal["audit", "hard"]
HARD_PART: Final = 0.5
"""Of the rate and of the day that hard cases may take."""

_log = logging.getLogger(__name__)


class Purse:
    """A token bucket that may go into debt.

    It begins as full as needs no thinning, so a line that restarts again and again saves nothing up.

    >>> purse = Purse(100.0, 0.0)
    >>> purse.factor(0.0), purse.take(3_000), purse.factor(0.0)
    (1.0, None, 0.0)
    >>> purse.factor(15.0)
    0.5
    """

    def __init__(self, bytes_per_s: float, now: float) -> None:
        self._rate, self._full = bytes_per_s, bytes_per_s * SAVED_S
        self._left, self._at = self._full * THIN_BELOW, now

    def factor(self, now: float) -> float:
        """What chances are multiplied by at ``now`` (seconds, monotonic), 0 to 1."""
        if not self._full:
            return 0.0
        self._left = min(self._full, self._left + max(0.0, now - self._at) * self._rate)
        self._at = now
        return min(1.0, max(0.0, self._left / self._full / THIN_BELOW))

    def take(self, count: int) -> None:
        """So many bytes were captured."""
        self._left -= count


class Day:
    """The bytes of any 24 hours, kept over restarts.

    Args:
        path: of the record; None keeps it in no file.
        limit: bytes; 0 for no limit.
    """

    def __init__(self, path: Path | None, limit: int) -> None:
        self._limit = limit if path is not None else 0
        # Beyond the limit what was drawn before still fits, so that ``demand`` never depends on the frame.
        over = self._limit + OVERDRAFT_BYTES if self._limit else 0
        self._budget = Budget(path or Path(FILE_NAME), over)
        self._open, self._retry_at = not self._limit, 0.0

    def left(self, now: float) -> float:
        """Part of the day's bytes that is left, negative in debt; 0 while it cannot be written down."""
        if not self._limit:
            return 1.0
        if not self._open and now >= self._retry_at:
            self._begin(now)
        return (self._budget.left - OVERDRAFT_BYTES) / self._limit if self._open else 0.0

    def take(self, count: int, now: float) -> bool:
        """So many bytes were captured; whether that is written down. If not, the picture is not kept."""
        if not self._limit:
            return True
        try:
            self._budget.demand(count)
        except (StorageFullError, ByteBudgetError) as error:
            self._close(error, now)
            return False
        self._budget.spend(count)
        return True

    def end(self, now: float) -> None:
        """What was written ahead and not used is given back."""
        if self._limit and self._open:
            try:
                self._budget.end()
            except StorageFullError as error:
                self._close(error, now)

    def _begin(self, now: float) -> None:
        try:
            self._budget.begin(time())
            self._open = True
        except StorageFullError as error:
            self._close(error, now)

    def _close(self, error: EdgewrightError, now: float) -> None:
        _log.warning("Nothing is captured: %s", error.sentence)
        self._open, self._retry_at = False, now + RETRY_S


class Factors:
    """What the chances of the next frame are multiplied by.

    >>> Factors(audit=1.0, hard=0.25).of("hard")
    0.25
    """

    __slots__ = ("audit", "hard")

    def __init__(self, audit: float, hard: float) -> None:
        self.audit, self.hard = audit, hard

    def of(self, purse: PurseName) -> float:
        """One of them."""
        return self.audit if purse == "audit" else self.hard


class Allowance:
    """Both budgets.

    Args:
        bytes_per_s: on the average of a minute; 0 captures nothing.
        day_bytes: in any 24 hours; 0 for no limit.
        folder: where the day is kept; None keeps none.
        now: seconds, monotonic.
    """

    def __init__(self, bytes_per_s: float, day_bytes: int, folder: Path | None, now: float) -> None:
        self._all, self._hard = Purse(bytes_per_s, now), Purse(bytes_per_s * HARD_PART, now)
        self._day = Day(folder / FILE_NAME if folder else None, day_bytes)

    def factors(self, now: float) -> Factors:
        """For the next frame."""
        left = self._day.left(now)
        day = min(1.0, max(0.0, left / DAY_THIN_BELOW))
        hard = min(1.0, max(0.0, (left - 1 + HARD_PART) / HARD_PART / DAY_THIN_BELOW))
        audit = self._all.factor(now)
        return Factors(audit * day, min(audit, self._hard.factor(now)) * hard)

    def take(self, purse: PurseName, count: int, now: float) -> bool:
        """So many bytes were captured; whether they may be kept."""
        self._all.take(count)
        if purse == "hard":
            self._hard.take(count)
        return self._day.take(count, now)

    def end(self, now: float) -> None:
        """The line ends."""
        self._day.end(now)
