"""What people and builds ask of qualification devices, and the thread that brings it about.

An order is written down first, one a device, with its candidates; ``step`` does the rest and may be killed
anywhere: it looks at what is written, does what follows and writes that down. At most one order a device is
on the broker; the others wait their turn or their deadline.

::

    written  ->  candidates on the broker  ->  order signed and written  ->  order on its topic
    all answered, or past the deadline  ->  topic and candidates cleared  ->  closed

What an order names lies on the broker while it is open and no longer, but for artifacts of versions that are
released: those stay as ``retention`` says.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from edgewright.controller.blobs import BlobStore
from edgewright.controller.compiler.protocol import DeviceAnswer
from edgewright.controller.database import col, select
from edgewright.controller.database.engine import Database
from edgewright.controller.database.versiontables import Qualification, QualificationOrder
from edgewright.controller.errors import (
    BrokerFullError,
    DataFolderDamagedError,
    InvalidRequestError,
    UnknownQualificationError,
)
from edgewright.controller.events import record
from edgewright.controller.publisher import Publisher
from edgewright.controller.qualification.choice import Candidate, Result, choose, failures, plain_name
from edgewright.controller.qualification.results import answers_to
from edgewright.controller.qualification.rows import (
    artifacts_of,
    candidates_of,
    open_rows,
    released_among,
    same_orders,
    willing_devices,
)
from edgewright.controller.qualification.states import (
    OPEN,
    QualificationEvent,
    QualificationState,
    advance,
)
from edgewright.controller.trust.director_seam import Trials, TrialsSigner
from edgewright.controller.trust.documents import TargetEntry
from edgewright.wire.assignment import TargetCustom
from edgewright.wire.errors import MalformedMessageError
from edgewright.wire.manifest import Manifest, decode_manifest
from edgewright.wire.qualification import MAX_CANDIDATES, QualificationOrders, candidate_path

LIMIT_S: Final = 3600.0
"""How long devices have by default."""

LONGEST_S: Final = 20 * 3600.0
"""A signed order is good for a day; one that waits is signed when its turn comes."""

_log = logging.getLogger(__name__)


class Qualifications:
    """See the module's text; safe to use from several threads.

    Args:
        db: where orders and results are.
        blobs: has the candidates' manifests.
        director: who signs orders.
        publisher: the broker.
        need: returns when a released version lies on the broker.
        clock: seconds since the epoch.

    Attributes:
        on_order: called when there is something to do for ``step``.
    """

    def __init__(
        self,
        db: Database,
        blobs: BlobStore,
        director: TrialsSigner,
        publisher: Publisher,
        need: Callable[[str, int], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._db, self._blobs, self._director, self._publisher = db, blobs, director, publisher
        self._need, self._clock = need, clock
        self.on_order: Callable[[], None] = lambda: None
        self._one_at_a_time = threading.Lock()
        self._connected = self._is_there = False

    # Asking

    def order(
        self,
        model: str,
        version: int,
        target: str = "",
        devices: Sequence[str] = (),
        *,
        limit_s: float = LIMIT_S,
        ordered_by: str = "",
    ) -> list[int]:
        """Have the artifacts of a released version measured; the numbers of the orders.

        Args:
            model: whose.
            version: which.
            target: one of its targets; empty for all that have a device.
            devices: by id; empty for all that got the tag ``qualify=yes`` with their enrolment token.
            limit_s: seconds that devices have.
            ordered_by: who asks.

        Raises:
            UnknownModelError: there is no such version, or it has no artifact for the target.
            VersionNotReadyError: it is no release.
            UnknownQualificationError: no device takes it.
            InvalidRequestError: it is confidential, or the limit is longer than any order lasts.
        """
        with self._db.reading() as session:
            artifacts = artifacts_of(session, model, version, target)
            willing = {each.target: willing_devices(session, each.target, devices) for each in artifacts}
        if devices and (missing := set(devices) - {device for each in willing.values() for device in each}):
            raise UnknownQualificationError(f"{', '.join(sorted(missing))} takes no candidates of {model}.")
        if not any(willing.values()):
            raise UnknownQualificationError(f"No device takes candidates of {model} v{version}.")
        numbers: list[int] = []
        for artifact in artifacts:
            named = {plain_name(artifact.gates.get("chosen") or artifact.precision): artifact.manifest_sha256}
            numbers += self.propose(
                named, willing[artifact.target], limit_s=limit_s, ordered_by=ordered_by, anew=True
            )
        return numbers

    def propose(
        self,
        candidates: dict[str, str],
        devices: Sequence[str],
        *,
        limit_s: float = LIMIT_S,
        ordered_by: str = "",
        anew: bool = False,
    ) -> list[int]:
        """Have candidates of one version and one target measured; the numbers of the orders, one a device.

        Who asks a device again for the same candidates gets the same order, answered or not: a build that was
        killed goes on, and nothing is measured twice.

        Args:
            candidates: SHA-256 of each one's manifest, by its name.
            devices: that take candidates and are of the target.
            limit_s: seconds that they have.
            ordered_by: who asks.
            anew: have it measured again where an order for it is over; one that is open is still the same.

        Raises:
            InvalidRequestError: they cannot be measured as one order.
            MalformedMessageError: a name cannot stand in a path.
            DataFolderDamagedError: a manifest is not here.
        """
        manifests = {name: decode_manifest(self._blobs.read(sha256)) for name, sha256 in candidates.items()}
        _verify(manifests, limit_s)
        first = next(iter(manifests.values()))
        now = self._clock()
        with self._db.session() as session:
            same = same_orders(session, devices, first, set(candidates.values()), only_open=anew)
            orders = [
                QualificationOrder(
                    device=device,
                    model=first.model,
                    version=first.version,
                    target=first.target,
                    ordered_by=ordered_by,
                    ordered_at=now,
                    deadline=now + limit_s,
                )
                for device in devices
                if device not in same
            ]
            session.add_all(orders)
            session.flush()
            for order in orders:
                session.add_all(_rows(order, candidates, manifests))
            if orders:
                said = f"{first.model} v{first.version}, {len(candidates)} candidates for {first.target}"
                said += f", goes to {', '.join(order.device for order in orders)} to be measured."
                record(session, "qualification.ordered", said, model=first.model, version=first.version)
            numbers = [*same.values(), *(order.id or 0 for order in orders)]
        self.on_order()
        return numbers

    def willing(self, target: str) -> list[str]:
        """Devices of a target that are asked without being named."""
        with self._db.reading() as session:
            return willing_devices(session, target, ())

    def pick(self, orders: Sequence[int]) -> Candidate | None:
        """The candidate that ships, by what these orders' devices have measured; None where none passed."""
        with self._db.reading() as session:
            rows = session.exec(select(Qualification).where(col(Qualification.order_id).in_(orders))).all()
        candidates = {
            row.manifest_sha256: Candidate(row.candidate, row.manifest_sha256, row.size) for row in rows
        }
        answered = [
            row for row in rows if row.state in (QualificationState.MEASURED, QualificationState.FAILED)
        ]
        results = [
            Result(
                row.manifest_sha256,
                row.device,
                row.state == QualificationState.MEASURED,
                int(row.result.get("latency_p50_us", 0)),
            )
            for row in answered
        ]
        picked = choose(list(candidates.values()), results)
        if picked is not None and (failed_on := failures(picked, results)):
            self._tell_disputed(rows[0], picked, failed_on)
        return picked

    def answers(self, orders: Sequence[int]) -> list[DeviceAnswer]:
        """What devices have measured of these orders' candidates, good or not."""
        with self._db.reading() as session:
            return answers_to(session, orders)

    def complaints(self, orders: Sequence[int]) -> list[str]:
        """What devices say of candidates that fail, in sentences."""
        failed = select(Qualification).where(
            col(Qualification.order_id).in_(orders), col(Qualification.state) == QualificationState.FAILED
        )
        with self._db.reading() as session:
            return [f"{row.candidate} on {row.device}: {row.detail}" for row in session.exec(failed).all()]

    def is_over(self, orders: Sequence[int]) -> bool:
        """Whether every device has answered for every candidate, or its time is over."""
        with self._db.reading() as session:
            mine = col(Qualification.order_id).in_(orders)
            rows = session.exec(select(Qualification.state).where(mine)).all()
        return not any(state in OPEN for state in rows)

    # Bringing it about

    def step(self) -> None:
        """Expire what is late, clear what is over, publish what is next.

        Raises:
            BrokerUnreachableError: the broker did not take it; calling again goes on.
            DirectorUnavailableError: the director does not sign; likewise.
        """
        with self._one_at_a_time:
            if self._is_idle():
                return
            self._expire()
            if not self._connected:
                return
            if not self._is_there:
                self._put_again()
            self._is_there = False
            self._close()
            for order in self._next():
                with self._alone(order):
                    self._publish(order)
            self._is_there = True

    def reconnected(self) -> None:
        """The broker is there, perhaps without what it had: what is open is put there again."""
        with self._one_at_a_time:
            self._connected, self._is_there = True, False
        self.on_order()

    def _tell_disputed(self, of: Qualification, picked: Candidate, failed_on: Sequence[str]) -> None:
        said = (
            f"{of.model} v{of.version} for {of.target} ships as {picked.name}, though it failed on "
            f"{', '.join(failed_on)}: no fewer devices say that it does. Look at those devices."
        )
        with self._db.session() as session:
            record(session, "qualification.disputed", said, model=of.model, version=of.version)

    def _is_idle(self) -> bool:
        with self._db.reading() as session:
            unclosed = select(QualificationOrder.id).where(~col(QualificationOrder.closed))
            return session.exec(unclosed).first() is None

    def _put_again(self) -> None:
        for order, manifests in self._on_broker():
            with self._alone(order):
                self._bring(order, manifests)
                self._publisher.publish_order(order.device, order.document)

    def _expire(self) -> None:
        now = self._clock()
        with self._db.session() as session:
            late = (
                select(Qualification)
                .join(QualificationOrder, col(QualificationOrder.id) == col(Qualification.order_id))
                .where(col(Qualification.state).in_(list(OPEN)), col(QualificationOrder.deadline) <= now)
            )
            for row in session.exec(late).all():
                row.state = advance(QualificationState(row.state), QualificationEvent.OVERDUE)
                row.finished_at = now
                session.add(row)
                said = f"{row.device} did not measure {row.model} v{row.version} as {row.candidate} in time."
                kind = f"qualification.{row.state}"
                record(session, kind, said, model=row.model, version=row.version, device=row.device)

    def _close(self) -> None:
        """Take orders off the broker that nothing is to come of; candidates that nobody else measures too."""
        with self._db.reading() as session:
            unclosed = session.exec(select(QualificationOrder).where(~col(QualificationOrder.closed))).all()
            over = [order for order in unclosed if not open_rows(session, order)]
            needed = {row.manifest_sha256 for order in unclosed for row in open_rows(session, order)}
            manifests = {order.id: candidates_of(session, order) for order in over}
            released = released_among(session, {name for names in manifests.values() for name in names})
        for order in over:
            if order.number:
                self._publisher.publish_order(order.device, b"")
                self._publisher.withdraw_releases(set(manifests[order.id]) - needed - released)
            with self._db.session() as session:
                row = session.get_one(QualificationOrder, order.id)
                row.closed, row.document = True, b""
                session.add(row)

    def _next(self) -> list[QualificationOrder]:
        """The oldest order of each device that has none on the broker."""
        with self._db.reading() as session:
            rows = session.exec(
                select(QualificationOrder)
                .where(~col(QualificationOrder.closed))
                .order_by(col(QualificationOrder.id))
            ).all()
        first: dict[str, QualificationOrder] = {}
        for row in rows:
            first.setdefault(row.device, row)
        return [row for row in first.values() if not row.number]

    def _publish(self, order: QualificationOrder) -> None:
        with self._db.reading() as session:
            rows = open_rows(session, order)
            released = released_among(session, {row.manifest_sha256 for row in rows})
        self._bring(order, {row.manifest_sha256: row.manifest_sha256 in released for row in rows})
        number = max(self._director.last_trials(order.device) + 1, int(self._clock()))
        orders = QualificationOrders(order.device, self._clock())
        entries = tuple(self._entry(row) for row in rows)
        document = self._director.sign_trials(Trials(number, entries, orders))
        with self._db.session() as session:
            order.number, order.document = number, document
            session.add(order)
            for row in rows:
                row.number = number
                row.state = advance(QualificationState(row.state), QualificationEvent.PUBLISHED)
                session.add(row)
        self._publisher.publish_order(order.device, document)
        _log.info("%s is asked to measure %d candidates.", order.device, len(rows))

    def _bring(self, order: QualificationOrder, manifests: dict[str, bool]) -> None:
        """Have candidates on the broker, by the digest of each manifest and whether a release has it."""
        for sha256, is_released in manifests.items():
            if is_released:
                self._need(order.model, order.version)
            else:
                self._publisher.publish_release(sha256)

    @contextmanager
    def _alone(self, order: QualificationOrder) -> Iterator[None]:
        """What is wrong with one order ends that order, and holds up no other device's."""
        try:
            yield
        except (BrokerFullError, DataFolderDamagedError, InvalidRequestError, MalformedMessageError) as error:
            _log.warning("The order for %s ends: %s", order.device, error.sentence)
            self._end(order, error.sentence)

    def _end(self, order: QualificationOrder, detail: str) -> None:
        with self._db.session() as session:
            for row in open_rows(session, order):
                row.state = advance(QualificationState(row.state), QualificationEvent.OVERDUE)
                row.finished_at, row.detail = self._clock(), detail
                session.add(row)

    def _entry(self, row: Qualification) -> TargetEntry:
        raw = self._blobs.read(row.manifest_sha256)
        manifest = decode_manifest(raw)
        custom = TargetCustom(row.model, row.target, row.version, manifest.release_counter)
        path = candidate_path(row.model, row.target, row.version, row.candidate)
        return TargetEntry(path, len(raw), row.manifest_sha256, custom)

    def _on_broker(self) -> list[tuple[QualificationOrder, dict[str, bool]]]:
        with self._db.reading() as session:
            there = select(QualificationOrder).where(
                ~col(QualificationOrder.closed), col(QualificationOrder.number) > 0
            )
            found = []
            for order in session.exec(there).all():
                open_ones = {row.manifest_sha256 for row in open_rows(session, order)}
                released = released_among(session, open_ones)
                found.append((order, {name: name in released for name in open_ones}))
            return found


