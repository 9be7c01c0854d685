"""The supervisor: puts the parts together and runs one loop over what happens.

Threads: the loop (this one: decisions, journal, outbox), the link's (MQTT), the worker's (slow steps), the
desk's (signatures of documents), the line's (listening). The others only put events into the loop's queue;
the loop waits on nothing else.

The model's life does not depend on the network: the line is started, the signatures over what its slots shall
hold are verified and the active slot is loaded before anything is asked of a broker, and an unreachable
broker changes nothing. Signed metadata is parsed by the verifier's process alone; where that one fails, the
model runs and nothing new comes in.
"""

import contextlib
import fcntl
import logging
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Final

from edgewright.agent import control
from edgewright.agent.byhand import HandDoor
from edgewright.agent.candidatework import CandidateBench, Ended
from edgewright.agent.cellprocess import OwnCell
from edgewright.agent.clock import Clock
from edgewright.agent.confidential import ContentKeys
from edgewright.agent.deployer import Deployer
from edgewright.agent.documents import DocumentDesk, Opened
from edgewright.agent.environments import find_runtimes
from edgewright.agent.eventloop import EventLoop
from edgewright.agent.fetcher import MetadataFetcher, TopicReader
from edgewright.agent.fetching import VersionFetcher
from edgewright.agent.fetchmeans import means_of
from edgewright.agent.gate import Gate
from edgewright.agent.greeting import Greeting, greet
from edgewright.agent.identity import Identity
from edgewright.agent.journal import Journal
from edgewright.agent.ledger import Ledger
from edgewright.agent.linenews import LineNews
from edgewright.agent.lineprocess import LineProcess, line_command
from edgewright.agent.link import Link
from edgewright.agent.machine import look
from edgewright.agent.outbox import Outbox
from edgewright.agent.qualifier import qualify
from edgewright.agent.qualifying import Qualifying, trial_of
from edgewright.agent.releasefiles import ReleaseFiles
from edgewright.agent.renewing import RenewalWatch
from edgewright.agent.salvage import open_database
from edgewright.agent.samplefiles import SampleFiles
from edgewright.agent.sealing import Sealer
from edgewright.agent.servicemanager import ALIVE, READY, STOPPING, notify
from edgewright.agent.settings import Settings
from edgewright.agent.store import Store
from edgewright.agent.trials import Trials
from edgewright.agent.verifier.process import VerifierProcess, verifier_command
from edgewright.agent.verifier.seam import Inspected
from edgewright.agent.vouching import held_in_slots
from edgewright.agent.work import Result, Workbench
from edgewright.agent.worker import Worker
from edgewright.wire import topics
from edgewright.wire.errors import (
    AlreadyRunningError,
    ConfigurationError,
    DamagedDatabaseError,
    EdgewrightError,
    MessageError,
    UnexpectedError,
)
from edgewright.wire.messages import Goodbye, Release, Want

TICK_SECONDS: Final = 1.0
"""How often time alone is looked at: the line's silence and messages to send again."""

REOPEN_SECONDS: Final = 60.0
"""When a verifier that failed at start is tried again."""

_MIB: Final = 1024 * 1024

log = logging.getLogger(__name__)

Held = tuple[Release | None, Release | None]


