"""Issuing assignments: the row and the signed document together, then the document on its retained topic.

Only one thread issues or republishes at a time. A device refuses a document that is older than the last one
it saw, and a retained topic keeps what came last: so documents have to reach the broker in their order.

A document's number is one above the last that the controller, the director or the device knows: a controller
that was killed before its commit numbers on where the director has left off, and one that was restored from a
backup with its director where the devices are. What is
issued in one transaction is signed together at its end, and the transaction fails if the director refuses.
"""

import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from edgewright.controller.database import Session, col, delete, select
from edgewright.controller.database.engine import Database
from edgewright.controller.database.tables import (
    Artifact,
    Assignment,
    Device,
    IssuedAssignment,
    RolloutDevice,
)
from edgewright.controller.publisher import Publisher
from edgewright.controller.trust.director_seam import AssignmentSigner, Order
from edgewright.controller.trust.documents import min_director_root
from edgewright.controller.trust.repository import ImageRepository, TargetEntry
from edgewright.wire.assignment import Orders, TargetCustom
from edgewright.wire.canonical import sha256_hex
from edgewright.wire.deployment import State
from edgewright.wire.manifest import target_path

TIME_SPACING_S: Final = 20.0
"""A device gets signed time at most this often; it asks again after a minute."""

BELIEVED_VERSION: Final = 1 << 52
"""A device's word about its newest document counts up to this number: as many more are left below 2^53, where
it takes none any more.
"""

REMEMBERED_S: Final = 90 * 24 * 3600.0
"""How long digests of documents are kept; a document itself is good for seven days."""

_NONCE: Final = re.compile("[0-9a-f]{32}")

Wrap = Callable[[str, Artifact], str]
"""The content key of a confidential artifact, wrapped for a device; empty for any other artifact."""


def _open_to_all(device: str, artifact: Artifact) -> str:
    del device, artifact
    return ""


