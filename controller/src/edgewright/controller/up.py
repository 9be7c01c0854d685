"""The controller as one process: everything is made here, in order, and ended in the reverse order.

What is started after the database is able to start again on what it finds there: metadata, chunks and
assignments are published again, evidence is replayed from the stored windows, unfinished builds and
rollouts go on. So ``kill -9`` is an ordinary way to stop a controller.
"""

import contextlib
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvicorn

from edgewright.controller.api.app import create_app
from edgewright.controller.blobs import BlobStore
from edgewright.controller.broker.embedded import EmbeddedBroker
from edgewright.controller.database import Session, col, select
from edgewright.controller.database.engine import Database
from edgewright.controller.database.tables import Artifact, ModelVersion
from edgewright.controller.datadir import DataFolder, Endpoint
from edgewright.controller.enrolment import Enrolment
from edgewright.controller.errors import PortInUseError
from edgewright.controller.ingest.writer import Ingest, Listeners
from edgewright.controller.link import BrokerLink
from edgewright.controller.monitor import Monitor
from edgewright.controller.publisher import Publisher
from edgewright.controller.rebuild.workflows import Workflows
from edgewright.controller.rollouts.assigner import Assigner
from edgewright.controller.rollouts.reconciler import Reconciler
from edgewright.controller.rollouts.service import RolloutService
from edgewright.controller.trust.director import Director
from edgewright.controller.trust.keys import KeyStore
from edgewright.controller.trust.repository import ImageRepository

LOOPBACK: Final = "127.0.0.1"
"""Until devices and people are authenticated by certificates, nothing listens beyond this machine."""

RENEWAL_S: Final = 3600.0
ASSIGNMENT_RENEWAL_S: Final = 24 * 3600.0

_log = logging.getLogger(__name__)


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
    monitor: Monitor
    workflows: Workflows


@contextmanager
def running(root: Path, broker_port: int = 0) -> Iterator[tuple[DataFolder, Services, Endpoint]]:
    """Everything but the HTTP server, for as long as the block lasts.

    Raises:
        SurroundingsError: the data folder, the broker or a port cannot be had.
    """
    with ExitStack() as stack:
        folder = DataFolder.open(root)
        stack.callback(folder.close)
        db = Database.in_folder(root)
        db.create()
        stack.callback(db.close)
        blobs = BlobStore(root / "blobs")
        blobs.clear_left_overs()
        keys = KeyStore(root / "keys")
        repository = ImageRepository(root / "tuf" / "image", keys)
        repository.ensure()
        director = Director(root / "tuf" / "director", keys)
        director.ensure()
        broker = EmbeddedBroker(root / "broker", broker_port)
        address = broker.start()
        stack.callback(broker.stop)
        link = BrokerLink(address.host, address.port, "edgewright-controller")
        publisher = Publisher(link, blobs, repository)
        enrolment = Enrolment(db, address, repository.root_bytes(), director.root_bytes())
        services = _compose(stack, root, db, blobs, link, publisher, repository, director, enrolment)
        yield folder, services, Endpoint("", address.host, address.port)


def _compose(
    stack: ExitStack,
    root: Path,
    db: Database,
    blobs: BlobStore,
    link: BrokerLink,
    publisher: Publisher,
    repository: ImageRepository,
    director: Director,
    enrolment: Enrolment,
) -> Services:
    assigner = Assigner(db, director, repository, publisher)
    awake = threading.Event()
    rollouts = RolloutService(db, assigner, awake.set)
    reconciler = Reconciler(db, assigner, awake)
    workflows = Workflows(root, db, blobs, repository, publisher, rollouts)
    monitor = Monitor(db, blobs, workflows.enqueue_for_alarm)
    ingest = Ingest(db, blobs, link, Listeners(monitor.observe, publisher.handle_want, awake.set))
    republish = _Again(lambda: _republish(db, repository, publisher, assigner), "republish")
    link.on_connected(republish.wake)
    monitor.replay()
    link.start()
    stack.callback(link.stop)
    renew = _Again(lambda: _renew(repository, publisher, assigner), "renewal", RENEWAL_S)
    for part in (republish, ingest, reconciler, workflows, renew):
        part.start()
        stack.callback(part.stop)
    return Services(root, db, blobs, repository, publisher, rollouts, enrolment, monitor, workflows)


def _republish(db: Database, repository: ImageRepository, publisher: Publisher, assigner: Assigner) -> None:
    # Documents may have come of age while the controller was down.
    repository.renew()
    with db.reading() as session:
        manifests = live_manifests(session)
    publisher.republish_all(manifests)
    assigner.renew(ASSIGNMENT_RENEWAL_S)
    # Read only now: while the chunks were published, newer assignments may have been issued.
    assigner.republish()


def live_manifests(session: Session) -> list[str]:
    """Digests of the manifests that a device may still need: those of all versions that are ready."""
    statement = (
        select(Artifact.manifest_sha256)
        .join(
            ModelVersion,
            (col(ModelVersion.model) == col(Artifact.model))
            & (col(ModelVersion.version) == col(Artifact.version)),
        )
        .where(col(ModelVersion.state) == "ready")
    )
    return list(session.exec(statement).all())


def _renew(repository: ImageRepository, publisher: Publisher, assigner: Assigner) -> None:
    if repository.renew():
        publisher.publish_metadata()
    assigner.renew(ASSIGNMENT_RENEWAL_S)


class _Again:
    """A thread that does one thing whenever it is woken, and every ``every_s`` seconds where given."""

    def __init__(self, do: Callable[[], None], name: str, every_s: float | None = None) -> None:
        self._do = do
        self._every_s = every_s
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
        while True:
            self._awake.wait(self._every_s)
            if self._ending:
                return
            self._awake.clear()
            try:
                self._do()
            # The top of the thread: what fails is done again at the next connection or the next hour.
            except Exception:  # noqa: BLE001
                _log.exception("%s failed; it is tried again.", self._thread.name)


def serve(root: Path, port: int = 0, broker_port: int = 0, ready: Callable[[str], None] = print) -> None:
    """Run until SIGTERM or Ctrl-C; ``ready`` is called with the address of the page once it answers.

    Raises:
        SurroundingsError: the data folder, the broker or a port cannot be had.
    """
    with contextlib.closing(_listen(port)) as listener, running(root, broker_port) as parts:
        folder, services, endpoint = parts
        address = f"http://{LOOPBACK}:{listener.getsockname()[1]}"
        server = uvicorn.Server(
            uvicorn.Config(
                create_app(services), log_level="warning", access_log=False, timeout_graceful_shutdown=2
            )
        )
        folder.api_token()
        folder.write_endpoint(Endpoint(address, endpoint.broker_host, endpoint.broker_port))
        signal.signal(signal.SIGTERM, lambda *_: setattr(server, "should_exit", True))
        listener.listen()  # from here on a request waits for the server instead of being refused
        ready(address)
        server.run(sockets=[listener])


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port))
    except OSError as error:
        listener.close()
        raise PortInUseError(f"Port {port} of {LOOPBACK} cannot be had: {error.strerror}.") from error
    return listener
