"""What is under way and what the slots hold: the state that the line's half and the work's half share.

Each change is one commit of the journal with its report, and only after that commit anything here changes:
where the disk is full nothing has happened, here neither, and the same event is tried again.

Rules:

- One unfinished deployment. A newer accepted assignment takes its place, wherever it stands.
- The way back is never overwritten. While a model is on probation, the other slot holds the last good one; a
  newer assignment therefore sends the device back first, and goes into the slot that became free. A first
  model has nothing to go back to and decides until the newer one takes over.
- What a slot held and what broke is given up in one commit with the other slot's taking over.
- The floor of release counters rises with a commit, never before.
- Files that were damaged on this device are fetched again. A broken disk is no verdict on a model.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from edgewright.agent import breakers
from edgewright.agent.agreement import Assignment
from edgewright.agent.control import SlotName
from edgewright.agent.holdings import WITH_LINE, needed
from edgewright.agent.journal import Deployment, Journal
from edgewright.agent.ledger import Ledger
from edgewright.agent.releasefiles import ReleaseFiles
from edgewright.agent.slotplan import other
from edgewright.wire.deployment import Event, State
from edgewright.wire.errors import EdgewrightError
from edgewright.wire.messages import Release

DAMAGED: Final = "Damaged"
"""Name under which damages of a release's files are counted, and that reports have."""