class Supervisor:
    """One device's agent; ``run`` returns when it was told to stop.

    Raises:
        ConfigurationError: the enrolled roots are missing, or the database cannot be used.
        IdentityError: the device has no key.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loop = EventLoop(after=self._send_due, again=self._go_on, note=self._note)
        self._post, self._later = self._loop.post, self._loop.later
        self._connected_at = 0.0
        self._greeted = False
        self._told_unsigned = False
        self._early_ack = b""
        self._connections = 0
        self._greets_since = 0.0
        self._line_ready: control.Ready | None = None
        self._followed = False
        self._said_early: list[control.Up] = []
        self._vouched = False
        self._machine = look(settings.machine)
        self._told_held: Held = (None, None)
        for root in (settings.image_root, settings.director_root):
            _check_root(root)
        self._database, damage = open_database(settings.database)
        self._journal = Journal(self._database)
        samples = SampleFiles(settings.samples)
        self._outbox = Outbox(self._database, settings.device, samples, settings.update.outbox_mb * _MIB)
        self._ledger = Ledger(settings.device, self._database, self._journal, self._outbox)
        if damage:
            self._ledger.note(damage)
        self._identity = Identity.load(settings.folder)
        self._sealer = Sealer(self._identity.key)
        self._clock = Clock(self._journal)
        self._link = Link(
            settings.broker.host,
            settings.broker.port,
            settings.device,
            identity=self._load_identity,
            tls=settings.broker.tls,
            will=self._will,
            on_connected=lambda: self._post(self._connected),
            on_lost=lambda: self._post(self._lost),
        )
        self._renewal = RenewalWatch(settings, self._link.reconnect, self._ledger.note)
        self._compose(settings)

    def _compose(self, settings: Settings) -> None:
        """Put the parts together that work on releases."""
        update, runtime = settings.update, settings.runtime
        store = Store(
            settings.folder / "store",
            update.store_mb * _MIB,
            update.sync_chunks,
            free_bytes=update.free_mb * _MIB,
        )
        fetcher = MetadataFetcher(TopicReader(self._link), want=self._want_metadata)
        trust = settings.folder / "trust"
        self._verifier = VerifierProcess(lambda descriptor: verifier_command(trust, descriptor), fetcher)
        keys = ContentKeys.of(settings.device, settings.folder)
        versions = VersionFetcher(means_of(settings, self._link, store, self._want))
        bench = Workbench(
            self._verifier,
            self._verifier,
            versions,
            store,
            partial(qualify, environments=runtime.environments, threads=runtime.threads),
            self._told_by_worker,
            keys=keys,
            environments=runtime.environments,
        )
        self._desk = DocumentDesk(self._verifier, self._verifier, self._post)
        candidates = CandidateBench(versions, store, trial_of(settings), runtime.environments)
        self._worker = Worker(bench, candidates, self._told_by_worker)
        self._compose_line(settings)
        self._gate = Gate(
            settings.device,
            settings.target,
            self._journal,
            self._ledger,
            self._clock,
            self._verifier,
            self._sealer,
        )
        self._compose_deployer(settings, ReleaseFiles(store, keys))

    def _compose_line(self, settings: Settings) -> None:
        self._line = LineProcess(
            settings.line_socket,
            line_command(settings),
            said=lambda message: self._post(lambda: self._said(message)),
            ended=lambda: self._post(self._line_ended),
            left=lambda line, news: self._loop.do(lambda: self._news.left(line, news)),
        )

    def _compose_deployer(self, settings: Settings, files: ReleaseFiles) -> None:
        trials = Trials(self._database)
        self._deployer = Deployer(
            self._gate,
            self._journal,
            self._ledger,
            files,
            submit=self._worker.submit,
            call_off=self._worker.call_off,
            send=self._line.send,
            later=self._later,
            replace_line=self._line.kill,
            beside=trials.needed,
        )
        self._qualifying = Qualifying(
            settings.qualification,
            self._gate,
            self._desk,
            trials,
            self._ledger,
            self._worker.submit,
            lambda: self._deployer.is_idle,
            self._deployer.collect,
        )
        self._news = LineNews(self._outbox, self._ledger, self._tell_line, self._deployer.runner_replaced)
        self._cell = OwnCell(settings, self._ledger, self._post, self._later)
        self._hand = HandDoor(settings.hand_socket, self._post, self._deployer.roll_back)

    def run(self) -> None:
        """Run until SIGTERM or SIGINT.

        Raises:
            DamagedDatabaseError: the disk has damaged the database; the next start mends it.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._told_to_stop)
        self._loop.do(self._start_line)
        self._loop.do(self._cell.start)
        self._loop.do(lambda: self._deployer.start(line_lives=self._line.adopted))
        self._desk.start()
        self._desk.open(held_in_slots(self._journal), self._opened)
        self._loop.do(self._gate.watch_clock)
        self._worker.start()
        self._hand.start()
        self._subscribe()
        self._link.start()
        self._later(TICK_SECONDS, self._tick)
        notify(READY)
        log.info("The agent of %s runs.", self._settings.device)
        try:
            self._loop.run()
        except DamagedDatabaseError:
            # The line lives on, as after any other end of this process that nobody ordered.
            self._verifier.stop()
            raise
        self._stop()

    def _go_on(self) -> None:
        self._deployer.go_on()
        self._news.take()

    def _note(self, error: EdgewrightError) -> None:
        self._ledger.note(error)

    def _told_to_stop(self, _number: int, _frame: FrameType | None) -> None:
        self._post(self._loop.stop)

    def _stop(self) -> None:
        notify(STOPPING)
        self._cell.stop()
        self._line.stop()
        self._loop.drain()  # The line's last windows are in the queue.
        self._loop.do(self._deployer.stop)
        self._loop.do(self._qualifying.stop)
        self._worker.stop()
        self._desk.stop()
        self._verifier.stop()
        self._renewal.stop()
        goodbye = Goodbye(device=self._settings.device, connected_at=self._connected_at, reason="stopped")
        self._link.stop((topics.up(goodbye.device, "goodbye"), self._sealer.seal_message(goodbye)))
        self._database.close()
        log.info("The agent of %s has stopped.", goodbye.device)

    # The broker

    def _subscribe(self) -> None:
        device = self._settings.device
        handlers: dict[str, tuple[Callable[[bytes], None], int]] = {
            topics.assignment(device): (self._document, 1),
            topics.timestamp(): (self._deployer.timestamp, 1),
            topics.ack(device): (self._acknowledged, 1),
        }
        if self._settings.qualification.accept:
            handlers[topics.qualification(device)] = self._qualifying.document, 1
        for topic, (handler, qos) in handlers.items():
            self._link.subscribe(topic, self._posting(handler), qos)

    def _posting(self, handler: Callable[[bytes], None]) -> Callable[[bytes], None]:
        """A handler for the network thread that hands payloads over; an empty one says "deleted"."""

        def hand_over(payload: bytes) -> None:
            if payload:
                self._post(lambda: handler(payload))

        return hand_over

    def _will(self) -> tuple[str, bytes]:
        """Called on the network thread before each connection."""
        self._connected_at = time.time()
        device = self._settings.device
        goodbye = Goodbye(device=device, connected_at=self._connected_at, reason="lost")
        return topics.up(device, "goodbye"), self._sealer.seal_message(goodbye)

    def _load_identity(self) -> Identity:
        """Called on the network thread before each connection: a renewed key signs from then on."""
        self._identity = Identity.load(self._settings.folder)
        self._sealer.key = self._identity.key
        return self._identity

    def _connected(self) -> None:
        # Both at once: one connection's number with the time of another would look like a copied device.
        self._connections, self._greets_since = self._journal.count_connection(), self._connected_at
        self._outbox.restart()
        self._hello()
        self._deployer.go_on()

    def _lost(self) -> None:
        self._greeted = False
        self._outbox.lost_connection()

    def _hello(self) -> None:
        settings = self._settings
        me = Greeting(
            settings.device,
            settings.target,
            settings.tags,
            tuple(map(str, find_runtimes(settings.runtime.environments))),
            self._identity.certificate_expires,
            self._machine,
            settings.qualification.accept,
        )
        hello = greet(
            me,
            self._journal,
            self._outbox,
            self._connections,
            self._clock.question(),
            self._greets_since,
            self._deployer,
        )
        self._told_held = hello.active, hello.standby
        sealed = self._sealer.seal_message(hello)
        self._greeted = self._link.publish(topics.up(settings.device, "hello"), sealed)
        self._outbox.greeted(self._connections, time.monotonic())

    def _document(self, raw: bytes) -> None:
        if not self._gate.knows(raw):
            floor = self._journal.device().director_root
            self._desk.put(raw, floor, lambda found: self._inspected(raw, found))

    def _inspected(self, raw: bytes, found: Inspected | EdgewrightError) -> None:
        if self._gate.outdated(found):
            self._document(raw)
        else:
            self._deployer.document(raw, found)

    def _acknowledged(self, payload: bytes) -> None:
        if not self._sealer.ack_keys:
            self._early_ack = payload  # The director's root is still being verified.
            return
        try:
            self._outbox.acknowledge(self._sealer.open_ack(payload), time.monotonic())
        except MessageError as error:
            log.warning("%s", error)
            if not self._told_unsigned:
                self._told_unsigned = True
                self._ledger.note(error)

    def _send_due(self) -> None:
        if not self._greeted:
            return
        now = time.monotonic()
        if self._outbox.hello_due(now) or self._clock.due():
            self._hello()
        for topic, payload in self._outbox.due(now, samples=not self._worker.busy):
            self._link.publish(topic, self._sealer.seal(payload))

    def _want(self, chunks: tuple[str, ...]) -> None:
        """Called on the worker's thread."""
        self._ask_again(Want(device=self._settings.device, sent_at=time.time(), chunks=chunks))

    def _want_metadata(self, file: str) -> None:
        """Called on the worker's thread."""
        self._ask_again(Want(device=self._settings.device, sent_at=time.time(), metadata=(file,)))

    def _ask_again(self, want: Want) -> None:
        self._link.publish(topics.up(self._settings.device, "want"), self._sealer.seal_message(want))

    # The worker and the line

    def _told_by_worker(self, result: Result | Ended) -> None:
        if isinstance(result, Ended):
            self._post(lambda: self._qualifying.told(result))
        else:
            self._post(lambda: self._deployer.told(result))

    def _said(self, message: control.Up) -> None:
        match message:
            case control.Ready():
                self._news.line_started(message.line)
                self._line_ready, self._followed = message, False
                self._said_early.clear()
                self._load_line()
            case (
                control.WindowReady()
                | control.SampleReady()
                | control.Trouble()
                | control.RunnerReplaced()
                | control.GivenUp()
            ):
                self._news.heard(message)
            case _ if self._followed:
                self._deployer.said(message)
            case _:
                self._said_early.append(message)

    def _tell_line(self, taken: control.Taken) -> None:
        if not self._loop.stopping:  # The line has ended by then.
            self._line.send(taken)

    def _opened(self, opened: Opened) -> None:
        """What the slots hold was verified, or nobody could: then the digests that the journal has decide."""
        if opened.trust is not None:
            self._gate.trusts(opened.trust)
        if opened.error is not None:
            self._ledger.note(opened.error)
            self._later(REOPEN_SECONDS, lambda: self._desk.open({}, self._opened))
        if not self._vouched:
            self._vouched = True
            self._deployer.vouched(opened.refused)
            self._load_line()
        if self._early_ack and self._sealer.ack_keys:
            early, self._early_ack = self._early_ack, b""
            self._acknowledged(early)

    def _load_line(self) -> None:
        """A line gets models once it listens and their signatures were looked at."""
        if not self._line_ready or not self._vouched:
            return
        self._followed = True
        early, self._said_early = self._said_early, []
        self._loop.do(partial(self._deployer.line_started, self._line_ready.held))
        for message in early:  # What it did after it had said what it holds.
            self._loop.do(partial(self._deployer.said, message))

    def _line_ended(self) -> None:
        self._line_ready, self._followed = None, False
        if not self._loop.stopping:
            self._later(self._line.pause(), self._start_line)
            self._deployer.line_ended()

    def _start_line(self) -> None:
        """Start a line, or find one; where the device has no room for one now, that is tried again."""
        if self._loop.stopping:
            return
        try:
            self._line.start()
        except OSError as error:
            self._later(self._line.pause(), self._start_line)
            raise UnexpectedError(f"The line cannot be started: {error}.") from error

    def _tick(self) -> None:
        self._later(TICK_SECONDS, self._tick)
        notify(ALIVE)
        self._line.watch()
        self._deployer.watch()
        self._qualifying.drive()
        if self._greeted and self._told_held != (self._deployer.active, self._deployer.standby):
            self._hello()
        self._cell.watch()
        self._gate.watch_clock()
        self._renewal.watch(self._identity, self._clock.now())


def run_agent(settings: Settings) -> None:
    """Run the agent with its data folder locked.

    Raises:
        AlreadyRunningError: another agent has the folder.
        ConfigurationError: the folder cannot be used.
    """
    with _locked(settings.folder):
        Supervisor(settings).run()


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; the kernel gives it back however this process ends."""
    try:
        file = (folder / "lock").open("a")
    except OSError as error:
        raise ConfigurationError(f"The data folder {folder} cannot be used: {error.strerror}.") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise AlreadyRunningError(f"Another agent uses the data folder {folder}.") from error
        yield


def _check_root(path: Path) -> None:
    try:
        path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"The enrolled root {path} cannot be read: {error.strerror}. Enrol this device first."
        ) from error
