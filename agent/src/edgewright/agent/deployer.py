"""Brings the assigned release into the device: from a signed document to a committed model.

One thread. It is told what happened (a document came, a step of work ended, the line said something, the line
is gone, a person wants the last good model) and after each it orders the next step of the worker
(``obtaining``) and of the line (``swapping``), by the one state that both share (``underway``).

Rules:

- Persist first, then act, then publish: a state and its report are one commit, and the act follows it.
- One unfinished deployment. A newer accepted assignment takes its place, wherever it stands; from probation
  the device goes back first, so that the last good model is never overwritten by an unproven one.
- A refused document changes nothing but the list of reports.
- The model that decides is the business of the line and the journal, not of the network: on start the
  active slot is loaded from the store, whatever the broker does.
- A release that was refused, failed or rolled back is tried again only under a newer assignment.
- A start of the agent is counted before anything is loaded (``breakers``).
"""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Final

from edgewright.agent import breakers, control
from edgewright.agent.agreement import Assignment
from edgewright.agent.control import SlotName
from edgewright.agent.gate import Gate
from edgewright.agent.holdings import WITH_LINE
from edgewright.agent.journal import Deployment, Journal
from edgewright.agent.ledger import Ledger
from edgewright.agent.obtaining import Obtaining
from edgewright.agent.releasefiles import ReleaseFiles
from edgewright.agent.slotplan import other
from edgewright.agent.swapping import Swapping
from edgewright.agent.underway import Underway
from edgewright.agent.verifier.seam import Inspected
from edgewright.agent.work import Job, Refresh, Result
from edgewright.wire.canonical import sha256_hex
from edgewright.wire.deployment import Event, State
from edgewright.wire.errors import EdgewrightError, RebootLoopError, StateTimeoutError
from edgewright.wire.messages import Release

log = logging.getLogger(__name__)

_TO_WHAT_RUNS: Final = (Event.FETCHED, Event.QUALIFY, Event.QUALIFIED, Event.SHADOWED, Event.SWAPPED)
"""The way of an agreed deployment whose release is in the active slot already: it is walked without work."""

