"""A controller's services for tests of the API, the pages and the command line: real database, blobs,
rollout service, assigner and enrolment; what would need a broker or a build is a small simulator that
remembers.
"""

import json
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgewright.controller.blobs import BlobStore
from edgewright.controller.broker.probe import Address
from edgewright.controller.broker.report import BrokerReport
from edgewright.controller.database.engine import Database
from edgewright.controller.downloads import DownloadCounts, Places
from edgewright.controller.durable import write_durably
from edgewright.controller.enrolment import Enrolment
from edgewright.controller.errors import DataFolderDamagedError
from edgewright.controller.evidence.version import VersionHealth
from edgewright.controller.identity.authority import CertificateAuthority
from edgewright.controller.identity.register import DeviceRegister
from edgewright.controller.publisher import Damaged, PublishedBlob, Publisher
from edgewright.controller.qualification.service import Qualifications
from edgewright.controller.rebuild.trigger import Asked
from edgewright.controller.retained import Figure, Figures
from edgewright.controller.retirement import Retirement
from edgewright.controller.rollouts.assigner import Assigner
from edgewright.controller.rollouts.service import RolloutService
from edgewright.controller.signing import Signing
from edgewright.controller.trust.acknowledgement import AcknowledgementKey
from edgewright.controller.trust.director import Director
from edgewright.controller.trust.keys import KeyStore
from edgewright.controller.trust.repository import ImageRepository
from edgewright.controller.wants import WantCounts

TOKEN = "ew_test-token"
ROOT = {"signed": {"_type": "root"}, "signatures": []}


@dataclass
class SimulatedPublisher:
    """Remembers what was published for each device, the first first."""

    published: list[tuple[str, bytes]] = field(default_factory=list)
    orders: list[tuple[str, bytes]] = field(default_factory=list)
    metadata: int = 0
    releases: list[str] = field(default_factory=list)
    withdrawn: list[str] = field(default_factory=list)
    found: dict[str, PublishedBlob] = field(default_factory=dict)
    damaged: set[str] = field(default_factory=set)

    def publish_assignment(self, device: str, document: bytes) -> None:
        """Take one device's document."""
        self.published.append((device, document))

    def publish_order(self, device: str, document: bytes) -> None:
        """Take what a device shall measure."""
        self.orders.append((device, document))

    def find_blob(self, sha256: str) -> PublishedBlob | None:
        """What a test has put there."""
        return self.found.get(sha256)

    def publish_metadata(self) -> None:
        """Count."""
        self.metadata += 1

    def publish_release(self, manifest_sha256: str) -> None:
        """Take a release, unless a test says that it is damaged."""
        if manifest_sha256 in self.damaged:
            raise DataFolderDamagedError(f"{manifest_sha256} is damaged.")
        self.releases.append(manifest_sha256)

    def withdraw_releases(self, manifest_sha256s: Collection[str]) -> Damaged:
        """Take releases that are no longer needed."""
        self.withdrawn += manifest_sha256s
        return {}

    def republish_assignments(self, documents: Mapping[str, bytes]) -> None:
        """Take all devices' documents."""
        self.published += documents.items()


def make_director(data: Path) -> Director:
    """A real director, in this process: a process for each test would cost half a second."""
    director = Director(data / "director")
    director.open(AcknowledgementKey(data / "keys" / "ack").ensure())
    return director


def make_assigner(data: Path, db: Database, publisher: SimulatedPublisher) -> Assigner:
    """A real assigner with keys of its own, over a simulated publisher."""
    keys = KeyStore(data / "keys")
    repository, director = ImageRepository(data / "tuf" / "image", keys), make_director(data)
    repository.ensure()
    return Assigner(db, director, repository, publisher)  # type: ignore[arg-type]  # a simulator


def keep_building(model: str, version: int) -> None:
    """A build that does not end while the test looks."""
    del model, version


