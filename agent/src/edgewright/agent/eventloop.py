"""The supervisor's one loop: what happened, in its order, and what was put off until a time.

Whatever an event raises, the loop goes on, because the model does. A retained message that ended this process
would end every later start as well. What could not be written down on a full disk, or ended unexpectedly, is
tried again after a while; what was unexpected is told, each sentence once. The exception is a database that
the disk has damaged: nothing can be remembered any more, so the loop ends, and the next start mends it.
"""

import contextlib
import heapq
import itertools
import logging
import queue
import time
from collections.abc import Callable
from typing import Final

from edgewright.agent.database import damage_of
from edgewright.wire.errors import EdgewrightError, StorageFullError, UnexpectedError

AGAIN_SECONDS: Final = 60.0
"""When a step that could not be written down, or ended unexpectedly, is tried again."""

MAX_SURPRISES: Final = 16
"""Different ones that are reported between two starts; the log has the others too."""

log = logging.getLogger(__name__)

Event = Callable[[], None]


class EventLoop:
    """Events of one thread.

    Args:
        after: done after each event.
        again: lets what was interrupted go on.
        note: reports something unexpected.
    """

    def __init__(self, after: Event, again: Event, note: Callable[[EdgewrightError], None]) -> None:
        self._after, self._again, self._note = after, again, note
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._timers: list[tuple[float, int, Event]] = []
        self._counter = itertools.count()
        self._trying_again = False
        self._surprises: set[str] = set()
        self.stopping = False

    def post(self, event: Event) -> None:
        """From any thread, and from a signal handler: let the loop do something.

        ``SimpleQueue.put`` is reentrant (library reference, queue).
        """
        self._events.put(event)

    def later(self, seconds: float, event: Event) -> None:
        """From the loop: do something after a time."""
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._counter), event))

    def stop(self) -> None:
        """From the loop: let ``run`` return."""
        self.stopping = True

    def run(self) -> None:
        """Do what happens until ``stop``."""
        while not self.stopping:
            self.do(self._next())

    def drain(self) -> None:
        """Do what has happened by now."""
        while True:
            try:
                event = self._events.get_nowait()
            except queue.Empty:
                return
            self.do(event)

    def do(self, event: Event) -> None:
        """Let something happen; where it cannot, on a full disk or by a surprise, the model goes on.

        Raises:
            DamagedDatabaseError: only another start can go on.
        """
        try:
            event()
            self._after()
        except StorageFullError as error:
            log.warning("%s", error)
            self._try_again()
        except Exception as error:
            # Top of the loop: see above.
            if (damage := damage_of(error)) is not None:
                raise damage from error
            log.exception("Something ended unexpectedly.")
            known = error if isinstance(error, EdgewrightError) else UnexpectedError(f"{error!r:.200}.")
            self._tell(known)
            self._try_again()

    def _next(self) -> Event:
        """The next thing that happened, or whose time has come."""
        while True:
            now = time.monotonic()
            if self._timers and self._timers[0][0] <= now:
                return heapq.heappop(self._timers)[2]
            wait = self._timers[0][0] - now if self._timers else None
            with contextlib.suppress(queue.Empty):
                return self._events.get(timeout=wait)

    def _tell(self, error: EdgewrightError) -> None:
        if error.sentence not in self._surprises and len(self._surprises) < MAX_SURPRISES:
            self._surprises.add(error.sentence)
            try:
                self._note(error)
            except Exception as untold:  # noqa: BLE001 - see below
                # Still the top of the loop: a disk that takes no report must not end it. The log has it.
                log.warning("That cannot be reported: %r", untold)

    def _try_again(self) -> None:
        """Let what was interrupted go on after a while, once however often this is called meanwhile."""
        if not self._trying_again:
            self._trying_again = True
            self.later(AGAIN_SECONDS, self._go_on)

    def _go_on(self) -> None:
        self._trying_again = False
        self._again()
