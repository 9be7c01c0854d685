"""Which documents come in: signed by the director, for this device, newer than the accepted one.

A refused document changes nothing but the list of reports, and is reported once however often the broker
delivers it again (``refusals``). A document that answers this device's question for the time sets its clock
first, so that its own expiry is judged by the time that it brings.
"""

import math
from typing import Final, NamedTuple

from edgewright.agent.agreement import (
    UNKNOWN,
    Assignment,
    DirectorTrust,
    ImageTarget,
    Standing,
    has_honest_life,
    replaces_all,
    verify_order,
)
from edgewright.agent.clock import Clock
from edgewright.agent.journal import Deployment, Journal
from edgewright.agent.ledger import Ledger
from edgewright.agent.qualificationorder import InspectedOrder
from edgewright.agent.refusals import Refusals
from edgewright.agent.sealing import Sealer
from edgewright.agent.verifier.seam import DirectorReader, Inspected
from edgewright.wire.canonical import sha256_hex
from edgewright.wire.deployment import State
from edgewright.wire.errors import (
    EdgewrightError,
    ErrorLoopError,
    ExpiredMetadataError,
    FullBlobRefusedError,
    StateTimeoutError,
    StorageFullError,
    TamperedArtifactError,
)

_NOT_REPEATED: Final = frozenset({State.ROLLED_BACK, State.STOPPED})

_MAY_PASS: Final = frozenset(
    kind.number
    for kind in (
        ErrorLoopError,
        FullBlobRefusedError,
        StateTimeoutError,
        StorageFullError,
        TamperedArtifactError,
    )
)
"""Why a deployment may have failed on this device and not fail again; whatever else was measured stays so."""


class Admitted(NamedTuple):
    """A document that the device may act on.

    Attributes:
        assignment: what it says.
        again: whether it says once more what the newest deployment was opened for: to bring the time, or
            because documents are issued anew before they expire. What was rolled back is not tried again by
            that, nor what has failed here for good, and what was stopped not stopped again. What was refused
            is looked at again: that costs no download, and what is signed may have been put right.
    """

    assignment: Assignment
    again: bool


class Gate:
    """Reads documents for one device.

    Args:
        device, target: this device.
        journal: what it has accepted before.
        ledger: where refusals are reported.
        clock: trusted time.
        director: verifies signatures.
        sealer: told who may acknowledge.
    """

    def __init__(
        self,
        device: str,
        target: str,
        journal: Journal,
        ledger: Ledger,
        clock: Clock,
        director: DirectorReader,
        sealer: Sealer,
    ) -> None:
        self._device, self._target = device, target
        self._journal, self._ledger, self._clock = journal, ledger, clock
        self._director, self._sealer = director, sealer
        self._director_expires = math.inf
        self._refusals = Refusals(ledger)

    def standing(self) -> Standing:
        """What the device knows now."""
        record = self._journal.device()
        return Standing(
            self._device,
            self._target,
            UNKNOWN if record.restarts else record.version,
            record.sha256,
            self._clock.now(),
            self._journal.floors(),
            record.seen,
            self._journal.minimums(),
            self._journal.names(),
            self._director_expires,
        )

    @property
    def signed_time(self) -> float:
        """The newest time that was signed for this device, seconds since the epoch."""
        return self._clock.floor

    @property
    def director_root(self) -> int:
        """Version of the newest root of the director that was ever trusted."""
        return self._journal.device().director_root

    def knows(self, raw: bytes) -> bool:
        """Whether a document is the accepted one: then nobody has to verify it again."""
        return sha256_hex(raw) == self._journal.device().sha256

    def trusts(self, trust: DirectorTrust) -> None:
        """Remember what the director's newest verified root says."""
        record = self._journal.device()
        unnoted = trust.version == record.director_root and not record.director_keys
        if trust.version > record.director_root or unnoted:
            restarts = replaces_all(record.director_keys, trust.order_keys)
            self._journal.note_director_root(trust.version, trust.order_keys, restarts=restarts)
        self._director_expires = trust.expires
        self._sealer.ack_keys = trust.ack_keys

    def outdated(self, found: Inspected | InspectedOrder | EdgewrightError) -> bool:
        """Whether a newer root was trusted since a document was verified: it has to be verified again."""
        return (
            not isinstance(found, EdgewrightError)
            and found.trust.version < self._journal.device().director_root
        )

    def inspect(self, raw: bytes) -> Inspected | EdgewrightError:
        """Verify a document's signatures."""
        try:
            return self._director.inspect(raw, self._journal.device().director_root)
        except EdgewrightError as error:
            return error

    def read(self, raw: bytes, found: Inspected | EdgewrightError) -> Admitted | None:
        """A new assignment that this device may act on; None for a known or a refused document."""
        try:
            if isinstance(found, EdgewrightError):
                raise found
            self.trusts(found.trust)
            return self._admit(found.assignment)
        except EdgewrightError as error:
            if isinstance(error, ExpiredMetadataError):
                self.expired()
            self.refused(error, raw)
            return None

    def refused(self, error: EdgewrightError, raw: bytes = b"") -> None:
        """Report that something signed was not taken; see ``Refusals``."""
        self._refusals.note(error, sha256_hex(raw) if raw else "")

    def expired(self) -> None:
        """Something that is otherwise newer is expired: perhaps it is the clock that is wrong."""
        self._clock.suspect()

    def watch_clock(self) -> None:
        """Report a clock that cannot be right."""
        if error := self._clock.check():
            self._ledger.note(error)

    def _admit(self, assignment: Assignment) -> Admitted | None:
        orders = assignment.orders
        answers = (
            orders.device == self._device and has_honest_life(assignment) and self._clock.answers(orders)
        )
        if answers and (error := self._clock.set_by(orders)):
            self._ledger.note(error)
        if not verify_order(assignment, self.standing()):
            return None
        newest = next(iter(self._journal.deployments(1)), None)
        opened = newest.assignment if newest else assignment
        same = _ordered(opened) == _ordered(assignment)
        settled = newest is not None and _is_settled(newest)
        return Admitted(assignment, again=newest is not None and same and (answers or settled))


def _is_settled(deployment: Deployment) -> bool:
    """Whether its rollout has got its answer: only another order tries it again."""
    failed = deployment.state is State.FAILED and deployment.assignment.orders.rollout != 0
    return deployment.state in _NOT_REPEATED or (failed and deployment.error not in _MAY_PASS)


def _ordered(assignment: Assignment) -> tuple[ImageTarget, int, bool]:
    """What stays the same when the controller issues an assignment once more with a new date."""
    return assignment.target, assignment.orders.rollout, assignment.orders.stop
