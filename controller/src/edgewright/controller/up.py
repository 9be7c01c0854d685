"""The controller as one process: everything is made here, in order, and ended in the reverse order.

What is started after the database is able to start again on what it finds there: metadata, chunks and
assignments are published again, evidence is replayed from the stored windows, unfinished builds and
rollouts go on. So ``kill -9`` is an ordinary way to stop a controller.
"""

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Final

from edgewright.controller import aliases
from edgewright.controller.api.app import create_app
from edgewright.controller.blobs import BlobStore
from edgewright.controller.broker.embedded import ANY_HOST
from edgewright.controller.broker.nats import MOST_BYTES
from edgewright.controller.broker.probe import Address
from edgewright.controller.broker.report import BrokerWatch
from edgewright.controller.broker.site import Site, open_embedded, open_external
from edgewright.controller.compiler.targets import site_table, standing_table
from edgewright.controller.confidential.vault import StorageVault
from edgewright.controller.confidential.wrapping import Wrapper
from edgewright.controller.database.engine import Database
from edgewright.controller.datadir import DataFolder, Endpoint
from edgewright.controller.downloads import Places
from edgewright.controller.durable import write_durably
from edgewright.controller.enrolment import Enrolment
from edgewright.controller.guests import allow_descriptors
from edgewright.controller.identity.authority import CONTROLLER
from edgewright.controller.identity.register import DeviceRegister
from edgewright.controller.identity.tls import TlsContext, door_context, show_anew
from edgewright.controller.ingest.retention import Retention
from edgewright.controller.ingest.writer import Ingest, Listeners
from edgewright.controller.link import BrokerLink
from edgewright.controller.listeners import LOOPBACK, ON_LOOPBACK, Door, listen, loopback_server
from edgewright.controller.matching import Targets
from edgewright.controller.monitor import Monitor
from edgewright.controller.people import heads
from edgewright.controller.publisher import Publisher
from edgewright.controller.qualification.service import Qualifications
from edgewright.controller.rebuild.asking import Asking
from edgewright.controller.rebuild.workflows import Workflows
from edgewright.controller.replaying import Replaying
from edgewright.controller.republishing import ASSIGNMENT_RENEWAL_S, RETRY_S, Republishing
from edgewright.controller.retirement import Retirement
from edgewright.controller.rollouts.assigner import Assigner
from edgewright.controller.rollouts.reconciler import Reconciler
from edgewright.controller.rollouts.service import RolloutService
from edgewright.controller.signing import Signing
from edgewright.controller.trust.acknowledgement import AcknowledgementKey
from edgewright.controller.trust.director import move_in
from edgewright.controller.trust.director_process import DirectorProcess
from edgewright.controller.trust.keys import KeyStore
from edgewright.controller.trust.repository import ImageRepository
from edgewright.wire.errors import EdgewrightError

RENEWAL_S: Final = 3600.0
RETIREMENT_S: Final = 300.0
QUALIFICATION_S: Final = 2.0
ASKING_S: Final = 5.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """How a controller is started.

    Attributes:
        port: of page and API on loopback; 0 takes a free one.
        https_port: of the door; 0 takes the last one, or a free one.
        broker_port: of the embedded broker; 0 takes the last one, or a free one.
        listen: address on which door and broker listen.
        names: host names and addresses of this machine, for the certificates of door and broker.
        broker: a site's own broker instead of the embedded one.
        broker_files: folder that it was started with.
        broker_memory_mb: what may lie on the broker, MB; 0 for no bound.
        retention: how long telemetry is kept.
        workflows_url: PostgreSQL database that carries builds and rebuilds; empty for a file of our own.
    """

    port: int = 0
    https_port: int = 0
    broker_port: int = 0
    listen: str = LOOPBACK
    names: tuple[str, ...] = ()
    broker: Address | None = None
    broker_files: Path | None = None
    broker_memory_mb: int = 0
    retention: Retention = field(default_factory=Retention)
    workflows_url: str = ""

    @property
    def all_names(self) -> tuple[str, ...]:
        """The names, and the address that is listened on where it is one to dial."""
        return self.names if self.listen in ANY_HOST else (*self.names, self.listen)

    @property
    def broker_bytes(self) -> int:
        """What may lie on the broker; an embedded one that is full admits nobody any more."""
        asked = self.broker_memory_mb * 1_000_000
        return asked if self.broker else min(asked or MOST_BYTES, MOST_BYTES)

    @property
    def near(self) -> str:
        """Where this machine's own programs reach door and broker."""
        return LOOPBACK if self.listen in ANY_HOST else self.listen