@dataclass
class SimulatedBuilds:
    """Remembers what was queued, and ends each build at once as a test wants it."""

    queued: list[tuple[str, int]] = field(default_factory=list)
    end: Callable[[str, int], None] = keep_building
    rebuilds: list[tuple[str, str, str]] = field(default_factory=list)
    settled: list[tuple[str, int, str]] = field(default_factory=list)

    def enqueue_build(self, model: str, version: int) -> None:
        """Take a build."""
        self.queued.append((model, version))
        self.end(model, version)

    def enqueue_rebuild(self, model: str, cause: str, asked: Asked) -> int:
        """Take a rebuild; its number is how many there were."""
        del cause
        self.rebuilds.append((model, asked.trigger, asked.asked_by))
        return len(self.rebuilds)

    def approve_rebuild(self, number: int, by: str) -> None:
        """Take an approval."""
        self.settled.append(("approved", number, by))

    def cancel_rebuild(self, number: int, by: str) -> None:
        """Take an end."""
        self.settled.append(("cancelled", number, by))


@dataclass
class SimulatedAccess:
    """A broker's access list; remembers whose connection was to end."""

    refreshed: int = 0
    ended: list[str] = field(default_factory=list)

    def refresh(self) -> None:
        """Count."""
        self.refreshed += 1

    def end(self, device: str) -> None:
        """Take a device."""
        self.ended.append(device)


class SimulatedBroker:
    """A broker on which two versions of a model lie."""

    def report(self) -> BrokerReport:
        """The same each time."""
        return BrokerReport(
            kind="mosquitto",
            connected=True,
            retained=Figures(Figure(80, 10_000_000), Figure(9, 20_000), Figure(4, 12_000)),
            most_bytes=50_000_000,
            memory_bytes=21_000_000,
            memory_source="broker",
            waiting_bytes=0,
            restarts=0,
            last_failure="",
            wants=WantCounts(3, 2, 1),
            downloads=DownloadCounts(0, 7, 900_000, 0),
        )


class SilentMonitor:
    """A monitor that has seen nothing."""

    def status(self, model: str) -> list[VersionHealth]:
        """No evidence."""
        del model
        return []


@dataclass(frozen=True)
class Parts:
    """The services, as ``up.Services`` has them."""

    data: Path
    db: Database
    blobs: BlobStore
    repository: ImageRepository
    publisher: SimulatedPublisher
    downloads: Places
    broker: SimulatedBroker
    rollouts: RolloutService
    enrolment: Enrolment
    register: DeviceRegister
    director: Director
    workflows: SimulatedBuilds
    monitor: SilentMonitor
    signing: Signing
    qualifications: Qualifications


def make_parts(data: Path) -> Parts:
    """Services over a new data folder."""
    write_durably(data / "api-token", TOKEN.encode())
    db = Database.in_folder(data)
    db.create()
    root = json.dumps(ROOT).encode()
    authority = CertificateAuthority(data / "ca")
    authority.ensure()
    register = DeviceRegister(db, authority, SimulatedAccess())
    publisher = SimulatedPublisher()
    assigner = make_assigner(data, db, publisher)
    rollouts = RolloutService(db, assigner, lambda: None)
    blobs = BlobStore(data / "blobs")
    repository = ImageRepository(data / "tuf" / "image", KeyStore(data / "keys"))
    repository.ensure()
    director = make_director(data)
    return Parts(
        data=data,
        db=db,
        blobs=blobs,
        repository=repository,
        publisher=publisher,
        downloads=Places(),
        broker=SimulatedBroker(),
        rollouts=rollouts,
        enrolment=Enrolment(db, register, lambda host: Address(host, 18830), lambda: root, lambda: root),
        register=register,
        director=director,
        workflows=SimulatedBuilds(),
        monitor=SilentMonitor(),
        signing=_signing(db, repository, publisher, rollouts),
        qualifications=make_qualifications(db, blobs, director, publisher),
    )


def make_qualifications(
    db: Database,
    blobs: BlobStore,
    director: Director,
    publisher: SimulatedPublisher,
    clock: Callable[[], float] = time.time,
) -> Qualifications:
    """The service over a simulated publisher; released versions are there."""
    published: Publisher = publisher  # type: ignore[assignment]  # a simulator
    return Qualifications(db, blobs, director, published, lambda _model, _version: None, clock)


def _signing(
    db: Database, repository: ImageRepository, publisher: SimulatedPublisher, rollouts: RolloutService
) -> Signing:
    """The service over a simulated publisher."""
    published: Publisher = publisher  # type: ignore[assignment]  # a simulator
    retirement = Retirement(db, repository, published)
    return Signing(db, repository, published, rollouts, retirement, lambda: None)
