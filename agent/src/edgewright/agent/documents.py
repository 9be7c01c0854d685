"""The desk beside the loop where signatures of assignment documents are verified, one document at a time.

Verifying may start a process and may ask the broker for a root of the director, so the loop does not wait for
it. Of the documents that wait only the newest counts: a retained topic says what shall be now.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

from edgewright.agent.agreement import DirectorTrust
from edgewright.agent.control import SlotName
from edgewright.agent.qualificationorder import InspectedOrder
from edgewright.agent.verifier.seam import DirectorReader, ImageCatalogue, Inspected
from edgewright.agent.vouching import Held, vouch_slots
from edgewright.wire.errors import EdgewrightError, VerifierError

log = logging.getLogger(__name__)

Event = Callable[[], None]

_T = TypeVar("_T", Inspected, InspectedOrder)


class Opened(NamedTuple):
    """What was verified at start.

    Attributes:
        trust: what the director's newest kept root says; None where nobody could verify.
        refused: slots whose release no kept signature names.
        error: why nobody could verify.
    """

    trust: DirectorTrust | None
    refused: Mapping[SlotName, EdgewrightError]
    error: EdgewrightError | None = None


class DocumentDesk:
    """One thread.

    Args:
        director: verifies documents.
        repository: vouches for what the slots hold.
        post: hands an event to the loop.
    """

    def __init__(
        self, director: DirectorReader, repository: ImageCatalogue, post: Callable[[Event], None]
    ) -> None:
        self._director, self._repository, self._post = director, repository, post
        self._wake = threading.Condition()
        self._opening: Event | None = None
        self._document: Event | None = None
        self._order: Event | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="documents", daemon=True)

    def start(self) -> None:
        """Begin to wait."""
        self._thread.start()

    def open(self, slots: Mapping[SlotName, Held], done: Callable[[Opened], None]) -> None:
        """Verify what the slots hold and read the director's root; ``done`` is called on the loop."""

        def work() -> None:
            opened = self._open(slots)
            self._post(lambda: done(opened))

        with self._wake:
            self._opening = work
            self._wake.notify()

    def put(self, raw: bytes, floor: int, done: Callable[[Inspected | EdgewrightError], None]) -> None:
        """Verify a document; ``done`` is called on the loop, unless a newer document comes first."""

        def work() -> None:
            found = self._verified(lambda: self._director.inspect(raw, floor))
            self._post(lambda: done(found))

        with self._wake:
            self._document = work
            self._wake.notify()

    def put_order(
        self, raw: bytes, floor: int, done: Callable[[InspectedOrder | EdgewrightError], None]
    ) -> None:
        """Verify an order to measure candidates; see ``put``. Assignments are verified first."""

        def work() -> None:
            found = self._verified(lambda: self._director.inspect_order(raw, floor))
            self._post(lambda: done(found))

        with self._wake:
            self._order = work
            self._wake.notify()

    def stop(self) -> None:
        """End the thread; what is being verified is not waited for."""
        with self._wake:
            self._stopping = True
            self._wake.notify()

    def _open(self, slots: Mapping[SlotName, Held]) -> Opened:
        try:
            refused = vouch_slots(self._repository, slots)
            return Opened(self._director.trust, refused)
        except EdgewrightError as error:
            return Opened(None, {}, error)
        except Exception as error:
            # Top of the thread: the line waits for this, and a model must not be kept from running.
            log.exception("What the slots hold could not be verified.")
            return Opened(None, {}, VerifierError(f"The slots could not be verified: {error!r}."))

    def _verified(self, inspect: Callable[[], _T]) -> _T | EdgewrightError:
        try:
            return inspect()
        except EdgewrightError as error:
            return error
        except Exception as error:
            # Top of the thread: a desk that has died would let no document in any more.
            log.exception("A document could not be verified.")
            return VerifierError(f"A document could not be verified: {error!r}.")

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._stopping or self._opening or self._document or self._order)
                if self._stopping:
                    return
                work = self._next()
            if work is not None:
                work()

    def _next(self) -> Event | None:
        """What is verified next; called with the lock."""
        work: Event | None
        if self._opening is not None:
            work, self._opening = self._opening, None
        elif self._document is not None:
            work, self._document = self._document, None
        else:
            work, self._order = self._order, None
        return work