def _verify(manifests: dict[str, Manifest], limit_s: float) -> None:
    places = {(manifest.model, manifest.version, manifest.target) for manifest in manifests.values()}
    if len(places) != 1 or len(manifests) > MAX_CANDIDATES:
        raise InvalidRequestError(
            f"An order is of 1 to {MAX_CANDIDATES} candidates of one version for one target."
        )
    for name, manifest in manifests.items():
        candidate_path(manifest.model, manifest.target, manifest.version, name)
    if any(manifest.encryption is not None for manifest in manifests.values()):
        raise InvalidRequestError(
            "A confidential model is not sent to be measured: no key goes with an order."
        )
    if not 0 < limit_s <= LONGEST_S:
        raise InvalidRequestError(f"Devices get up to {LONGEST_S / 3600:.0f} hours, not {limit_s / 3600:g}.")


def _rows(
    order: QualificationOrder, candidates: dict[str, str], manifests: dict[str, Manifest]
) -> list[Qualification]:
    return [
        Qualification(
            model=order.model,
            version=order.version,
            target=order.target,
            candidate=name,
            manifest_sha256=sha256,
            size=manifests[name].artifact.length,
            device=order.device,
            order_id=order.id or 0,
            state=QualificationState.WAITING,
            ordered_at=order.ordered_at,
        )
        for name, sha256 in candidates.items()
    ]
