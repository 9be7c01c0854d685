"""Brings the assigned release into the device: from a signed document to a committed model.

One object, one thread. It is told what happened (a document came, a step of work ended, the line said
something, the line is gone) and after each it compares what shall be with what is and orders the next
step, of the worker or of the line. It holds no script: a restart of the agent goes the same way.

Rules:

- Persist first, then act, then publish: a state and its report are one commit, and the act follows it.
- One unfinished deployment. A newer accepted assignment supersedes it, wherever it stands.
- A refused document changes nothing but the list of reports.
- The model that decides is the business of the line and the journal, not of the network: on start the
  active slot is loaded from the store, whatever the broker does.
- The floor of release counters rises with a commit, never before.
- A release that was refused, failed or rolled back is tried again only under a newer assignment.
"""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from edgewright.agent import control
from edgewright.agent.agreement import Assignment
from edgewright.agent.control import SlotName
from edgewright.agent.gate import Gate
from edgewright.agent.holdings import WITH_LINE, needed, wanted
from edgewright.agent.journal import Deployment, Journal
from edgewright.agent.ledger import Ledger
from edgewright.agent.lineorders import LineOrders, follow
from edgewright.agent.qualifier import device_error
from edgewright.agent.releasefiles import ReleaseFiles
from edgewright.agent.slotplan import Holding, Step, next_step, other
from edgewright.agent.verifier.seam import Inspected
from edgewright.agent.work import (
    Agree,
    Agreed,
    Fetch,
    Fetched,
    Job,
    Noted,
    Qualified,
    Qualify,
    Refresh,
    Refreshed,
    Result,
    Stale,
    Stuck,
)
from edgewright.wire.canonical import sha256_hex
from edgewright.wire.deployment import Event, State
from edgewright.wire.errors import (
    EdgewrightError,
    ExpiredMetadataError,
    MessageError,
    RepositoryError,
    TamperedArtifactError,
    TransferError,
    VerifierError,
)
from edgewright.wire.messages import Release

FIRST_RETRY_SECONDS: Final = 1.0
LONGEST_RETRY_SECONDS: Final = 60.0
STALE_TRIES: Final = 5
"""Looks at metadata older than the assignment demands before it counts as withheld: half a minute."""

_BY_NOW_RUNNING: Final = (
    Event.ACCEPTED,
    Event.FETCHED,
    Event.QUALIFY,
    Event.QUALIFIED,
    Event.SHADOWED,
    Event.SWAPPED,
)
"""The way of a deployment whose release already decides: it is walked without work."""

log = logging.getLogger(__name__)