class Underway:
    """The current deployment and the slots.

    Args:
        journal: what is remembered.
        ledger: moves deployments and reports that.
        files: what is stored.
        monotonic: seconds that only grow.
        beside: manifests whose files are needed for something else, as long as no deployment is under way.

    Attributes:
        journal, ledger, files: the same, for both halves.
    """

    def __init__(
        self,
        journal: Journal,
        ledger: Ledger,
        files: ReleaseFiles,
        monotonic: Callable[[], float] = time.monotonic,
        beside: Callable[[], set[str]] = set,
    ) -> None:
        self.journal, self.ledger, self.files = journal, ledger, files
        self.monotonic, self._beside = monotonic, beside
        self._current: Deployment | None = None
        self._since = monotonic()

    @property
    def current(self) -> Deployment | None:
        """The unfinished deployment."""
        return self._current

    @property
    def age(self) -> float:
        """Seconds since it came into its state, in this life of the agent."""
        return self.monotonic() - self._since

    @property
    def with_line(self) -> Deployment | None:
        """The current deployment where its candidate is in the line's hands and does not decide yet."""
        return self._current if self._current and self._current.state in WITH_LINE else None

    # What the slots hold

    @property
    def active_slot(self) -> SlotName | None:
        """The slot that shall decide."""
        return self.journal.device().active

    def held(self, slot: SlotName | None) -> Deployment | None:
        """What a slot holds as good, or on probation."""
        return self.journal.slots()[slot] if slot else None

    def release_in(self, slot: SlotName | None) -> Release | None:
        """The release in a slot."""
        held = self.held(slot)
        return held.release if held else None

    @property
    def way_back(self) -> bool:
        """Whether the slot beside the active one holds something."""
        slot = self.active_slot
        return slot is not None and self.held(other(slot)) is not None

    # Moves

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """One commit; where it fails, this object is as before as well."""
        before = self._current, self._since
        try:
            with self.ledger.transaction():
                yield
        except BaseException:
            self._current, self._since = before
            raise

    def resume(self) -> None:
        """Take up what the journal has: at most one deployment goes on."""
        unfinished = self.journal.unfinished()
        with self.together():
            for older in unfinished[:-1]:
                self.ledger.move(older, Event.SUPERSEDED)
            for newest in unfinished[-1:]:
                self._set(self.ledger.move(newest, Event.RESTARTED, name="AgentRestarted"))

    def open(self, assignment: Assignment) -> None:
        """Accept an assignment in the place of what was under way."""
        with self.together():
            if (previous := self._current) is not None:
                if not _names_the_same(previous, assignment):
                    self._leave_probation(previous)
                self.ledger.move(previous, Event.SUPERSEDED)
            accepted = self.journal.accept(assignment, time.time())
            self.ledger.report(accepted, state=accepted.state)
            self._set(accepted)

    def stop(self) -> None:
        """End every version of the current assignment's model, as it says; another model goes on."""
        current = self._current
        if current is None:
            return
        with self.together():
            for slot, held in self.journal.slots().items():
                if held is not None and held.release.model == current.release.model:
                    self._empty(slot)
            self.move(Event.STOPPED)
        self.collect()

    def move(self, event: Event, **said: Any) -> Deployment:
        """Move the current deployment along the table; see ``Ledger.move``."""
        assert self._current is not None, "something has to be under way"
        with self.together():
            moved = self.ledger.move(self._current, event, **said)
            self._set(None if moved.finished else moved)
        return moved

    def take_over(self, slot: SlotName, gap_us: int) -> None:
        """The line has swapped the current candidate in: it decides, on probation."""
        with self.together():
            self.journal.set_active(slot)
            self.journal.set_slot(slot, self.move(Event.SWAPPED, swap_gap_us=gap_us, starts=0))

    def adopt(self, events: tuple[Event, ...], slot: SlotName) -> None:
        """Walk the current deployment along events without work: its release is in the slot already."""
        current = self._current
        assert current is not None, "something has to be under way"
        with self.together():
            for event in events:
                current = self.journal.move(current, event, time.time(), slot=slot)
            self.journal.set_slot(slot, current)
            self.ledger.report(current, state=current.state)
            self._set(current)

    def commit(self) -> None:
        """The current deployment's probation is over."""
        current = self._current
        assert current is not None, "something has to be under way"
        custom = current.assignment.target.custom
        with self.together():
            self.journal.raise_floor(custom.model, custom.release_counter)
            self.move(Event.PROVEN)
        self.collect()

    def prove_superseded(self, slot: SlotName) -> None:
        """A first model that was superseded on probation is through it: it counts as any good one.

        The report has no state, because the deployment that the controller follows is the newer one.
        """
        held = self.held(slot)
        assert held is not None, "somebody has looked"
        custom = held.assignment.target.custom
        with self.together():
            self.journal.raise_floor(custom.model, custom.release_counter)
            proven = self.journal.move(held, Event.PROVEN, time.time())
            self.ledger.report(proven, name="Proven", detail="A newer assignment came during its probation.")

    def fetch_again(self, damaged: Deployment, error: EdgewrightError) -> bool:
        """Files of a release are damaged here: give it up, and fetch it anew where it shall decide.

        What stood beside the active model is only given up, and so is the active one where something newer is
        on its way.

        Returns:
            False where that has happened too often: this disk keeps nothing, and nothing has changed.
        """
        counted = self.journal.count_trouble(damaged, DAMAGED)
        if breakers.error_loop(counted.troubles):
            return False
        is_current = self._current is not None and self._current.id == damaged.id
        slots = self.journal.slots().items()
        slot = next((slot for slot, held in slots if held and held.id == damaged.id), None)
        shall_decide = is_current or (self._current is None and slot is not None and slot == self.active_slot)
        with self.together():
            if slot is not None:
                self._empty(slot)
            self.ledger.note(error, counted)
            if shall_decide:
                self._set(self.ledger.move(counted, Event.DAMAGED, name=DAMAGED, slot=None, starts=None))
        return True

    def vacate(
        self, slot: SlotName, *, error: EdgewrightError | None = None, name: str = "", said: str = ""
    ) -> None:
        """What a slot held as good is no longer: the other slot decides, if it has anything.

        Args:
            slot: which.
            error: why, where something went wrong.
            name: of the report, without an error.
            said: its sentence.
        """
        held = self.held(slot)
        with self.together():
            self._empty(slot)
            if held and held.state in (State.PROBATION, State.COMMITTED):
                self.ledger.move(held, Event.BROKE, error=error, name=name, said=said)
            elif error is not None:
                self.ledger.report(held, error=error.number, name=error.name, detail=error.sentence)
            if self._current and held and self._current.id == held.id:
                self._set(None)

    def count_trouble_of(self, deployment: Deployment, trouble: str) -> Deployment:
        """Count an error after which a deployment's step is tried again."""
        counted = self.journal.count_trouble(deployment, trouble)
        if self._current and self._current.id == counted.id:
            self._current = counted
        return counted

    def stood_firm(self, slot: SlotName) -> None:
        """What decides in a slot has done so for a stable time: a committed model is no longer new."""
        held = self.held(slot)
        if held is None or (held.starts is None and not held.troubles):
            return
        with self.together():
            counted = self.journal.count_trouble(held, "") if held.trouble else held
            if held.starts is not None:
                counted = self.journal.set_starts(counted, 0 if held.state is State.PROBATION else None)
            if self._current and self._current.id == held.id:
                self._current = counted

    def add_fetched(self, fetched_bytes: int) -> None:
        """Remember what a try of the current deployment has taken from the network."""
        if self._current is not None and fetched_bytes:
            self._current = self.journal.add_fetched(self._current, fetched_bytes)

    def collect(self) -> None:
        """Remove files that neither a slot, the current deployment nor the last commits need."""
        digests = needed(self.journal, self._current)
        # A deployment gets the whole room of the store; what it takes away can be fetched again.
        self.files.keep_only(digests if self._current else digests | self._beside())
        self.journal.keep_proofs(digests)

    def _set(self, deployment: Deployment | None) -> None:
        before = self._current
        same = before and deployment and (before.id, before.state) == (deployment.id, deployment.state)
        self._current = deployment
        if not same:
            self._since = self.monotonic()

    def _leave_probation(self, previous: Deployment) -> None:
        """Go back from a model on probation to the last good one, where there is one."""
        slot = self.active_slot
        if slot and previous.state is State.PROBATION and previous.slot == slot and self.way_back:
            self._empty(slot)

    def _empty(self, slot: SlotName) -> None:
        """Empty a slot; where it decided, the other one does. A candidate there is in its way."""
        successor = other(slot)
        decided = self.active_slot == slot
        self.journal.set_slot(slot, None)
        if not decided:
            return
        ready = self.held(successor) is not None
        self.journal.set_active(successor if ready else None)
        candidate = self.with_line
        if ready and candidate is not None and candidate.slot == successor:
            self.move(Event.RESTARTED, name="SlotTaken")


def _names_the_same(deployment: Deployment, assignment: Assignment) -> bool:
    return deployment.assignment.target == assignment.target and not assignment.orders.stop