class Assigner:
    """Signs, stores and publishes what devices shall run.

    Args:
        db: where it is stored.
        director: who signs.
        repository: the image metadata that a device has to have seen.
        publisher: where it is published.
        wrap: see ``Wrap``.
    """

    def __init__(
        self,
        db: Database,
        director: AssignmentSigner,
        repository: ImageRepository,
        publisher: Publisher,
        wrap: Wrap = _open_to_all,
    ) -> None:
        self._db = db
        self._director = director
        self._repository = repository
        self._publisher = publisher
        self._wrap = wrap
        self._one_at_a_time = threading.Lock()
        self._asked = threading.Lock()
        self._questions: dict[str, str] = {}
        self._answered: dict[str, float] = {}

    @contextmanager
    def issuing(self) -> Iterator["Issue"]:
        """A transaction in which assignments are issued; they are published after its commit.

        What belongs together, such as a rollout's end and its devices' way back, is written in one such
        block. A process that is killed before it publishes does it at its next start (``republish``).

        Raises:
            DirectorUnavailableError: the director does not sign; nothing is kept.
        """
        with self._one_at_a_time:
            with self._db.session() as session:
                issue = Issue(session, self._director, self._repository, self._wrap)
                yield issue
                issue.sign()
            for row in issue.issued:
                self._publisher.publish_assignment(row.device, row.document)

    def renew(self, older_than_s: float) -> None:
        """Issue assignments again that are older than ``older_than_s``, so that none expires.

        Raises:
            DirectorUnavailableError: the director does not sign; nothing is kept.
        """
        now = time.time()
        with self.issuing() as issue:
            due = select(Assignment).where(col(Assignment.issued) < now - older_than_s)
            issue.renew(issue.session.exec(due).all())
            old = delete(IssuedAssignment).where(col(IssuedAssignment.issued) < now - REMEMBERED_S)
            issue.session.exec(old)

    def renew_behind(self, director_root: int) -> None:
        """Issue assignments again that were signed under an older root of the director than this one.

        A process that was killed between the director's new root and their renewal does it at its next start.

        Raises:
            DirectorUnavailableError: the director does not sign; nothing is kept.
        """
        with self.issuing() as issue:
            rows = issue.session.exec(select(Assignment)).all()
            issue.renew(row for row in rows if min_director_root(row.document) < director_root)

    def ask(self, questions: Mapping[str, str]) -> None:
        """Take what devices ask for: a nonce for signed time, an empty text for a new document alone.

        What is no nonce is not answered: it would be signed as it stands, whatever it says.
        """
        with self._asked:
            self._questions.update(
                (device, asked) for device, asked in questions.items() if not asked or _NONCE.fullmatch(asked)
            )

    def answer(self) -> None:
        """Issue again the assignments of devices that asked, each with its nonce.

        A device without assignment gets none: it has nothing that expires, and its first assignment brings a
        time that it never goes below. One that was answered just now has to ask again.

        Raises:
            DirectorUnavailableError: the director does not sign; the devices ask again.
        """
        now = time.monotonic()
        with self._asked:
            questions, self._questions = self._questions, {}
        answered = {device: at for device, at in self._answered.items() if now - at < TIME_SPACING_S}
        questions = {device: nonce for device, nonce in questions.items() if device not in answered}
        self._answered = {**answered, **dict.fromkeys(questions, now)}
        if questions:
            with self.issuing() as issue:
                due = select(Assignment).where(col(Assignment.device).in_(list(questions)))
                issue.renew(issue.session.exec(due).all(), questions)

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
    """

    def __init__(
        self, session: Session, director: AssignmentSigner, repository: ImageRepository, wrap: Wrap
    ) -> None:
        self.session = session
        self._director = director
        self._repository = repository
        self._wrap = wrap
        self._drafts: dict[str, tuple[Assignment, Order]] = {}

    @property
    def issued(self) -> list[Assignment]:
        """The rows to publish."""
        return [row for row, _ in self._drafts.values()]

    def assign(
        self,
        devices: Iterable[str],
        model: str,
        version: int,
        *,
        rollout: int,
        allow_rollback: bool = False,
        stop: bool = False,
    ) -> None:
        """Assign a version to devices, or tell those that have it to run the model no more (``stop``).

        One whose target the version was not compiled for keeps what it has; its part in the rollout, if it
        has one, ends as refused, so that nobody waits for it.
        """
        devices = list(devices)
        for device, last in zip(devices, self._director.last(devices), strict=True):
            known = self.session.get(Device, device)
            artifact = self.session.get(Artifact, (model, version, known.target)) if known else None
            part = self.session.get(RolloutDevice, (rollout, device))
            if known is None or artifact is None:
                self._refuse(part, known)
                continue
            row = self._row(device)
            row.rollout, row.allow_rollback, row.stop = rollout, allow_rollback, stop
            self._draft(row, artifact, max(last, _claimed(known)))
            if part is not None and not part.assigned_at:
                part.assigned_at = part.updated_at = row.issued
                part.assignment_version = row.version
                part.previous_version = known.active_version if known.active_model == model else 0
                self.session.add(part)

    def renew(self, rows: Iterable[Assignment], nonces: Mapping[str, str] | None = None) -> None:
        """Issue once more what devices have been assigned, exactly as it was ordered, with a new date.

        Args:
            rows: their assignments.
            nonces: of those that asked for signed time, by device.
        """
        rows = list(rows)
        for row, last in zip(rows, self._director.last([row.device for row in rows]), strict=True):
            known = self.session.get(Device, row.device)
            artifact = self._artifact(row, known.target) if known and not known.revoked_at else None
            if known is not None and artifact is not None:
                number = max(last, _claimed(known))
                self._draft(row, artifact, number, (nonces or {}).get(row.device, ""))

    def sign(self) -> None:
        """Have everything signed that was issued; the transaction's last step.

        Raises:
            DirectorUnavailableError: the director does not sign.
        """
        orders = [order for _, order in self._drafts.values()]
        for row, document in zip(self.issued, self._director.sign(orders), strict=True):
            row.document = document
            self.session.add(row)
            digest = sha256_hex(document)
            self.session.add(
                IssuedAssignment(device=row.device, version=row.version, sha256=digest, issued=row.issued)
            )

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

    def _row(self, device: str) -> Assignment:
        return self.session.get(Assignment, device) or Assignment(
            device=device,
            version=0,
            model="",
            model_version=0,
            manifest_sha256="",
            rollout=0,
            issued=0.0,
            document=b"",
        )

    def _artifact(self, row: Assignment, target: str) -> Artifact | None:
        return self.session.get(Artifact, (row.model, row.model_version, target))

    def _draft(self, row: Assignment, artifact: Artifact, last: int, nonce: str = "") -> None:
        row.version = max(row.version, last) + 1
        row.model, row.model_version = artifact.model, artifact.version
        row.manifest_sha256, row.issued = artifact.manifest_sha256, time.time()
        self.session.add(row)
        self._drafts[row.device] = row, self._order(artifact, row, nonce)

    def _order(self, artifact: Artifact, row: Assignment, nonce: str) -> Order:
        path = target_path(artifact.model, artifact.target, artifact.version)
        orders = Orders(
            device=row.device,
            issued=row.issued,
            rollout=row.rollout,
            min_root=self._repository.root_version,
            min_timestamp=self._repository.timestamp_version,
            allow_rollback=row.allow_rollback,
            nonce=nonce,
            content_key="" if row.stop else self._wrap(row.device, artifact),
            stop=row.stop,
        )
        # As the release keys signed it. One that is not in the repository, or no more, no device will take:
        # it demands that both agree.
        return Order(row.version, self._repository.entry(path) or _entry(path, artifact), orders)


def _claimed(device: Device) -> int:
    """Number of the newest document that a device says it has accepted, as far as that is believed."""
    return device.assignment_version if device.assignment_version <= BELIEVED_VERSION else 0


def _entry(path: str, artifact: Artifact) -> TargetEntry:
    return TargetEntry(
        path=path,
        length=artifact.manifest_length,
        sha256=artifact.manifest_sha256,
        custom=TargetCustom(
            artifact.model,
            artifact.target,
            artifact.version,
            artifact.version,
            confidential=artifact.confidential,
        ),
    )