@dataclass(frozen=True)
class Services:
    """The running controller, as the API, the pages and the workflows see it."""

    data: Path
    db: Database
    blobs: BlobStore
    repository: ImageRepository
    publisher: Publisher
    rollouts: RolloutService
    enrolment: Enrolment
    register: DeviceRegister
    director: DirectorProcess
    monitor: Monitor
    workflows: Workflows
    qualifications: Qualifications
    signing: Signing
    downloads: Places
    broker: BrokerWatch


@contextmanager
def running(root: Path, options: Options) -> Iterator[tuple[DataFolder, Services, Site]]:
    """Everything but the HTTP servers, for as long as the block lasts.

    Raises:
        SurroundingsError: the data folder, the broker or a port cannot be had.
    """
    with ExitStack() as stack:
        folder = DataFolder.open(root)
        stack.callback(folder.close)
        site_table(root)  # One that is wrong is told now, and not by the first rollout.
        db = Database.in_folder(root)
        db.create()
        stack.callback(db.close)
        with db.session() as session:
            aliases.settle(session)
        blobs = BlobStore(root / "blobs", StorageVault(root))
        blobs.clear_left_overs()
        keys = KeyStore(root / "keys")
        repository = ImageRepository(root / "tuf" / "image", keys)
        repository.ensure()
        director = DirectorProcess(move_in(root), AcknowledgementKey(root / "keys" / "ack"))
        director.start()
        stack.callback(director.stop)
        site = _open_site(stack, root, db, options)
        link = BrokerLink(*site.broker, CONTROLLER, site.tls)
        most = options.broker_bytes
        publisher = Publisher(link, blobs, repository, director.roots, most)
        services = _compose(stack, root, db, blobs, link, publisher, repository, director, site, options)
        yield folder, services, site


def _open_site(stack: ExitStack, root: Path, db: Database, options: Options) -> Site:
    if options.broker is None:
        return open_embedded(stack, root, db, options.listen, options.all_names, options.broker_port)
    files = options.broker_files or root / "site-broker"
    return open_external(stack, root, db, options.all_names, options.broker, files)


def _compose(
    stack: ExitStack,
    root: Path,
    db: Database,
    blobs: BlobStore,
    link: BrokerLink,
    publisher: Publisher,
    repository: ImageRepository,
    director: DirectorProcess,
    site: Site,
    options: Options,
) -> Services:
    assigner = Assigner(db, director, repository, publisher, Wrapper(db, root))
    targets = partial(_targets, root)
    awake = threading.Event()
    retirement = Retirement(db, repository, publisher)
    rollouts = RolloutService(db, assigner, awake.set, retirement.need, targets)
    signing = Signing(db, repository, publisher, rollouts, retirement, lambda: assigner.renew(0.0))
    reconciler = Reconciler(db, assigner, awake, targets)
    qualifications = Qualifications(db, blobs, director, publisher, retirement.need)
    workflows = Workflows(
        root, db, blobs, repository, publisher, rollouts, options.workflows_url, qualifications
    )
    asking = Asking(db, blobs, workflows.enqueue_rebuild)
    monitor = Monitor(db, blobs, workflows.enqueue_for_alarm)
    answers = _Again(assigner.answer, "signed time")
    listeners = _listeners(monitor, publisher, awake, assigner, answers)
    ingest = Ingest(db, blobs, link, director.seal, listeners, options.retention)
    republishing = Republishing(
        db, repository, publisher, retirement, assigner, lambda: len(director.roots())
    )
    asked = _Again(qualifications.step, "qualification", QUALIFICATION_S)
    qualifications.on_order = asked.wake
    come_back = _Again(lambda: _put_back(republishing, qualifications), "republish", retry_s=RETRY_S)
    link.on_connected(come_back.wake)
    replaying = Replaying(monitor)
    places = Places()
    watch = BrokerWatch(site.process, link, publisher, lambda: places.counts(time.monotonic()))
    link.start()
    stack.callback(link.stop)
    enrolment = Enrolment(db, site.register, site.reached, repository.root_bytes, director.root_bytes)
    # A document under a key that is out of use verifies no more: all are issued again. A device without one
    # follows the new root because of the new timestamp.
    director.on_root += [repository.announce, publisher.publish_metadata, lambda: assigner.renew(0.0)]
    renew = _Again(lambda: _renew(repository, publisher, assigner), "renewal", RENEWAL_S)
    keep = _Again(lambda: heads.keep_head(db, root), "audit head", RENEWAL_S)
    keep.wake()
    retire = _Again(republishing.retire, "retirement", RETIREMENT_S)
    triggers = _Again(asking.step, "rebuild triggers", ASKING_S)
    forget = _Again(workflows.forget_ended, "workflow rows", RENEWAL_S)
    engine = (workflows, triggers, forget, replaying)
    for part in (answers, come_back, ingest, reconciler, *engine, renew, keep, retire, asked):
        part.start()
        stack.callback(part.stop)
    return Services(
        root,
        db,
        blobs,
        repository,
        publisher,
        rollouts,
        enrolment,
        site.register,
        director,
        monitor,
        workflows,
        qualifications,
        signing,
        places,
        watch,
    )


