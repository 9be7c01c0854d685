"""Who may connect to a broker, and how it is told.

A device may publish below its own upward topics, and read the metadata, the chunks, the director's roots and
what is published for itself. Everything else is the controller's. A broker's configuration says this in its
own way (``nats``, ``mosquitto``); here is what they share.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

SHORTEST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 1.0
PAUSE_SHARE: Final = 4.0
"""Times as long as the last refresh took is waited before the next: a broker spends a fifth of its time on
them at most, and a fleet that enrols at once is admitted in a few batches."""

PATIENCE_S: Final = 30.0

logger = logging.getLogger(__name__)


class Admitted(NamedTuple):
    """A key that a device may connect with."""

    device: str
    key_sha256: str


class Access(Protocol):
    """A broker's list of who may connect."""

    def refresh(self) -> None:
        """Bring it up to date with the database; returns when it is in force."""
        ...

    def end(self, device: str) -> None:
        """End the live connection of a device that is no longer admitted."""
        ...


class BatchedAccess:
    """Refreshes once for all who ask at about the same time, on a thread of its own.

    Args:
        do: brings the broker up to date.
        end: ends the live connection of a device, on a broker that does not do it by itself.
    """

    def __init__(self, do: Callable[[], None], end: Callable[[str], None] = lambda _: None) -> None:
        self._do = do
        self._end = end
        self._changed = threading.Condition()
        self._asked = 0
        self._done = 0
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="broker-access", daemon=True)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def stop(self) -> None:
        """End; who still waits returns."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        self._thread.join()

    def end(self, device: str) -> None:
        """End the live connection of a device that is no longer admitted."""
        self._end(device)

    def refresh(self) -> None:
        """Return after one refresh that began after this call."""
        with self._changed:
            self._asked += 1
            mine = self._asked
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._done >= mine or self._ending, PATIENCE_S)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._asked > self._done or self._ending)
                if self._ending:
                    return
                batch = self._asked
            began = time.monotonic()
            try:
                self._do()
            except Exception:  # the top of the thread: what is wrong now may be right at the next change
                logger.exception("The broker was not told who may connect.")
            took = time.monotonic() - began
            with self._changed:
                self._done = batch
                self._changed.notify_all()
                pause = min(max(PAUSE_SHARE * took, SHORTEST_PAUSE_S), LONGEST_PAUSE_S)
                self._changed.wait_for(lambda: self._ending, pause)
