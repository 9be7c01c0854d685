"""What bounds one try to fetch a version: its rate, its time, its bytes and its window, in one object.

A reader asks it before each chunk and tells it what happens; it touches no network and no disk but the
budget's record. Time is counted only while somebody could have delivered: a network that is away for a week
takes nothing from ``version_hours`` and is no slow retrieval.
"""

import random
import time
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from edgewright.agent.fetcher import Interrupt, Interrupted, never
from edgewright.agent.pacing import Pace
from edgewright.wire.errors import EdgewrightError, SlowRetrievalError, TransferDeadlineError

PATIENCE_SECONDS: Final = (5.0, 5.0, 10.0, 20.0, 40.0, 60.0)
"""Silence that a chunk is allowed in each round that brings nothing; after the last it has timed out."""

RATE_SECONDS: Final = 300.0
"""Over how long the lowest rate is taken; longer than the patience with one silent chunk."""

SLICE_SECONDS: Final = 0.2
"""How often whoever waits looks whether it was interrupted."""

Fits = Callable[[int], None]
"""Raises where so many more bytes may not be asked for now."""


class Postponed(Exception):  # noqa: N818 - nothing is wrong: a later try is in order
    """The transfer has to wait.

    Attributes:
        error: why, as it is reported.
        seconds: after which another try is in order.
    """

    def __init__(self, error: EdgewrightError, seconds: float) -> None:
        super().__init__(str(error))
        self.error, self.seconds = error, seconds


class Source(Protocol):
    """What tells how many bytes came; every ``ChunkReader`` does."""

    @property
    def received(self) -> int:
        """Bytes from the network since ever."""


class Limits(msgspec.Struct, frozen=True):
    """Bounds of a try.

    Attributes:
        window: most chunks on their way at a time.
        slowest: right bytes a second below which it ends.
        rate_seconds: over how long that is taken.
        seconds: how long it may take, counted while there is a connection.
        patience: silence allowed in each round that brings nothing, seconds.
    """

    window: int = 8
    slowest: int = 1024
    rate_seconds: float = RATE_SECONDS
    seconds: float = 86_400.0
    patience: tuple[float, ...] = PATIENCE_SECONDS


class Transfer:
    """One try.

    Args:
        limits: its bounds.
        interrupt: answers True when the work is called off.
        fits: asked before each chunk with all bytes on their way and its own.
        spend: told of every byte that came.
        monotonic: seconds that only grow.
        draw: jitter.

    Attributes:
        pace: the window's law; what it learnt with one blob holds for the next.
        patience: silence that a chunk is allowed in this round, seconds.
        active: seconds that count.
    """

    def __init__(
        self,
        limits: Limits,
        interrupt: Interrupt = never,
        fits: Fits = lambda _length: None,
        spend: Callable[[int], None] = lambda _taken: None,
        monotonic: Callable[[], float] = time.monotonic,
        draw: random.Random | None = None,
    ) -> None:
        self.limits, self.pace = limits, Pace(limits.window, limits.slowest)
        self.patience = limits.patience[0]
        self.active = 0.0
        self._interrupt, self._fits, self._spend, self._monotonic = interrupt, fits, spend, monotonic
        self._draw = draw or random.Random()  # noqa: S311 - jitter is no secret
        self._looked_at, self._received = monotonic(), -1
        self._connected = True
        self._rate_from, self._right = 0.0, 0

    def now(self) -> float:
        """Seconds that only grow."""
        return self._monotonic()

    def begin_round(self, silent: int) -> float:
        """A round of questions begins after so many that brought nothing; when its patience ends."""
        # More patient by up to a quarter: devices that lack the same chunk do not ask for it in step.
        self.patience = self.limits.patience[silent] * self._draw.uniform(1.0, 1.25)
        return self._monotonic() + self.patience

    def admits(self, length: int) -> bool:
        """Whether a chunk may be asked for now; False while the window or what is on its way leaves no room.

        Raises:
            Postponed: it may not, and nothing is on its way that could make room.
        """
        if self.pace.on_their_way >= self.pace.window:
            return False
        try:
            self._fits(self.pace.bytes_on_their_way + length)
        except Postponed:
            if self.pace.on_their_way:
                return False
            raise
        return True

    def look(self, received: int, *, connected: bool) -> None:
        """Some time has passed; a reader calls it at least each quarter of a second.

        Args:
            received: bytes that the connection has brought since ever.
            connected: whether somebody could deliver.

        Raises:
            Interrupted: the work was called off.
            TransferDeadlineError: the try takes too long.
            SlowRetrievalError: right bytes come too slowly.
        """
        now = self._monotonic()
        if connected and self._connected:
            self.active += now - self._looked_at
        self._looked_at, self._connected = now, connected
        self.account(received)
        if self._interrupt():
            raise Interrupted
        if self.active > self.limits.seconds:
            raise TransferDeadlineError(f"Fetching takes more than {self.limits.seconds / 3600:g} hours.")
        self._check_rate()

    def account(self, received: int) -> None:
        """Count what came since the last look; a try ends with it, whatever ended it."""
        self._spend(received - self._received if self._received >= 0 else 0)
        self._received = received

    def forfeit(self, length: int) -> None:
        """So many bytes were asked for and are no longer waited for: they may be on their way, and count."""
        self._spend(length)

    def took(self, right: int) -> None:
        """So many right bytes were stored."""
        self._right += right

    def wait_until(self, moment: float, chunks: "Source") -> None:
        """Wait, and look meanwhile.

        Raises:
            Interrupted: the work was called off.
        """
        while (left := moment - self._monotonic()) > 0:
            self.look(chunks.received, connected=True)
            time.sleep(min(left, SLICE_SECONDS))

    def _check_rate(self) -> None:
        elapsed = self.active - self._rate_from
        if elapsed < self.limits.rate_seconds:
            return
        if 0 < self._right < elapsed * self.limits.slowest:
            raise SlowRetrievalError(f"{self._right} bytes of chunks came in {elapsed:.0f} s.")
        self._rate_from, self._right = self.active, 0