def _listeners(
    monitor: Monitor, publisher: Publisher, awake: threading.Event, assigner: Assigner, answers: "_Again"
) -> Listeners:
    """Who is told of what devices said."""

    def ask(questions: Mapping[str, str]) -> None:
        assigner.ask(questions)
        answers.wake()

    return Listeners(monitor.observe, publisher.handle_want, awake.set, ask)


def _targets(root: Path) -> Targets:
    standing = standing_table(root)
    if standing.complaint:
        _warn_once(standing.complaint)
    return standing.table.target


@cache
def _warn_once(sentence: str) -> None:
    _log.warning("%s", sentence)


def _put_back(republishing: Republishing, qualifications: Qualifications) -> None:
    try:
        republishing.run()
    finally:  # A damaged version holds up no order, but an order that ends clears what no release shares.
        if republishing.knows_live:
            qualifications.reconnected()


def _renew(repository: ImageRepository, publisher: Publisher, assigner: Assigner) -> None:
    if repository.renew():
        publisher.publish_metadata()
    assigner.renew(ASSIGNMENT_RENEWAL_S)


class _Again:
    """A thread that does one thing whenever it is woken, and by the clock.

    Args:
        do: the thing.
        name: of the thread.
        every_s: seconds after which it is done again; None for not before it is woken.
        retry_s: the same after it has failed.
    """

    def __init__(
        self,
        do: Callable[[], object],
        name: str,
        every_s: float | None = None,
        retry_s: float | None = None,
    ) -> None:
        self._do = do
        self._every_s = every_s
        self._retry_s = every_s if retry_s is None else retry_s
        self._awake = threading.Event()
        self._ending = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ending = True
        self._awake.set()
        self._thread.join()

    def wake(self) -> None:
        self._awake.set()

    def _run(self) -> None:
        pause = self._every_s
        while True:
            self._awake.wait(pause)
            if self._ending:
                return
            self._awake.clear()
            pause = self._every_s
            try:
                self._do()
            except EdgewrightError as error:
                pause = self._retry_s
                _log.warning("%s: %s It is tried again.", self._thread.name, error)
            # The top of the thread: what fails is done again when it is next woken, or by the clock.
            except Exception:  # noqa: BLE001
                pause = self._retry_s
                _log.exception("%s failed; it is tried again.", self._thread.name)


def serve(root: Path, options: Options, ready: Callable[[str], None] = print) -> None:
    """Run until SIGTERM or Ctrl-C; ``ready`` is called with the address of the page once it answers.

    Raises:
        SurroundingsError: the data folder, the broker or a port cannot be had.
    """
    with ExitStack() as stack:
        allow_descriptors()
        listener = stack.enter_context(contextlib.closing(listen(LOOPBACK, options.port, ON_LOOPBACK)))
        folder, services, site = stack.enter_context(running(root, options))
        door = _open_door(stack, root, services, site, options)
        address = f"http://{LOOPBACK}:{listener.getsockname()[1]}"
        server = loopback_server(create_app(services), listener)
        folder.api_token()
        folder.write_endpoint(Endpoint(address, *site.broker, door))
        signal.signal(signal.SIGTERM, lambda *_: setattr(server, "should_exit", True))
        listener.listen()  # from here on a request waits for the server instead of being refused
        ready(address)
        server.run(sockets=[listener])


def _open_door(stack: ExitStack, root: Path, services: Services, site: Site, options: Options) -> str:
    """Start the HTTPS server; returns its address. It keeps its port, which every device has written down."""
    kept = root / "door-port"
    known = int(kept.read_text()) if kept.exists() and kept.read_text().strip().isdecimal() else 0
    listener = listen(options.listen, options.https_port or known)
    port = listener.getsockname()[1]
    write_durably(kept, f"{port}\n".encode())
    context = door_context(site.authority.bundle, site.authority.server)
    door = Door(create_app(services, options.all_names), listener, context)
    renewal = _Again(lambda: _show_renewed(site, context), "certificates", RENEWAL_S)
    for part in (door, renewal):
        part.start()
        stack.callback(part.stop)
    return f"https://{options.near}:{port}"


def _show_renewed(site: Site, door: TlsContext) -> None:
    if site.renew():
        show_anew(door, site.authority.server)
    site.register.access.refresh()  # so that no revocation list grows too old
