"""Issuing assignments: the row first, then the signed document on its retained topic."""

import time
from collections.abc import Iterable

from edgewright.controller.database import Session, col, select
from edgewright.controller.database.engine import Database
from edgewright.controller.database.tables import Artifact, Assignment, Device, RolloutDevice
from edgewright.controller.publisher import Publisher
from edgewright.controller.trust.director import Director
from edgewright.controller.trust.repository import ImageRepository, TargetEntry
from edgewright.wire.assignment import Orders, TargetCustom
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

    def assign(
        self, devices: Iterable[str], model: str, version: int, *, rollout: int, allow_rollback: bool = False
    ) -> None:
        """Assign a version to devices; those without an artifact for their target are left as they are."""
        issued: list[Assignment] = []
        with self._db.session() as session:
            for device in devices:
                row = self._issue(session, device, (model, version), rollout, allow_rollback)
                if row is not None:
                    issued.append(row)
        for row in issued:
            self._publisher.publish_assignment(row.device, row.document)

    def renew(self, older_than_s: float) -> None:
        """Issue assignments again that are older than ``older_than_s``, so that none expires."""
        limit = time.time() - older_than_s
        renewed: list[Assignment] = []
        with self._db.session() as session:
            for row in session.exec(select(Assignment).where(col(Assignment.issued) < limit)).all():
                what = (row.model, row.model_version)
                again = self._issue(session, row.device, what, row.rollout, allow_rollback=True)
                if again is not None:
                    renewed.append(again)
        for row in renewed:
            self._publisher.publish_assignment(row.device, row.document)

    def _issue(
        self, session: Session, device: str, what: tuple[str, int], rollout: int, allow_rollback: bool
    ) -> Assignment | None:
        model, version = what
        known = session.get(Device, device)
        artifact = session.get(Artifact, (model, version, known.target)) if known else None
        if known is None or artifact is None:
            return None
        now = time.time()
        row = session.get(Assignment, device)
        number = row.version + 1 if row else 1
        document = self._document(artifact, number, device, (now, rollout, allow_rollback))
        row = row or Assignment(
            device=device,
            version=0,
            model=model,
            model_version=version,
            manifest_sha256="",
            rollout=0,
            issued=0.0,
            document=b"",
        )
        row.version, row.model, row.model_version = number, model, version
        row.manifest_sha256, row.rollout, row.issued = artifact.manifest_sha256, rollout, now
        row.document = document
        session.add(row)
        part = session.get(RolloutDevice, (rollout, device))
        if part is not None and not part.assigned_at:
            part.assigned_at = part.updated_at = now
            part.assignment_version = number
            part.previous_version = known.active_version if known.active_model == model else 0
            session.add(part)
        return row

    def _document(
        self, artifact: Artifact, number: int, device: str, order: tuple[float, int, bool]
    ) -> bytes:
        issued, rollout, allow_rollback = order
        entry = TargetEntry(
            path=target_path(artifact.model, artifact.target, artifact.version),
            length=artifact.manifest_length,
            sha256=artifact.manifest_sha256,
            custom=TargetCustom(artifact.model, artifact.target, artifact.version, artifact.version),
        )
        orders = Orders(
            device=device,
            issued=issued,
            rollout=rollout,
            min_root=self._repository.root_version,
            min_timestamp=self._repository.timestamp_version,
            allow_rollback=allow_rollback,
        )
        return self._director.assign(number, entry, orders)