_TRIED_HERE: Final = WITH_LINE | {State.QUALIFYING}
"""States in which a candidate's code runs on this device and does not decide yet."""


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
        replace_line: ends a line that does not answer.
        monotonic: seconds that only grow.
        beside: see ``Underway``.
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
        replace_line: Callable[[], None],
        monotonic: Callable[[], float] = time.monotonic,
        beside: Callable[[], set[str]] = set,
    ) -> None:
        self._gate, self._journal, self._submit, self._later = gate, journal, submit, later
        self._underway = Underway(journal, ledger, files, monotonic, beside)
        self._line = Swapping(self._underway, send, replace_line)
        self._work = Obtaining(self._underway, gate, submit, call_off, later, self._agreed)
        self._seen_timestamp = ""
        self._begun = self._line_lived = False

    # What the device holds

    @property
    def active(self) -> Release | None:
        """The release that decides."""
        return self._underway.release_in(self._underway.active_slot)

    @property
    def standby(self) -> Release | None:
        """The release in the other slot."""
        slot = self._underway.active_slot
        return self._underway.release_in(other(slot)) if slot else None

    @property
    def is_idle(self) -> bool:
        """Whether no deployment is under way."""
        return self._underway.current is None

    def collect(self) -> None:
        """Remove files that nothing needs."""
        self._underway.collect()

    # The agent's own life

    def start(self, *, line_lives: bool = False) -> None:
        """Count this start, then take up what the journal has.

        Args:
            line_lives: whether a line with its models has outlived the agent before; whatever ended that one,
                its models did not.
        """
        self._line_lived = line_lives
        self._begin()

    def _begin(self) -> None:
        """Count this start, once; where the disk does not take that now, it is made up for."""
        if self._begun:
            return
        with self._underway.together():
            if self._journal.begin_run() and not self._line_lived:
                self._count_start()
            self._underway.resume()
        self._begun = True
        self._underway.collect()
        self._drive()

    def stop(self) -> None:
        """The agent was told to end: its next start is none that counts."""
        self._journal.end_run()

    def vouched(self, refused: Mapping[SlotName, EdgewrightError]) -> None:
        """What the slots hold was verified at start; what was refused is not loaded."""
        for slot, error in refused.items():
            self._underway.vacate(slot, error=error)

    def watch(self) -> None:
        """Time has passed; called about once a second."""
        current = self._underway.current
        if current is not None and breakers.overdue(current.state, self._underway.age):
            self._end_overdue(current)
        self._line.watch()

    def go_on(self) -> None:
        """The broker is there again, or the disk: what waited is tried at once."""
        self._begin()
        self._work.retry()
        self._drive()

    # The controller, and a person at the device

    def document(self, raw: bytes, found: Inspected | EdgewrightError | None = None) -> None:
        """An assignment document lies on this device's topic.

        Args:
            raw: the document.
            found: what its verification gave; without it the gate verifies.
        """
        self._begin()
        if self._gate.knows(raw):
            return
        admitted = self._gate.read(raw, found or self._gate.inspect(raw))
        if admitted is None:
            return
        if admitted.again:
            self._journal.renew(admitted.assignment)
            self._work.retry()
        else:
            self._accept(admitted.assignment)
        self._drive()

    def timestamp(self, raw: bytes) -> None:
        """A timestamp lies on its topic: new metadata is verified, or waited for no longer."""
        digest = sha256_hex(raw)
        if digest == self._seen_timestamp:
            return
        self._seen_timestamp = digest
        current = self._underway.current
        if current is None or current.state is not State.ASSIGNED:
            self._submit(Refresh(self._gate.standing()))
        elif self._work.retry():
            self._drive()

    def roll_back(self) -> str:
        """A person at the device wants the last good model; what happens, in one sentence.

        What decided is not tried again until a newer assignment names it.
        """
        slot, active = self._underway.active_slot, self.active
        if slot is None or active is None:
            return "No model decides, so there is nothing to go back from."
        if not self._underway.way_back:
            return f"Beside {active.model} {active.version} there is no model to go back to."
        standby = self.standby
        assert standby is not None, "a way back is a release"
        said = f"{active.model} {active.version} gives way to {standby.model} {standby.version}."
        self._underway.vacate(slot, name="RolledBackByHand", said=said)
        self._drive()
        return said

    # The worker and the line

    def told(self, result: Result) -> None:
        """A step of work ended, or has something to say."""
        self._work.told(result)
        self._drive()

    def line_started(self, held: tuple[control.Held, ...] = ()) -> None:
        """A line listens: a new one with empty slots, or one that has outlived another agent."""
        self._line.line_started(held)
        self._drive()

    def line_ended(self) -> None:
        """The line is gone; a candidate that was in its hands starts over."""
        self._line.line_ended()
        self._drive()

    def said(self, message: control.Up) -> None:
        """The line answered, or tells of a slot."""
        if self._line.said(message):
            self._drive()

    def runner_replaced(self, message: control.RunnerReplaced) -> None:
        """A runner of the line failed; that is told, and nothing is ordered."""
        self._line.runner_replaced(message)

    def _drive(self) -> None:
        """Order the next step of the line, and the next one of the worker."""
        current = self._underway.current
        if current is not None and current.assignment.orders.stop:
            self._underway.stop()
        self._line.drive()
        self._work.drive()

    # Decisions

    def _accept(self, assignment: Assignment) -> None:
        self._underway.open(assignment)
        self._work.begin()
        self._underway.collect()

    def _agreed(self) -> None:
        """Commit without work where the release decides already."""
        current, slot = self._underway.current, self._underway.active_slot
        if current is None or slot is None or self._underway.release_in(slot) != current.release:
            return
        proven = self._line.is_proven(slot)
        self._underway.adopt(_TO_WHAT_RUNS, slot)
        if proven:
            self._underway.commit()

    def _count_start(self) -> None:
        """The agent before this one ended without being told to; was a new model why?

        Where a candidate's code was running, that is the suspect, and not what decided beside it.
        """
        candidate = next((item for item in self._journal.unfinished() if item.state in _TRIED_HERE), None)
        active = self._underway.held(self._underway.active_slot)
        suspect = candidate or (active if active is not None and active.starts is not None else None)
        if suspect is None:
            return
        counted = self._journal.count_start(suspect)
        slot = self._underway.active_slot
        if candidate is None and not self._underway.way_back:
            self._bear_with(counted)
        elif not breakers.reboot_loop(counted.state, counted.starts or 0):
            return
        elif candidate is None and slot is not None:
            self._underway.vacate(slot, error=_loop(counted))
        else:
            self._underway.ledger.move(counted, Event.FAILED, error=_loop(counted))

    def _bear_with(self, counted: Deployment) -> None:
        """A model that nothing stands beside stays, and is loaded later at each start."""
        starts = counted.starts or 0
        if starts == breakers.DECIDING_STARTS_TO_END:
            said = (
                "Nothing stands beside it: it stays, and each further start waits longer before it is loaded."
            )
            self._underway.ledger.note(RebootLoopError(f"{_loop(counted).sentence} {said}"), counted)
        pause = breakers.loading_pause(starts)
        if pause:
            log.warning("The model is loaded in %.0f s: %s", pause, _loop(counted).sentence)
            self._line.hold_back(counted.id)
            self._later(pause, self._load_after_all)

    def _load_after_all(self) -> None:
        self._line.hold_back(None)
        self._drive()

    def _end_overdue(self, current: Deployment) -> None:
        error = StateTimeoutError(
            f"{current.release.model} {current.release.version} has been {current.state} for longer than "
            f"{breakers.LONGEST_SECONDS[current.state]:.0f} s."
        )
        if current.state is State.PROBATION and current.slot is not None:
            self._underway.vacate(current.slot, error=error)
        else:
            self._underway.move(Event.FAILED, error=error)
            self._work.begin()
        self._drive()


def _loop(counted: Deployment) -> RebootLoopError:
    release = counted.release
    return RebootLoopError(
        f"{release.model} {release.version} was {counted.state} and new while the agent started "
        f"{counted.starts} times without having been stopped."
    )
