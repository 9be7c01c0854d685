"""What people do about signatures while a controller runs: see, bring, order, withdraw.

The repository signs and keeps what waits; this service adds what has to follow a commit: publishing it,
issuing assignments that name the new versions, and clearing the chunks of what was withdrawn. Each of these
can be done again, and is done again at the next start.
"""

import logging
from collections.abc import Callable
from typing import NamedTuple

from edgewright.controller import registry
from edgewright.controller.database import Session, col, select
from edgewright.controller.database.engine import Database
from edgewright.controller.database.tables import Artifact, Rollout
from edgewright.controller.errors import SignaturesMissingError, UnknownSigningRequestError
from edgewright.controller.publisher import Publisher
from edgewright.controller.retirement import Retirement
from edgewright.controller.rollouts.policy import RolloutState
from edgewright.controller.rollouts.service import RolloutService
from edgewright.controller.trust.orders import KeyOrder
from edgewright.controller.trust.repository import ImageRepository
from edgewright.controller.trust.requests import Request
from edgewright.controller.trust.roster import KeyRow
from edgewright.wire.errors import TransferError
from edgewright.wire.manifest import target_path

_log = logging.getLogger(__name__)


class Outcome(NamedTuple):
    """What came of an order.

    Attributes:
        sentence: for the person.
        request: id of the request that waits for signatures; empty where it was done.
    """

    sentence: str
    request: str = ""


class Signing:
    """See the module's text; safe to use from several threads."""

    def __init__(
        self,
        db: Database,
        repository: ImageRepository,
        publisher: Publisher,
        rollouts: RolloutService,
        retirement: Retirement,
        reissue: Callable[[], None],
    ) -> None:
        self._db = db
        self._repository = repository
        self._publisher = publisher
        self._rollouts = rollouts
        self._retirement = retirement
        self._reissue = reissue

    @property
    def laboratory(self) -> bool:
        """Whether the keys are the ones that the controller made by itself."""
        return self._repository.laboratory

    def roster(self) -> tuple[KeyRow, ...]:
        """Which keys sign what, and where they are."""
        return self._repository.roster()

    def requests(self) -> tuple[Request, ...]:
        """What waits for signatures, the oldest first."""
        before = self._repository.timestamp_version
        found = self._repository.requests()
        if self._repository.timestamp_version != before:
            # The controller was given a key that completed something.
            self._follow_up(before)
        return found

    def request(self, number: str) -> Request:
        """One request.

        Raises:
            UnknownSigningRequestError: none of this id waits.
        """
        for request in self.requests():
            if request.id == number:
                return request
        raise UnknownSigningRequestError(f"No request {number[:80]!r} waits for signatures.")

    def accept(self, data: bytes) -> Outcome:
        """Take a signed request file.

        Raises:
            SignatureRefusedError: it is out of date, or a signature in it does not count.
        """
        before = self._repository.timestamp_version
        request, committed = self._repository.import_signatures(data)
        if not committed:
            return Outcome(f"Request {request.id} waits for {request.short_of()}.", request.id)
        self._follow_up(before)
        return Outcome(f"Request {request.id} is complete and committed.")

    def order(self, order: KeyOrder) -> Outcome:
        """Change keys or thresholds.

        Raises:
            InvalidRequestError: keys or a threshold that cannot be.
            KeyStoreError: a public key cannot be read.
        """
        before = self._repository.timestamp_version
        try:
            changed = self._repository.order_keys(order)
        except SignaturesMissingError as error:
            return Outcome(error.sentence, self._repository.requests()[-1].id)
        if not changed:
            return Outcome("The keys are so already.")
        self._follow_up(before)
        return Outcome("The keys are changed.")

    def withdraw(self, model: str, version: int, reason: str = "") -> Outcome:
        """Take a version out of circulation and out of the signed catalogue; its rollouts end.

        Devices that run it go on with it: a model is stopped by a rollout of another, never by this.

        Raises:
            UnknownModelError: no such version.
        """
        with self._db.session() as session:
            registry.withdraw(session, model, version, reason)
            paths = _paths(session, model, version)
            running = _running_rollouts(session, model, version)
        for number in running:
            self._rollouts.abort(number, f"{model} v{version} was withdrawn.")
        before = self._repository.timestamp_version
        try:
            self._repository.withdraw(paths)
        except SignaturesMissingError as error:
            waiting = self._repository.requests()[-1].id
            return Outcome(f"{model} v{version} is in no rollout any more. {error.sentence}", waiting)
        self._follow_up(before)
        return Outcome(f"{model} v{version} was withdrawn.")

    def _follow_up(self, timestamp_before: int) -> None:
        try:
            self._publisher.publish_metadata()
            if self._repository.timestamp_version < timestamp_before:
                # Versions have begun again: assignments that ask for the old ones would hold devices up.
                self._reissue()
            self._retirement.step()
        except TransferError as error:
            _log.warning("Published when the broker is back: %s", error.sentence)


def _paths(session: Session, model: str, version: int) -> list[str]:
    statement = select(Artifact.target).where(Artifact.model == model, Artifact.version == version)
    return [target_path(model, target, version) for target in session.exec(statement).all()]


def _running_rollouts(session: Session, model: str, version: int) -> list[int]:
    running = (RolloutState.RUNNING, RolloutState.PAUSED)
    statement = select(Rollout.id).where(
        Rollout.model == model, Rollout.version == version, col(Rollout.state).in_(running)
    )
    return [number for number in session.exec(statement).all() if number]