class Deployer:
    """Drives deployments.

    Args:
        gate: lets documents in.
        journal: what is remembered.
        ledger: moves deployments and reports that.
        files: what is stored.
        submit: gives a job to the worker.
        call_off: interrupts the worker.
        send: hands an order to the line.
        later: calls a function after some seconds, on this thread.
    """

    def __init__(
        self,
        gate: Gate,
        journal: Journal,
        ledger: Ledger,
        files: ReleaseFiles,
        submit: Callable[[Job], None],
        call_off: Callable[[], None],
        send: Callable[[control.Down], None],
        later: Callable[[float, Callable[[], None]], None],
    ) -> None:
        self._journal, self._ledger = journal, ledger
        self._gate, self._files = gate, files
        self._submit, self._call_off, self._later = submit, call_off, later
        self._line = LineOrders(send)
        self._current: Deployment | None = None
        self._working_on = 0
        self._tries = 0
        self._told_trouble = ""
        self._seen_timestamp = ""
        self._proven: dict[SlotName, int] = {}

    # What the device holds

    @property
    def active(self) -> Release | None:
        """The release that decides."""
        slot = self._journal.device().active
        return self._release_in(slot) if slot else None

    @property
    def standby(self) -> Release | None:
        """The release in the other slot."""
        slot = self._journal.device().active
        return self._release_in(other(slot)) if slot else None

    def _release_in(self, slot: SlotName) -> Release | None:
        held = self._journal.slots()[slot]
        return held.release if held else None

    # What happened

    def start(self) -> None:
        """Take up what the journal has: at most one deployment goes on."""
        unfinished = self._journal.unfinished()
        for older in unfinished[:-1]:
            self._ledger.move(older, Event.SUPERSEDED)
        for newest in unfinished[-1:]:
            self._current = self._ledger.move(newest, Event.RESTARTED, name="AgentRestarted")
        self._collect()
        self._drive()

    def vouched(self, refused: Mapping[SlotName, EdgewrightError]) -> None:
        """What the slots hold was verified at start; what was refused is not loaded."""
        for slot, error in refused.items():
            self._slot_broke(slot, error)

    def document(self, raw: bytes, found: Inspected | EdgewrightError | None = None) -> None:
        """An assignment document lies on this device's topic.

        Args:
            raw: the document.
            found: what its verification gave; without it the gate verifies.
        """
        if self._gate.knows(raw):
            return
        admitted = self._gate.read(raw, found or self._gate.inspect(raw))
        if admitted is None:
            return
        if admitted.again:
            self._journal.renew(admitted.assignment, raw)
            self._retry()
        else:
            self._accept(admitted.assignment, raw)
        self._drive()

    def timestamp(self, raw: bytes) -> None:
        """A timestamp lies on its topic: new metadata is verified, or waited for no longer."""
        digest = sha256_hex(raw)
        if digest == self._seen_timestamp:
            return
        self._seen_timestamp = digest
        if self._current is not None and self._current.state is State.ASSIGNED:
            self._retry()
        else:
            self._submit(Refresh(self._gate.standing()))

    def go_on(self) -> None:
        """The broker is there again, or the disk: what waited is tried at once."""
        self._working_on = max(self._working_on, 0)
        self._drive()

    def told(self, result: Result) -> None:
        """A step of work ended, or has something to say."""
        if isinstance(result, Noted):
            self._ledger.note(result.error, self._journal.deployment(result.deployment))
            return
        if isinstance(result, Refreshed):
            self._journal.note_seen(result.seen)
            self._gate.trusts(result.trust)
            return
        if result.deployment == 0:
            self._refresh_failed(result)
            return
        current = self._current
        if current is None or current.id != result.deployment:
            return
        self._working_on = 0
        self._take(current, result)
        self._drive()

    def line_started(self, held: tuple[control.Held, ...] = ()) -> None:
        """A line listens: a new one with empty slots, or one that has outlived another agent."""
        self._line.restart(up=True, held=held)
        follow(held, self._journal, self._line, self._slot_broke, self._proven_in)
        self._drive()

    def line_ended(self) -> None:
        """The line is gone; a candidate that was in its hands starts over."""
        self._line.restart(up=False)
        self._proven.clear()
        current = self._current
        if current and current.state in WITH_LINE:
            self._current = self._ledger.move(current, Event.RESTARTED, name="LineRestarted")
        self._drive()

    def said(self, message: control.Up) -> None:
        """The line answered, or tells of a slot."""
        match message:
            case control.Loaded():
                self._loaded(message)
            case control.Shadowed():
                self._shadowed(message)
            case control.Swapped():
                self._swapped(message)
            case control.Proven():
                self._proven_in(message.slot)
            case control.Broke():
                self._broke(message)
            case control.RunnerReplaced():
                error = device_error(message.error, message.detail)
                held = self._held_in(message.slot)
                self._ledger.report(held, error=error.number, name="RunnerReplaced", detail=error.sentence)
            case _:
                return
        self._drive()

    # Work

    def _accept(self, assignment: Assignment, raw: bytes) -> None:
        previous, now = self._current, time.time()
        with self._ledger.transaction():
            if previous is not None:
                self._ledger.move(previous, Event.SUPERSEDED)
            accepted = self._journal.accept(assignment, raw, now)
            self._ledger.report(accepted, state=accepted.state)
        self._current = accepted
        self._working_on, self._tries, self._told_trouble = 0, 0, ""
        self._call_off()

    def _take(self, current: Deployment, result: Result) -> None:
        match result:
            case Agreed():
                with self._ledger.transaction():
                    self._journal.note_seen(result.seen)
                    self._journal.note_agreed(current.assignment.target, result.proof)
                    self._current = self._ledger.move(current, Event.ACCEPTED)
                self._adopt_running()
            case Fetched():
                fetched = current.fetched_bytes + result.fetched_bytes
                self._current = self._ledger.move(current, Event.FETCHED, fetched_bytes=fetched)
            case Qualified():
                active = self._journal.device().active
                slot: SlotName = other(active) if active else "a"
                measured = result.result
                detail = (
                    f"p50 {measured.latency_p50_us} us, p99 {measured.latency_p99_us} us, "
                    f"{measured.memory_mb:.0f} MiB, golden difference {measured.worst_difference:.5f}"
                )
                self._current = self._ledger.move(
                    current, Event.QUALIFIED, slot=slot, threads=measured.threads, said=detail
                )
            case Stale() if self._tries + 1 >= STALE_TRIES:
                self._end(current, Event.REFUSED, result.error)
            case Stale():
                self._wait()
            case Stuck():
                self._stuck(current, result)

    def _stuck(self, current: Deployment, result: Stuck) -> None:
        error = result.error
        if current.state is State.ASSIGNED:
            if isinstance(error, ExpiredMetadataError):
                self._gate.expired()
            if isinstance(error, (TransferError, ExpiredMetadataError, VerifierError)):
                self._note_once(error)
                self._wait()
            else:
                self._end(current, Event.REFUSED, error)
            return
        fetched = current.fetched_bytes + result.fetched_bytes
        distrusted = isinstance(error, (RepositoryError, MessageError))
        refusing = distrusted and current.state is State.FETCHING
        self._end(current, Event.REFUSED if refusing else Event.FAILED, error, fetched_bytes=fetched)

    def _refresh_failed(self, result: Result) -> None:
        if isinstance(result, Stuck) and isinstance(result.error, ExpiredMetadataError):
            self._gate.expired()
        if isinstance(result, Stuck) and isinstance(result.error, (RepositoryError, VerifierError)):
            self._gate.refused(result.error)
        elif isinstance(result, Stuck):
            log.warning("%s", result.error)

    def _wait(self) -> None:
        pause = min(FIRST_RETRY_SECONDS * 2**self._tries, LONGEST_RETRY_SECONDS)
        self._tries += 1
        self._working_on = -1
        tries = self._tries
        self._later(pause, lambda: self._retry() if self._tries == tries else None)

    def _retry(self) -> None:
        if self._working_on == -1:
            self._working_on = 0
            self._drive()

    def _adopt_running(self) -> None:
        """Commit without work where the release decides already."""
        current, slot = self._current, self._journal.device().active
        running = self._journal.slots()[slot] if slot else None
        if current is None or slot is None or running is None or running.release != current.release:
            return
        with self._ledger.transaction():
            for event in _BY_NOW_RUNNING[1:]:
                current = self._journal.move(current, event, time.time(), slot=slot)
            self._journal.set_slot(slot, current)
            self._current = current
            if running.state is State.COMMITTED or self._proven.get(slot) == running.id:
                self._commit(current)
            else:
                self._ledger.report(current, state=current.state)

    def _drive(self) -> None:
        """Order the next step of the worker, and the next one of the line."""
        current = self._current
        if current is not None and self._working_on == 0:
            target = current.assignment.target
            if current.state is State.ASSIGNED:
                self._work_on(Agree(current.id, current.assignment, self._gate.standing()))
            elif current.state is State.FETCHING:
                self._work_on(Fetch(current.id, target, self._gate.standing().now))
            elif current.state is State.STAGED:
                self._current = self._ledger.move(current, Event.QUALIFY)
                self._work_on(Qualify(current.id, target, current.assignment.orders))
        while (
            self._line.free
            and (step := next_step(wanted(self._journal, self._current), self._line.told)) is not None
        ):
            self._order(step)

    def _work_on(self, job: Agree | Fetch | Qualify) -> None:
        self._working_on = job.deployment
        self._submit(job)

    # The line

    def _order(self, step: Step) -> None:
        slot, holding = step.slot, step.holding
        if step.verb == "unload":
            self._line.unload(slot)
            return
        if step.verb == "skip-shadow":
            assert self._current is not None
            self._current = self._ledger.move(
                self._current, Event.SHADOWED, said="No active model to run beside."
            )
            return
        try:
            manifest = self._files.manifest(holding.digest)
            if step.verb in ("load", "load-standby"):
                paths = self._files.paths(holding.digest)
                deployment = self._journal.deployment(holding.deployment)
                key = self._files.content_key(deployment.assignment)
                spare = step.verb == "load-standby"
                self._line.load(
                    slot, holding, *paths, stand_in=spare, content_key=key, threads=deployment.threads
                )
        except (EdgewrightError, OSError) as error:
            known = error if isinstance(error, EdgewrightError) else TamperedArtifactError(f"{error}.")
            self._slot_failed(slot, holding, known)
            return
        if step.verb == "shadow":
            self._line.shadow(slot, holding, manifest.limits.shadow_frames)
        elif step.verb == "swap":
            self._line.swap(slot, holding, 0 if holding.proven else manifest.limits.probation_frames)

    def _loaded(self, message: control.Loaded) -> None:
        holding = self._line.answered(message.slot)
        if holding is None:
            return
        if message.ok:
            self._line.holds(message.slot, holding)
        else:
            self._slot_failed(message.slot, holding, device_error(message.error, message.detail))

    def _shadowed(self, message: control.Shadowed) -> None:
        holding, current = self._line.answered(message.slot), self._current
        if not message.ok:
            self._line.lost(message.slot)
        if holding is None or current is None or holding.deployment != current.id:
            return
        if not message.ok:
            self._slot_failed(message.slot, holding, device_error(message.error, message.detail))
            return
        detail = f"{message.frames} frames, {message.agreement:.1%} agreed, p99 {message.latency_p99_us} us"
        self._current = self._ledger.move(current, Event.SHADOWED, said=detail)

    def _swapped(self, message: control.Swapped) -> None:
        holding = self._line.answered(message.slot)
        if holding is None:
            return
        self._line.decides(message.slot)
        current = self._current
        with self._ledger.transaction():
            self._journal.set_active(message.slot)
            self._journal.set_slot(message.slot, self._journal.deployment(holding.deployment))
            if current and current.id == holding.deployment and current.state is State.WAITING_SAFE:
                self._current = self._ledger.move(current, Event.SWAPPED, swap_gap_us=message.gap_us)
            elif current and current.slot == message.slot and current.state in WITH_LINE:
                # A superseded candidate was swapped in meanwhile: the current one needs the other slot.
                self._current = self._ledger.move(current, Event.RESTARTED, name="SlotTaken")

    def _proven_in(self, slot: SlotName) -> None:
        held, current = self._journal.slots()[slot], self._current
        if held is None:
            return
        self._proven[slot] = held.id
        if current and current.id == held.id and current.state is State.PROBATION:
            self._commit(current)

    def _commit(self, current: Deployment) -> None:
        custom = current.assignment.target.custom
        with self._ledger.transaction():
            self._journal.raise_floor(custom.model, custom.release_counter)
            self._ledger.move(current, Event.PROVEN)
        self._current = None
        self._collect()

    def _broke(self, message: control.Broke) -> None:
        self._line.answered(message.slot)
        self._line.lost(message.slot)
        self._line.decides(message.now_active)
        current = self._current
        waiting = current and current.slot == message.slot and current.state is State.WAITING_SAFE
        error = device_error(message.error, message.detail)
        if current and waiting:
            self._end(current, Event.FAILED, error)
        else:
            self._slot_broke(message.slot, error)

    def _slot_failed(self, slot: SlotName, holding: Holding, error: EdgewrightError) -> None:
        """A slot could not be loaded, or not run beside the active one."""
        current = self._current
        with_line = current is not None and current.state in WITH_LINE
        if current and with_line and current.id == holding.deployment:
            self._end(current, Event.FAILED, error)
        elif (held := self._journal.slots()[slot]) and held.id == holding.deployment:
            self._slot_broke(slot, error)

    def _slot_broke(self, slot: SlotName, error: EdgewrightError) -> None:
        """What a slot held as good is no longer: the other slot decides, if it has anything."""
        held = self._journal.slots()[slot]
        with self._ledger.transaction():
            self._journal.set_slot(slot, None)
            if self._journal.device().active == slot:
                successor = other(slot)
                self._journal.set_active(successor if self._journal.slots()[successor] else None)
            if held and held.state in (State.PROBATION, State.COMMITTED):
                self._ledger.move(held, Event.BROKE, error=error)
            else:
                self._ledger.report(held, error=error.number, name=error.name, detail=error.sentence)
        if self._current and held and self._current.id == held.id:
            self._current = None

    def _held_in(self, slot: SlotName) -> Deployment | None:
        """The deployment whose runner a slot of the line has."""
        current = self._current
        if current and current.slot == slot and current.state in WITH_LINE:
            return current
        return self._journal.slots()[slot]

    # Remembering and reporting

    def _end(self, current: Deployment, event: Event, error: EdgewrightError, **changed: Any) -> None:
        self._ledger.move(current, event, error=error, **changed)
        self._current = None

    def _note_once(self, error: EdgewrightError) -> None:
        if error.name != self._told_trouble:
            self._told_trouble = error.name
            self._ledger.note(error, self._current)

    def _collect(self) -> None:
        """Remove files that neither a slot, the current deployment nor the last commits need."""
        digests = needed(self._journal, self._current)
        self._files.keep_only(digests)
        self._journal.keep_proofs(digests)
