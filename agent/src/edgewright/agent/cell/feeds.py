"""How pictures get from a source to the cell's loop: every one in order, or only the newest.

A source that is lost is opened again, with growing pauses, and the loop goes on meanwhile. A live source has
a thread of its own: native camera code that hangs holds that thread and not the loop.
"""

import logging
import random
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Final

from edgewright.agent.backoff import pauses
from edgewright.agent.cell.source import Picture, Source, SourceEnded
from edgewright.wire.errors import SourceLostError

READ_S: Final = 0.25
"""How long one call of a source may wait."""

LONGEST_PAUSE_S: Final = 5.0
"""Between two attempts to open a source; a camera that is back is seen soon."""

_log = logging.getLogger(__name__)


class Feed(ABC):
    """What the loop reads.

    Attributes:
        source: what it reads.
        lost: why the source gives nothing now; empty while it is open.
        skipped: pictures that were dropped for newer ones.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.lost = ""

    @property
    @abstractmethod
    def skipped(self) -> int:
        """See the class."""

    @abstractmethod
    def next(self, timeout_s: float) -> Picture | None:
        """The next picture; None where there was none within the time."""

    @abstractmethod
    def hung_s(self, now: float) -> float:
        """How long native code has not come back, seconds."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the source."""


class InOrder(Feed):
    """Every picture of a source that waits for its reader."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._reader = _Reader(source)
        self._open_at = 0.0
        self._ended = False

    @property
    def skipped(self) -> int:
        """None ever."""
        return 0

    def next(self, timeout_s: float) -> Picture | None:
        """Read here."""
        wait = self._open_at - time.monotonic()
        if self._ended or wait > 0:
            time.sleep(timeout_s if self._ended else min(wait, timeout_s))
            return None
        try:
            picture = self._reader.read(timeout_s)
        except SourceEnded:
            self._ended = True
            _log.info("%s has ended.", self.source.place)
            return None
        self.lost = self._reader.lost
        self._open_at = time.monotonic() + self._reader.pause_s
        return picture

    def hung_s(self, now: float) -> float:  # noqa: ARG002 - a hanging loop has no heartbeat, which tells it
        """Never known here."""
        return 0.0

    def close(self) -> None:
        """Close the source."""
        self.source.close()


class Newest(Feed):
    """Only the newest picture of a live source; the others are counted."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._reader = _Reader(source)
        self._picture: Picture | None = None
        self._came = threading.Condition()
        self._stopping = threading.Event()
        self._passed = 0
        self._turned_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="source", daemon=True)
        self._thread.start()

    @property
    def skipped(self) -> int:
        """Here and in the source."""
        return self._passed + self.source.skipped

    def next(self, timeout_s: float) -> Picture | None:
        """Take the newest."""
        with self._came:
            self._came.wait_for(lambda: self._picture is not None, timeout_s)
            picture, self._picture = self._picture, None
        return picture

    def hung_s(self, now: float) -> float:
        """Since the reading thread was last seen."""
        return now - self._turned_at

    def close(self) -> None:
        """End the thread, which closes the source; one that hangs ends with the process."""
        self._stopping.set()
        self._thread.join(timeout=1)

    def _run(self) -> None:
        while not self._stopping.is_set():
            picture = self._reader.read(READ_S)
            self._turned_at = time.monotonic()
            self.lost = self._reader.lost
            if picture is not None:
                with self._came:
                    self._passed += self._picture is not None
                    self._picture = picture
                    self._came.notify()
            elif self._reader.pause_s:
                self._stopping.wait(self._reader.pause_s)
                self._turned_at = time.monotonic()
        self.source.close()


class _Reader:
    """Opens a source, reads it, and opens it again.

    Attributes:
        lost: why it gives nothing; empty while it is open.
        pause_s: to wait before the next call, seconds.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._open = False
        self._pauses = _steps()
        self.lost = ""
        self.pause_s = 0.0

    def read(self, timeout_s: float) -> Picture | None:
        """One picture, or None.

        Raises:
            SourceEnded: there is no more.
        """
        self.pause_s = 0.0
        try:
            if not self._open:
                self._source.open()
                self._open = True
            picture = self._source.read(timeout_s)
        except SourceLostError as error:
            if self.lost != error.sentence:
                _log.info("%s", error.sentence)
            self.lost = error.sentence
            self.pause_s = min(next(self._pauses), LONGEST_PAUSE_S)
            self._source.close()
            self._open = False
            return None
        if self.lost:
            self._pauses, self.lost = _steps(), ""
        return picture


def _steps() -> Iterator[float]:
    return pauses(random.Random())  # noqa: S311 - jitter is no secret
