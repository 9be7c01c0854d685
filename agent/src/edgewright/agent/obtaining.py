"""The work's half of a deployment: agree, fetch, qualify, one job of the worker after the other.

Rules:

- What the network is to blame for is waited for, however long: the deployment stays where it is, says once
  what it waits for, and goes on by itself. A result says whether another try helps (``Stuck.retry_after``).
- So is room on a disk that is full while metadata or a version comes.
- Distrust ends a deployment, and so does everything that another try cannot change.
- A step that fails again and again in one way, not by the network's fault, ends it too (``breakers``).
- The state in which a job is done is in the journal before the job is given to the worker.
"""

import logging
from collections.abc import Callable
from typing import Final

from edgewright.agent import breakers
from edgewright.agent.control import QualificationResult, SlotName
from edgewright.agent.gate import Gate
from edgewright.agent.journal import Deployment
from edgewright.agent.slotplan import other
from edgewright.agent.underway import Underway
from edgewright.agent.work import (
    Agree,
    Agreed,
    Fetch,
    Fetched,
    Job,
    Noted,
    Qualified,
    Qualify,
    Refreshed,
    Result,
    Stale,
    Stuck,
)
from edgewright.wire.deployment import Event, State
from edgewright.wire.errors import (
    EdgewrightError,
    ErrorLoopError,
    ExpiredMetadataError,
    MessageError,
    RepositoryError,
    StorageFullError,
    TamperedArtifactError,
    TransferError,
    VerifierError,
)

FIRST_RETRY_SECONDS: Final = 1.0
LONGEST_RETRY_SECONDS: Final = 60.0
STALE_TRIES: Final = 5
"""Looks at metadata older than the assignment demands before it counts as withheld: half a minute."""

_IDLE, _WAITING = 0, -1
"""No job, and a pause before the next try, in the place of the deployment's number."""

log = logging.getLogger(__name__)


