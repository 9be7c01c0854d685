"""A controller's services for tests of the API, the pages and the command line: real database, blobs,
rollout service and enrolment; what would need a broker or a build is a small simulator that remembers.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgewright.controller.blobs import BlobStore
from edgewright.controller.broker.embedded import Address
from edgewright.controller.database.engine import Database
from edgewright.controller.datadir import write_private
from edgewright.controller.enrolment import Enrolment
from edgewright.controller.evidence.version import VersionHealth
from edgewright.controller.rollouts.service import RolloutService

TOKEN = "ew_test-token"
ROOT = {"signed": {"_type": "root"}, "signatures": []}


@dataclass
class SimulatedAssigner:
    """Remembers which devices were sent to which version."""

    assigned: list[tuple[tuple[str, ...], str, int]] = field(default_factory=list)

    def assign(
        self,
        devices: Sequence[str],
        model: str,
        version: int,
        rollout: int = 0,
        *,
        allow_rollback: bool = False,
    ) -> None:
        """Take an order as the assigner does."""
        del rollout, allow_rollback
        self.assigned.append((tuple(devices), model, version))


def keep_building(model: str, version: int) -> None:
    """A build that does not end while the test looks."""
    del model, version


@dataclass
class SimulatedBuilds:
    """Remembers what was queued, and ends each build at once as a test wants it."""

    queued: list[tuple[str, int]] = field(default_factory=list)
    end: Callable[[str, int], None] = keep_building

    def enqueue_build(self, model: str, version: int) -> None:
        """Take a build."""
        self.queued.append((model, version))
        self.end(model, version)


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
    rollouts: RolloutService
    enrolment: Enrolment
    workflows: SimulatedBuilds
    monitor: SilentMonitor
    assigner: SimulatedAssigner


def make_parts(data: Path) -> Parts:
    """Services over a new data folder."""
    write_private(data / "api-token", TOKEN.encode())
    db = Database.in_folder(data)
    db.create()
    root = json.dumps(ROOT).encode()
    assigner = SimulatedAssigner()
    return Parts(
        data=data,
        db=db,
        blobs=BlobStore(data / "blobs"),
        rollouts=RolloutService(db, assigner, lambda: None),  # type: ignore[arg-type]  # a simulator
        enrolment=Enrolment(db, Address("127.0.0.1", 18830), root, root),
        workflows=SimulatedBuilds(),
        monitor=SilentMonitor(),
        assigner=assigner,
    )
