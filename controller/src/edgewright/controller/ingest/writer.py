"""The one writer: a thread that takes upward messages off the link and stores them in batches.

What is not signed by its device is dropped first (``opening``). After the commit it acknowledges, signed,
hands new windows to those who look at evidence, and wakes the rollouts.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from edgewright.controller.blobs import BlobStore
from edgewright.controller.database import col, update
from edgewright.controller.database.engine import Database
from edgewright.controller.database.tables import Device
from edgewright.controller.ingest.batch import Batch
from edgewright.controller.ingest.fairqueue import FairQueue
from edgewright.controller.ingest.opening import Opener, sender_of
from edgewright.controller.ingest.pruning import prune, prune_samples, prune_windows
from edgewright.controller.ingest.retention import Retention
from edgewright.controller.link import BrokerLink
from edgewright.wire import messages, topics
from edgewright.wire.errors import EdgewrightError
from edgewright.wire.numbering import AHEAD

BATCH_MESSAGES: Final = 500
BATCH_S: Final = 0.1
"""How long a batch waits for more. Short, because an alarm waits with it."""
PRUNE_S: Final = 3600.0
PRUNE_STEP_S: Final = 1.0
"""Between two steps, where more is to be deleted than one step takes."""

WARNINGS: Final = 1000
"""Different sentences that are logged within that time: devices make up what stands in them."""
QUEUE_MESSAGES: Final = 20_000
"""Messages beyond this are dropped and sent again by their devices."""

SENDER_MESSAGES: Final = 4 * AHEAD
"""Of one device: all that it may have on their way, repeated."""

SENDER_SHARE: Final = 32
"""Of one device in a batch: a month of windows is stored in some minutes, and nobody waits for it."""

_log = logging.getLogger(__name__)


class Listeners(NamedTuple):
    """Who is told after a commit.

    Attributes:
        windows: of new windows.
        want: of a device that misses something.
        stored: that something was stored.
        time: of devices that asked for signed time, each with its nonce; must not wait.
    """

    windows: Callable[[Sequence[messages.Window]], None]
    want: Callable[[messages.Want], object]
    stored: Callable[[], None]
    time: Callable[[Mapping[str, str]], None]


class Ingest:
    """See the module's text.

    Args:
        db, blobs: where messages are stored.
        link: where they come from.
        seal: signs an acknowledgement.
        listeners: who is told.
        retention: how long what is stored is kept.

    Attributes:
        opener: knows what was dropped.
    """

    def __init__(
        self,
        db: Database,
        blobs: BlobStore,
        link: BrokerLink,
        seal: Callable[[messages.Ack], bytes],
        listeners: Listeners,
        retention: Retention | None = None,
    ) -> None:
        self._db = db
        self._blobs = blobs
        self._link = link
        self._seal = seal
        self._listeners = listeners
        self.opener = Opener(db)
        self._retention = retention or Retention()
        self._queue: FairQueue[tuple[str, bytes]] = FairQueue(QUEUE_MESSAGES, SENDER_MESSAGES, SENDER_SHARE)
        self._thread = threading.Thread(target=self._run, name="ingest", daemon=True)
        self._warned: set[str] = set()
        self._prune_at = time.monotonic() + PRUNE_S

    def start(self) -> None:
        """Subscribe and begin to store.

        Nobody counts as connected until it speaks: a device may have died while no controller ran, and the
        broker has told its will to nobody. Those that live say hello or go on with their telemetry.
        """
        with self._db.session() as session:
            session.exec(update(Device).where(col(Device.connected)).values(connected=False))
            prune(session, time.time())
        self._thread.start()
        self._link.subscribe(topics.up_filter(), self._receive)

    def stop(self) -> None:
        """Store what has come in so far, then end."""
        self._queue.close()
        self._thread.join()

    def _receive(self, topic: str, payload: bytes) -> None:
        if not self._queue.put(sender_of(topic), (topic, payload)):
            self._warn("queue", "Telemetry comes faster than it is stored; devices will send it again.")

    def _run(self) -> None:
        while True:
            batch, last = self._queue.take(BATCH_MESSAGES, BATCH_S)
            decoded = self._open(batch)
            if decoded:
                self._take(decoded)
            if time.monotonic() > self._prune_at:
                self._prune()
            if last:
                return

    def _open(self, batch: Sequence[tuple[str, bytes]]) -> list[messages.Upward]:
        try:
            opened, sentences = self.opener.open(batch)
        # The top of the thread: what is not opened is not acknowledged, so nothing is lost.
        except Exception:  # noqa: BLE001
            _log.exception("A batch of %d messages could not be opened.", len(batch))
            return []
        for sentence in sentences:
            _log.warning("%s", sentence)
        return opened

    def _take(self, decoded: list[messages.Upward]) -> None:
        try:
            stored, acks = self._store(decoded)
        # The top of the thread: a batch that fails is not acknowledged, so nothing is lost.
        except Exception:  # noqa: BLE001
            _log.exception("A batch of %d messages could not be stored.", len(decoded))
            return
        try:
            self._tell(decoded, stored, acks)
        # Likewise: what was stored is acknowledged at its repetition, and weighed at the next start.
        except Exception:  # noqa: BLE001
            _log.exception("A batch of %d messages was stored, but not everybody was told.", len(decoded))

    def _prune(self) -> None:
        self._prune_at = time.monotonic() + PRUNE_S
        self._warned.clear()
        now, kept = time.time(), self._retention
        try:
            with self._db.session() as session:
                prune(session, now)
            with self._db.session() as session:
                more = prune_windows(session, now, kept)
            with self._db.session() as session:
                more = prune_samples(session, self._blobs, now, kept) or more
            if more:
                self._prune_at = time.monotonic() + PRUNE_STEP_S
        # The top of the thread: what could not be deleted now is deleted an hour later.
        except Exception:  # noqa: BLE001
            _log.exception("Old telemetry could not be deleted.")

    def _store(self, decoded: list[messages.Upward]) -> tuple[Batch, list[tuple[str, messages.Ack]]]:
        with self._db.session() as session:
            batch = Batch(session, self._blobs, time.time())
            for message in decoded:
                batch.apply(message)
            return batch, batch.finish()

    def _tell(
        self, decoded: list[messages.Upward], stored: Batch, acks: list[tuple[str, messages.Ack]]
    ) -> None:
        for unknown in stored.unknown:
            self._warn(f"device {unknown}", f"{unknown} sends telemetry and is not enrolled.")
        for error in stored.rejected:
            self._warn(str(error), str(error))
        self._listeners.stored()
        for device, ack in acks:
            self._link.publish(topics.ack(device), self._seal(ack))
        if stored.questions:
            self._listeners.time(stored.questions)
        self._pass_on(message for message in decoded if isinstance(message, messages.Want))
        if stored.windows:
            self._listeners.windows(stored.windows)

    def _pass_on(self, wants: Iterable[messages.Want]) -> None:
        for want in wants:
            try:
                self._listeners.want(want)
            except EdgewrightError as error:
                self._warn(f"want {error.name}", str(error))  # the device asks again

    def _warn(self, key: str, sentence: str) -> None:
        if key not in self._warned and len(self._warned) < WARNINGS:
            self._warned.add(key)
            _log.warning("%s", sentence)
