"""Issuing assignments: the row first, then the signed document on its retained topic.

Only one thread issues or republishes at a time. A device refuses a document that is older than the last one
it saw, and a retained topic keeps what came last: so documents have to reach the broker in their order.
"""

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from edgewright.controller.database import Session, col, select
from edgewright.controller.database.engine import Database
from edgewright.controller.database.tables import Artifact, Assignment, Device, RolloutDevice
from edgewright.controller.publisher import Publisher
from edgewright.controller.trust.director import Director
from edgewright.controller.trust.repository import ImageRepository, TargetEntry
from edgewright.wire.assignment import Orders, TargetCustom
from edgewright.wire.deployment import State
from edgewright.wire.manifest import target_path


class Assigner:
    """Signs, stores and publishes what devices shall run."""

    def __init__(
        self, db: Database, director: Director, repository: ImageRepository, publisher: Publisher
    ) -> None:
        self._db = db
        self._director = director
        self._repository = repository
        self._publisher = publisher
        self._one_at_a_time = threading.Lock()

    @contextmanager
    def issuing(self) -> Iterator["Issue"]:
        """A transaction in which assignments are issued; they are published after its commit.

        What belongs together, such as a rollout's end and its devices' way back, is written in one such
        block. A process that is killed before it publishes does it at its next start (``republish``).
        """
        with self._one_at_a_time:
            with self._db.session() as session:
                issue = Issue(session, self._director, self._repository)
                yield issue
            for row in issue.issued:
                self._publisher.publish_assignment(row.device, row.document)

    def renew(self, older_than_s: float) -> None:
        """Issue assignments again that are older than ``older_than_s``, so that none expires."""
        limit = time.time() - older_than_s
        with self.issuing() as issue:
            for row in issue.session.exec(select(Assignment).where(col(Assignment.issued) < limit)).all():
                issue.renew(row)

    def republish(self) -> None:
        """Publish every device's newest assignment again: a broker may have lost it.

        Raises:
            BrokerUnreachableError: the broker did not take them all; calling again is harmless.
        """
        with self._one_at_a_time:
            with self._db.reading() as session:
                documents = {row.device: row.document for row in session.exec(select(Assignment)).all()}
            self._publisher.republish_assignments(documents)


class Issue:
    """Assignments of one transaction; see ``Assigner.issuing``.

    Attributes:
        session: the transaction, for what has to be written with them.
        issued: the rows to publish.
    """

    def __init__(self, session: Session, director: Director, repository: ImageRepository) -> None:
        self.session = session
        self.issued: list[Assignment] = []
        self._director = director
        self._repository = repository

    def assign(
        self, devices: Iterable[str], model: str, version: int, *, rollout: int, allow_rollback: bool = False
    ) -> None:
        """Assign a version to devices.

        One whose target the version was not compiled for keeps what it has; its part in the rollout, if it
        has one, ends as refused, so that nobody waits for it.
        """
        for device in devices:
            known = self.session.get(Device, device)
            artifact = self.session.get(Artifact, (model, version, known.target)) if known else None
            part = self.session.get(RolloutDevice, (rollout, device))
            if known is None or artifact is None:
                self._refuse(part, known)
                continue
            row = self._sign(artifact, device, rollout, allow_rollback)
            if part is not None and not part.assigned_at:
                part.assigned_at = part.updated_at = row.issued
                part.assignment_version = row.version
                part.previous_version = known.active_version if known.active_model == model else 0
                self.session.add(part)

    def renew(self, row: Assignment) -> None:
        """Issue what a device has been assigned once more, with a new date."""
        known = self.session.get(Device, row.device)
        artifact = self.session.get(Artifact, (row.model, row.model_version, known.target)) if known else None
        if artifact is not None:
            self._sign(artifact, row.device, row.rollout, allow_rollback=True)

    def _refuse(self, part: RolloutDevice | None, known: Device | None) -> None:
        if part is None or part.assigned_at:
            return
        part.assigned_at = part.updated_at = time.time()
        part.state = State.REFUSED
        what = (
            f"The version was not compiled for its target {known.target}" if known else "It is not enrolled"
        )
        part.detail = f"{what}."
        self.session.add(part)

    def _sign(self, artifact: Artifact, device: str, rollout: int, allow_rollback: bool) -> Assignment:
        now = time.time()
        row = self.session.get(Assignment, device)
        number = row.version + 1 if row else 1
        row = row or Assignment(
            device=device,
            version=0,
            model="",
            model_version=0,
            manifest_sha256="",
            rollout=0,
            issued=0.0,
            document=b"",
        )
        row.version, row.model, row.model_version = number, artifact.model, artifact.version
        row.manifest_sha256, row.rollout, row.issued = artifact.manifest_sha256, rollout, now
        row.document = self._document(artifact, row, allow_rollback)
        self.session.add(row)
        self.issued.append(row)
        return row

    def _document(self, artifact: Artifact, row: Assignment, allow_rollback: bool) -> bytes:
        entry = TargetEntry(
            path=target_path(artifact.model, artifact.target, artifact.version),
            length=artifact.manifest_length,
            sha256=artifact.manifest_sha256,
            custom=TargetCustom(artifact.model, artifact.target, artifact.version, artifact.version),
        )
        orders = Orders(
            device=row.device,
            issued=row.issued,
            rollout=row.rollout,
            min_root=self._repository.root_version,
            min_timestamp=self._repository.timestamp_version,
            allow_rollback=allow_rollback,
        )
        return self._director.assign(row.version, entry, orders)
