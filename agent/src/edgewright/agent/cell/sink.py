"""One interface for everything that takes decisions, and the thread that keeps a slow or broken one apart.

Rules:

- Each sink has a thread and a bounded queue of its own: none delays the next frame or another sink.
- A sink that fails is told once, and once when it works again. One that can try again gets the same decision
  again, with growing pauses; a callback that raised does not. One that does not come back is told as well.
- A full queue drops its oldest decision, because a machine acts on the newest. Drops are counted and told.
"""

import logging
import random
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import ClassVar, Final

import msgspec

from edgewright.agent.backoff import pauses
from edgewright.agent.cell.control import Began, Over
from edgewright.wire.errors import SinkError

CLOSE_S: Final = 2.0
"""What a sink may take to deliver what waits, when the cell ends."""

HUNG_S: Final = 10.0
"""A delivery that takes longer hangs; a broker's acknowledgement is waited for half as long."""

CALM_S: Final = 5.0
"""A sink that worked for so long works again."""

_log = logging.getLogger(__name__)


class DecisionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One decision, as every sink gets it.

    Attributes:
        item: id of what the picture showed.
        label: the class, or the declared fallback.
        confidence: of the label, 0 for a fallback.
        source: ``active``, ``standby`` or ``fallback``.
        version: of the model that decided, 0 for a fallback.
        cause: what was wrong with the picture, or ``NoLine``; empty otherwise.
        taken_at, decided_at: seconds since the epoch.
    """

    item: str
    label: str
    confidence: float
    source: str
    version: int
    cause: str
    taken_at: float
    decided_at: float


_encoder = msgspec.json.Encoder()


def as_json(record: DecisionRecord) -> bytes:
    """A record as one JSON object."""
    return _encoder.encode(record)


class Sink(ABC):
    """Where decisions go; all calls come from one thread.

    Attributes:
        place: for people.
        tries_again: whether a decision that failed is delivered again.
    """

    place: str
    tries_again: ClassVar[bool]

    @abstractmethod
    def deliver(self, record: DecisionRecord) -> None:
        """Deliver one decision.

        Raises:
            SinkError: it could not be delivered.
        """

    def pause(self) -> None:  # noqa: B027 - optional: most sinks have nothing to do
        """Nothing has waited for a while: what costs time can be done now.

        Raises:
            SinkError: what was delivered may be lost.
        """

    def close(self) -> None:  # noqa: B027 - likewise
        """Let go of it."""


class SinkThread:
    """A sink with its queue.

    Attributes:
        delivered, dropped: decisions.

    Args:
        sink: what takes them.
        waiting: most that wait.
        told: takes begin and end of trouble; called on the sink's thread and on that of ``watch``.
    """

    def __init__(self, sink: Sink, waiting: int, told: Callable[[Began | Over], None]) -> None:
        self._sink, self._told = sink, told
        self._queue: deque[DecisionRecord] = deque(maxlen=waiting)
        self._changed = threading.Condition()
        self._stopping = False
        self._pauses = pauses(random.Random())  # noqa: S311 - jitter is no secret
        self._bad_since: float | None = None
        self._bad_at = 0.0
        self._busy_since: float | None = None
        self._telling = threading.Lock()
        self._dropped_before = self._dropped_seen = 0
        self.delivered = self.dropped = 0
        self._thread = threading.Thread(target=self._run, name=f"sink {sink.place}", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Decisions in the queue."""
        return len(self._queue)

    def hand(self, record: DecisionRecord) -> None:
        """Put a decision into the queue; returns at once."""
        with self._changed:
            self.dropped += len(self._queue) == self._queue.maxlen
            self._queue.append(record)
            self._changed.notify()

    def watch(self, now: float) -> None:
        """Notice a delivery that hangs; to be called each second or so, with monotonic seconds."""
        since = self._busy_since
        if since is not None and now - since > HUNG_S:
            self._bad(f"A decision is not taken within {HUNG_S:.0f} s.")

    def close(self) -> None:
        """Deliver what waits, as far as that goes in ``CLOSE_S``; a sink that hangs ends with the process."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(timeout=CLOSE_S)

    def _run(self) -> None:
        while (record := self._take()) is not None:
            self._deliver(record)
        self._sink.close()

    def _take(self) -> DecisionRecord | None:
        """The oldest that waits; None at the end."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._stopping, timeout=1.0)
                if self._queue:
                    return self._queue.popleft()
                if self._stopping:
                    return None
            self._rest()

    def _rest(self) -> None:
        if self._works(self._sink.pause):
            self._good()

    def _works(self, act: Callable[[], None]) -> bool:
        """Let the sink do something; what it says where that fails is told."""
        self._busy_since = time.monotonic()
        try:
            act()
        except SinkError as error:
            self._bad(error.sentence)
        except Exception as error:  # noqa: BLE001 - top of the thread, which must not end unseen
            self._bad(f"{type(error).__name__}: {error!s:.200}.")
        else:
            return True
        finally:
            self._busy_since = None
        return False

    def _deliver(self, record: DecisionRecord) -> None:
        while True:
            if self._works(lambda: self._sink.deliver(record)):
                self.delivered += 1
                self._see_drops()
                return
            if not self._sink.tries_again:
                self.dropped += 1
                self._dropped_seen += 1
                return
            with self._changed:
                if self._changed.wait_for(lambda: self._stopping, timeout=next(self._pauses)):
                    self.dropped += 1
                    return

    def _see_drops(self) -> None:
        if self.dropped > self._dropped_seen and self._bad_since is None:
            self._bad("It is slower than the decisions come, and the oldest that wait are dropped.")
        elif self.dropped > self._dropped_seen:
            with self._telling:
                self._bad_at = time.monotonic()
        else:
            self._good()
        self._dropped_seen = self.dropped

    def _bad(self, sentence: str) -> None:
        with self._telling:
            self._bad_at = time.monotonic()
            if self._bad_since is not None:
                return
            self._bad_since, self._dropped_before = self._bad_at, self.dropped
        self._tell(Began, f"Decisions do not reach {self._sink.place}: {sentence}")

    def _good(self) -> None:
        with self._telling:
            now = time.monotonic()
            if self._bad_since is None or now - self._bad_at < CALM_S:
                return
            lost, seconds = self.dropped - self._dropped_before, self._bad_at - self._bad_since
            self._bad_since = None
            self._pauses = pauses(random.Random())  # noqa: S311 - jitter is no secret
        said = f"Decisions reach {self._sink.place} again after {seconds:.0f} s; {lost} were dropped."
        self._tell(Over, said)

    def _tell(self, kind: type[Began | Over], said: str) -> None:
        # An exception's text may hold what no message can: a file's name that is no UTF-8.
        sendable = said.encode(errors="backslashreplace").decode()
        self._told(kind(SinkError.number, self._sink.place, sendable))
