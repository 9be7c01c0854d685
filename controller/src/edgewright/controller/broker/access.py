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

from edgewright.controller.errors import BrokerNotToldError

SHORTEST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 1.0
PAUSE_SHARE: Final = 4.0
"""Times as long as the last refresh took is waited before the next: a broker spends a fifth of its time on
them at most, and a fleet that enrols at once is admitted in a few batches."""

PATIENCE_S: Final = 30.0
RETRY_S: Final = 5.0
"""A broker that could not be told is told again after this."""

logger = logging.getLogger(__name__)


class Admitted(NamedTuple):
    """A key that a device may connect with."""

    device: str
    key_sha256: str


class Access(Protocol):
    """A broker's list of who may connect."""

    def refresh(self) -> None:
        """Bring it up to date with the database; returns when it is in force.

        Raises:
            SurroundingsError: the broker was not told; it is tried again without being asked.
        """
        ...

    def end(self, device: str) -> None:
        """End the live connection of a device that is no longer admitted.

        Raises:
            SurroundingsError: it may still stand.
        """
        ...


class BatchedAccess:
    """Refreshes once for all who ask at about the same time, on a thread of its own.

    Args:
        do: brings the broker up to date.
        end: ends the live connection of a device, on a broker that does not do it by itself.
        retry_s: seconds after which it is tried again when it failed.
    """

    def __init__(
        self, do: Callable[[], None], end: Callable[[str], None] = lambda _: None, retry_s: float = RETRY_S
    ) -> None:
        self._do = do
        self._end = end
        self._retry_s = retry_s
        self._failure = ""
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
        """Return after one refresh that began after this call.

        Raises:
            BrokerNotToldError: it failed, or took too long; it is tried again without being asked.
        """
        with self._changed:
            self._asked += 1
            mine = self._asked
            self._changed.notify_all()
            told = self._changed.wait_for(lambda: self._done >= mine or self._ending, PATIENCE_S)
            failure = self._failure if told else f"it has not answered for {PATIENCE_S:.0f} s"
        if failure:
            raise BrokerNotToldError(f"The broker does not know yet who may connect: {failure}.")

    def _run(self) -> None:
        while True:
            with self._changed:
                again_s = self._retry_s if self._failure else None
                self._changed.wait_for(lambda: self._asked > self._done or self._ending, again_s)
                if self._ending:
                    return
                batch = self._asked
            began = time.monotonic()
            failure = self._try()
            took = time.monotonic() - began
            with self._changed:
                self._done, self._failure = batch, failure
                self._changed.notify_all()
                pause = min(max(PAUSE_SHARE * took, SHORTEST_PAUSE_S), LONGEST_PAUSE_S)
                self._changed.wait_for(lambda: self._ending, pause)

    def _try(self) -> str:
        """Bring the broker up to date; what is wrong, empty if nothing is."""
        try:
            self._do()
        except Exception as error:  # the top of the thread: what is wrong now may be right a little later
            if not self._failure:
                logger.exception("The broker was not told who may connect; it is tried again.")
            return str(error).rstrip(".") or type(error).__name__
        return ""