class Obtaining:
    """Jobs of the worker.

    Args:
        underway: shared with the line's half.
        gate: what the device knows, and time.
        submit: gives a job to the worker.
        call_off: interrupts the worker.
        later: calls a function after some seconds, on this thread.
        agreed: called when both signers name the current release.
    """

    def __init__(
        self,
        underway: Underway,
        gate: Gate,
        submit: Callable[[Job], None],
        call_off: Callable[[], None],
        later: Callable[[float, Callable[[], None]], None],
        agreed: Callable[[], None],
    ) -> None:
        self._underway, self._gate = underway, gate
        self._submit, self._call_off, self._later = submit, call_off, later
        self._agreed = agreed
        self._working_on = _IDLE
        self._tries = 0
        self._told_trouble = ""

    def begin(self) -> None:
        """Another deployment is under way: interrupt the work on the one before."""
        self._working_on, self._tries, self._told_trouble = _IDLE, 0, ""
        self._call_off()

    def retry(self) -> bool:
        """Wait no longer; whether something waited."""
        waited = self._working_on == _WAITING
        if waited:
            self._working_on = _IDLE
        return waited

    def drive(self) -> None:
        """Order the next step of the worker."""
        current = self._underway.current
        if current is None or self._working_on != _IDLE:
            return
        target = current.assignment.target
        if current.state is State.ASSIGNED:
            self._work_on(Agree(current.id, current.assignment, self._gate.standing()))
        elif current.state is State.FETCHING:
            self._work_on(Fetch(current.id, target, self._gate.standing().now, self._gate.signed_time))
        elif current.state in (State.STAGED, State.QUALIFYING):
            if current.state is State.STAGED:
                # Starts are counted from here on: an artifact may take the whole device with it.
                self._underway.move(Event.QUALIFY, starts=current.starts or 0)
            self._work_on(Qualify(current.id, target, current.assignment.orders))

    def told(self, result: Result) -> None:
        """A step of work ended, or has something to say."""
        journal, current = self._underway.journal, self._underway.current
        if isinstance(result, Noted):
            self._underway.ledger.note(result.error, journal.deployment(result.deployment))
        elif isinstance(result, Refreshed):
            journal.note_seen(result.seen)
            self._gate.trusts(result.trust)
        elif result.deployment == 0:
            self._refresh_failed(result)
        elif current is not None and current.id == result.deployment:
            self._take(current, result)

    def _take(self, current: Deployment, result: Result) -> None:
        """Write down what a job has brought. Where that cannot be written, the job is done once more."""
        self._working_on = _IDLE
        match result:
            case Agreed():
                with self._underway.together():
                    self._underway.journal.note_seen(result.seen)
                    self._underway.journal.note_agreed(current.assignment.target, result.proof)
                    self._underway.move(Event.ACCEPTED)
                self._advance()
                self._agreed()
            case Fetched():
                fetched = current.fetched_bytes + result.fetched_bytes
                self._underway.move(Event.FETCHED, fetched_bytes=fetched)
                self._advance()
            case Qualified():
                self._qualified(current, result.result)
                self._advance()
            case Stale() if self._tries + 1 >= STALE_TRIES:
                self._underway.move(Event.REFUSED, error=result.error)
                self._advance()
            case Stale():
                self._wait()
            case Stuck():
                self._stuck(current, result)

    def _advance(self) -> None:
        """The next step has its own tries and troubles."""
        self._tries, self._told_trouble = 0, ""

    def _qualified(self, current: Deployment, measured: QualificationResult) -> None:
        active = self._underway.active_slot
        slot: SlotName = other(active) if active else "a"
        detail = (
            f"p50 {measured.latency_p50_us} us, p99 {measured.latency_p99_us} us, "
            f"{measured.memory_mb:.0f} MiB, golden difference {measured.worst_difference:.5f}"
        )
        with self._underway.together():
            self._underway.journal.note_qualified(current.id, measured)
            self._underway.move(Event.QUALIFIED, slot=slot, threads=measured.threads, said=detail)

    def _stuck(self, current: Deployment, result: Stuck) -> None:
        error = result.error
        damaged = current.state is State.QUALIFYING and isinstance(error, TamperedArtifactError)
        if damaged and self._underway.fetch_again(current, error):
            self._advance()
            return
        if isinstance(error, ExpiredMetadataError) and current.state is State.ASSIGNED:
            self._gate.expired()
        pause = self._pause(current.state, result)
        if pause is None:
            fetched = current.fetched_bytes + result.fetched_bytes
            self._underway.move(_ending(current.state, error), error=error, fetched_bytes=fetched)
            self._advance()
            return
        self._underway.add_fetched(result.fetched_bytes)
        if not isinstance(error, (TransferError, ExpiredMetadataError)):
            counted = self._underway.count_trouble_of(current, f"{current.state}:{error.name}")
            if breakers.error_loop(counted.troubles):
                said = f"The step {current.state} has failed {counted.troubles} times: {error.sentence}"
                self._underway.move(_ending(current.state, error), error=ErrorLoopError(said))
                self._advance()
                return
        if error.name != self._told_trouble:
            self._told_trouble = error.name
            self._underway.ledger.note(error, current)
        self._wait(pause)

    def _pause(self, state: State, result: Stuck) -> float | None:
        """Seconds until the next try; None where none helps."""
        if result.retry_after is not None:
            return result.retry_after
        if state is State.FETCHING and isinstance(result.error, StorageFullError):
            return self._usual_pause()
        waited_for = (TransferError, ExpiredMetadataError, VerifierError)
        if state is State.ASSIGNED and isinstance(result.error, waited_for):
            return self._usual_pause()
        return None

    def _refresh_failed(self, result: Result) -> None:
        if isinstance(result, Stuck) and isinstance(result.error, ExpiredMetadataError):
            self._gate.expired()
        if isinstance(result, Stuck) and isinstance(result.error, (RepositoryError, VerifierError)):
            self._gate.refused(result.error)
        elif isinstance(result, Stuck):
            log.warning("%s", result.error)

    def _usual_pause(self) -> float:
        return min(FIRST_RETRY_SECONDS * 2.0**self._tries, LONGEST_RETRY_SECONDS)

    def _wait(self, pause: float | None = None) -> None:
        if pause is None:
            pause = self._usual_pause()
        self._tries += 1
        self._working_on = _WAITING
        current, tries = self._underway.current, self._tries

        def go_on() -> None:
            now = self._underway.current
            if current and now and current.id == now.id and self._tries == tries and self.retry():
                self.drive()

        self._later(pause, go_on)

    def _work_on(self, job: Agree | Fetch | Qualify) -> None:
        self._working_on = job.deployment
        self._submit(job)


def _ending(state: State, error: EdgewrightError) -> Event:
    """How an error ends a deployment: what is distrusted is refused, what cannot be done has failed."""
    distrusted = state is State.FETCHING and isinstance(error, (RepositoryError, MessageError))
    return Event.REFUSED if distrusted or state is State.ASSIGNED else Event.FAILED
