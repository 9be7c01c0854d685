"""Trusted time: what this device takes for now when it looks at an expiry, whatever its clock says.

Factory devices lose their clocks: a dead battery starts them years ago, a wrong setting years ahead. A slow
clock would accept documents that expired long ago (a freeze that nobody sees); a fast one would refuse all.

Rules:

- ``now = max(floor, system + offset)``. The floor only grows: the agent's build time and the ``issued`` time
  of every assignment that the director signed and this device accepted. It begins again under a root of the
  director that replaces all its keys: who stole them could have driven it years ahead.
- The offset comes from an assignment that echoes a nonce of our own, drawn by this process and answered while
  the question is fresh: its ``issued`` is the controller's time after we asked. An older answer, shown again,
  echoes another nonce and sets nothing.
- A clock is suspicious when it stands before the floor, when it jumps, when something that is otherwise newer
  is already expired, or when nothing has told yet that it is right. Then the next hello carries the question.
- Time decides about new installs only. Whatever it is, the model that runs goes on.
"""

import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from edgewright.agent.journal import Journal
from edgewright.wire.assignment import Orders
from edgewright.wire.errors import UntrustedClockError

BUILD_TIME: Final = 1_793_491_200.0
"""Seconds since the epoch: 2026-11-01, before this release was made. It moves with releases."""

ANSWER_SECONDS: Final = 600.0
"""How long an answer may take; a later one would set the clock back by its delay."""

REPEAT_SECONDS: Final = 60.0
"""When an unanswered question is asked again."""

STEP_SECONDS: Final = 300.0
"""A difference that is told: clocks that nobody disciplines drift some minutes a year."""

_SYNCHRONIZED: Final = Path("/run/systemd/timesync/synchronized")
"""systemd-timesyncd(8) makes it when the clock has been set from the network."""


def trusted_now(floor: float, offset: float, system: float) -> float:
    """Seconds since the epoch that may be relied on.

    >>> trusted_now(100.0, 5.0, 200.0), trusted_now(100.0, 0.0, 20.0)
    (205.0, 100.0)
    """
    return max(floor, system + offset)


class Clock:
    """The system's clock, held against what was signed.

    Args:
        journal: keeps floor and offset.
        system: seconds since the epoch as the operating system says.
        monotonic: seconds that only grow.
        synchronized: whether the operating system says that its clock is right.
        built: when this release was made, seconds since the epoch.
    """

    def __init__(
        self,
        journal: Journal,
        system: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        synchronized: Callable[[], bool] = _SYNCHRONIZED.exists,
        built: float = BUILD_TIME,
    ) -> None:
        self._journal, self._system, self._monotonic = journal, system, monotonic
        self._built = built
        record = journal.device()
        self._offset = record.offset or 0.0
        self._suspicious = record.offset is None and not record.clock and not synchronized()
        self._told = False
        self._nonce, self._asked_at, self._sent_at = "", 0.0, 0.0
        self._started = system() - monotonic()

    def now(self) -> float:
        """Trusted time, seconds since the epoch."""
        return trusted_now(self.floor, self._offset, self._system())

    @property
    def floor(self) -> float:
        """Seconds since the epoch below which this device never stands."""
        return max(self._built, self._journal.device().clock)

    def suspect(self) -> None:
        """Something that is otherwise newer is expired: ask."""
        self._suspicious = True

    def check(self) -> UntrustedClockError | None:
        """Hold the system's clock against the floor and against its own pace; what is to tell, once."""
        system, floor = self._system(), self.floor
        started = system - self._monotonic()
        jumped, self._started = abs(started - self._started) > STEP_SECONDS, started
        behind = floor - system - self._offset
        if behind <= 0 and not jumped:
            return None
        self._suspicious = True
        if self._told or behind <= STEP_SECONDS:
            return None
        self._told = True
        return UntrustedClockError(f"This device's clock stands {behind:.0f} s before what was signed.")

    def due(self) -> bool:
        """Whether a hello with the question has to be sent now."""
        late = self._monotonic() - self._sent_at >= REPEAT_SECONDS
        return self._suspicious and (not self._nonce or late)

    def question(self) -> str:
        """The nonce for a hello that is sent now, empty where nothing has to be asked."""
        if not self._suspicious:
            return ""
        now = self._monotonic()
        if not self._nonce or now - self._asked_at > ANSWER_SECONDS / 2:
            self._nonce, self._asked_at = secrets.token_hex(16), now
        self._sent_at = now
        return self._nonce

    def answers(self, orders: Orders) -> bool:
        """Whether verified orders answer the question that stands."""
        fresh = self._monotonic() - self._asked_at <= ANSWER_SECONDS
        return bool(self._nonce) and orders.nonce == self._nonce and fresh

    def set_by(self, orders: Orders) -> UntrustedClockError | None:
        """Take the time from orders that answer; what is to tell where the clock was wrong by minutes."""
        wrong = orders.issued - self.now()
        self._offset = orders.issued - self._system()
        self._journal.set_offset(self._offset)
        self._suspicious, self._nonce = False, ""
        told, self._told = self._told, False
        if abs(wrong) <= STEP_SECONDS or told:
            return None
        side = "behind" if wrong > 0 else "ahead"
        return UntrustedClockError(
            f"This device's clock was {abs(wrong):.0f} s {side}; signed time has corrected it."
        )
