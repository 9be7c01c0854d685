"""The line's half of a deployment: what the line is ordered next, and what its answers mean.

After each event what the line shall hold (the journal and the current deployment) is compared with what it
has told, and the difference is the next order (``slotplan``). It holds no script, so a restart of the line,
of the agent or of both goes the same way as everyday work.

Rules:

- The journal has the state in which an order is given before the order is given, and the answer's state
  before the next order.
- What broke is given up in the journal first. Where that cannot be written, nothing is ordered: the line went
  back by itself, and must not be told to load the broken model again.
- A line that dies with the same model in its hands again and again loses that model (``breakers``).
"""

import logging
from collections.abc import Callable
from typing import Final

from edgewright.agent import breakers, control
from edgewright.agent.control import SlotName
from edgewright.agent.holdings import wanted
from edgewright.agent.journal import Deployment
from edgewright.agent.lineorders import LineOrders, follow
from edgewright.agent.qualifier import device_error
from edgewright.agent.slotplan import Holding, Step, Wanted, next_step, other
from edgewright.agent.underway import Underway
from edgewright.wire.deployment import Event, State
from edgewright.wire.errors import EdgewrightError, ErrorLoopError, TamperedArtifactError

LINE_ENDED: Final = "LineEnded"
"""Name under which the ends of lines are counted."""

log = logging.getLogger(__name__)


class Swapping:
    """Orders to the line.

    Args:
        underway: shared with the work's half.
        send: hands an order to the line.
        replace_line: ends a line that does not answer.
    """

    def __init__(
        self, underway: Underway, send: Callable[[control.Down], None], replace_line: Callable[[], None]
    ) -> None:
        self._underway, self._replace_line = underway, replace_line
        self._line = LineOrders(send, underway.monotonic)
        self._proven: dict[SlotName, int] = {}
        self._broken: list[tuple[SlotName, str, EdgewrightError]] = []
        self._decides_since = 0.0
        self._held_back: int | None = None

    # The line's process

    def line_started(self, held: tuple[control.Held, ...]) -> None:
        """A line listens: a new one with empty slots, or one that has outlived another agent."""
        self._line.restart(up=True, held=held)
        self._decides_since = self._underway.monotonic()
        follow(held, self._underway.journal, self._line, self._gave_up, self._proven_in)

    def line_ended(self) -> None:
        """The line is gone: a candidate that was in its hands starts over, unless it is why."""
        suspect = self._suspect()
        self._line.restart(up=False)
        self._proven.clear()
        if suspect is not None:
            self._count_end(suspect)
        if self._underway.with_line:
            self._underway.move(Event.RESTARTED, name="LineRestarted")

    def decides(self, slot: SlotName) -> bool:
        """Whether the line has said that this slot decides."""
        return self._line.told.active == slot

    def is_proven(self, slot: SlotName) -> bool:
        """Whether what decides in a slot is through its probation, or was good before."""
        held = self._underway.held(slot)
        known = held is not None and (held.state is State.COMMITTED or self._proven.get(slot) == held.id)
        return known and self.decides(slot)

    # What it says

    def said(self, message: control.Up) -> bool:
        """The line answered, or tells of a slot; whether that concerns deployments."""
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
            case _:
                return False
        return True

    def runner_replaced(self, message: control.RunnerReplaced) -> None:
        """Report that a slot's runner had to be replaced."""
        error = device_error(message.error, message.detail)
        held = self._runner_of(message.slot)
        self._underway.ledger.report(held, error=error.number, name="RunnerReplaced", detail=error.sentence)

    def _loaded(self, message: control.Loaded) -> None:
        holding = self._line.answered(message.slot, control.Load)
        if holding is None:
            return
        if message.ok:
            self._line.holds(message.slot, holding)
        else:
            self._failed(message.slot, holding, device_error(message.error, message.detail))

    def _shadowed(self, message: control.Shadowed) -> None:
        holding, candidate = self._line.answered(message.slot, control.Shadow), self._underway.with_line
        if not message.ok:
            self._line.lost(message.slot)
        if holding is None or candidate is None or holding.deployment != candidate.id:
            return
        if not message.ok:
            self._failed(message.slot, holding, device_error(message.error, message.detail))
        elif candidate.state is State.SHADOWING:
            self._underway.move(Event.SHADOWED, said=message.words)

    def _swapped(self, message: control.Swapped) -> None:
        """A slot decides: the candidate, or the one that was ordered back.

        A candidate that was called off while its answer was on its way is taken out again by the next step.
        """
        holding = self._line.answered(message.slot, control.Swap)
        self._line.decides(message.slot)
        self._decides_since = self._underway.monotonic()
        current = self._underway.current
        if holding and current and (current.id, current.state) == (holding.deployment, State.WAITING_SAFE):
            self._underway.take_over(message.slot, message.gap_us)

    def _proven_in(self, slot: SlotName) -> None:
        held = self._underway.held(slot)
        if held is not None and self._line.told.loaded.get(slot) == held.release.manifest_sha256:
            self._proven[slot] = held.id

    def _broke(self, message: control.Broke) -> None:
        slot = message.slot
        digest = self._line.told.loaded.get(slot, "")
        self._line.answered(slot, control.Swap)
        self._line.lost(slot)
        self._line.decides(message.now_active)
        self._broken.append((slot, digest, device_error(message.error, message.detail)))
        self._write_broken()

    def _gave_up(self, slot: SlotName, error: EdgewrightError) -> None:
        """A line gave a model up while no agent listened."""
        held = self._underway.held(slot)
        self._broken.append((slot, held.release.manifest_sha256 if held else "", error))
        self._write_broken()

    def _write_broken(self) -> None:
        """Give up in the journal what the line has given up; what cannot be written now is written later."""
        while self._broken:
            slot, digest, error = self._broken[0]
            candidate, held = self._underway.with_line, self._underway.held(slot)
            if candidate and (candidate.slot, candidate.release.manifest_sha256) == (slot, digest):
                self._underway.move(Event.FAILED, error=error)
            elif held and held.release.manifest_sha256 == digest:
                self._underway.vacate(slot, error=error)
            del self._broken[0]

    def _runner_of(self, slot: SlotName) -> Deployment | None:
        """The deployment whose runner a slot of the line has."""
        candidate = self._underway.with_line
        return candidate if candidate and candidate.slot == slot else self._underway.held(slot)

    def _failed(self, slot: SlotName, holding: Holding, error: EdgewrightError) -> None:
        """A slot could not be loaded, or not run beside the active one."""
        if isinstance(error, TamperedArtifactError):
            damaged = self._underway.journal.deployment(holding.deployment)
            if self._underway.fetch_again(damaged, error):
                return
        candidate = self._underway.with_line
        held = self._underway.held(slot)
        if candidate and candidate.id == holding.deployment:
            self._underway.move(Event.FAILED, error=error)
        elif held and held.id == holding.deployment:
            self._underway.vacate(slot, error=error)

    # What it is ordered

    def drive(self) -> None:
        """Order what comes next."""
        self._write_broken()
        current = self._underway.current
        if current and current.slot and current.state is State.PROBATION and self.is_proven(current.slot):
            self._underway.commit()
        self._prove_superseded()
        self._call_off()
        while self._line.free and (step := next_step(self._wanted(), self._line.told)) is not None:
            self._order(step)

    def _prove_superseded(self) -> None:
        slot = self._underway.active_slot
        held = self._underway.held(slot)
        if slot and held and held.state is State.SUPERSEDED and self.is_proven(slot):
            self._underway.prove_superseded(slot)

    def hold_back(self, deployment: int | None) -> None:
        """Load what a deployment brought only later; None for nothing."""
        self._held_back = deployment

    def _wanted(self) -> Wanted:
        shall, slot = wanted(self._underway.journal, self._underway.current), self._underway.active_slot
        active = self._underway.held(slot)
        if slot is None or active is None or active.id != self._held_back:
            return shall
        return shall._replace(active=None, slots={**shall.slots, slot: None})

    def _call_off(self) -> None:
        """Empty a slot whose Shadow or Swap nobody wants any more."""
        pending = self._line.pending
        if pending is None or pending.kind is control.Load:
            return
        shall = self._wanted()
        held, candidate = shall.slots[pending.slot], shall.candidate
        good = held is not None and held.digest == pending.holding.digest
        if not good and (candidate is None or candidate.holding != pending.holding):
            self._line.unload(pending.slot)

    def _order(self, step: Step) -> None:
        slot, holding = step.slot, step.holding
        if step.verb == "unload":
            self._line.unload(slot)
            return
        if step.verb == "skip-shadow":
            self._underway.move(Event.SHADOWED, said="No active model to run beside.")
            return
        try:
            self._send(step)
        except (EdgewrightError, OSError) as error:
            known = error if isinstance(error, EdgewrightError) else TamperedArtifactError(f"{error}.")
            self._failed(slot, holding, known)

    def _send(self, step: Step) -> None:
        slot, holding, files = step.slot, step.holding, self._underway.files
        limits = files.manifest(holding.digest).limits
        if step.verb == "shadow":
            self._line.shadow(slot, holding, limits.shadow_frames)
        elif step.verb == "swap":
            self._line.swap(slot, holding, 0 if holding.proven else limits.probation_frames)
        else:
            deployment = self._underway.journal.deployment(holding.deployment)
            self._line.load(
                slot,
                holding,
                *files.paths(holding.digest),
                stand_in=step.verb == "load-standby",
                content_key=files.content_key(deployment.assignment),
                threads=deployment.threads,
            )

    # Time, and lines that die

    def watch(self) -> None:
        """Look at the time: an order without an answer, a model that is new no longer."""
        pending, now = self._line.pending, self._underway.monotonic()
        if pending and pending.kind is control.Load and now - pending.since > breakers.ORDER_SECONDS:
            log.warning("The line has not answered a Load for %.0f s.", breakers.ORDER_SECONDS)
            self._replace_line()
            return
        slot = self._underway.active_slot
        if slot and self.decides(slot) and now - self._decides_since >= breakers.STABLE_SECONDS:
            self._decides_since = now
            self._underway.stood_firm(slot)

    def _suspect(self) -> Deployment | None:
        """The deployment with whose model the line has ended; None where it is nobody's in particular."""
        journal, pending = self._underway.journal, self._line.pending
        if pending is not None:
            return journal.deployment(pending.holding.deployment)
        active = self._underway.held(self._underway.active_slot)
        new = active if active is not None and active.starts is not None else None
        return self._underway.with_line or new

    def _count_end(self, suspect: Deployment) -> None:
        counted = self._underway.count_trouble_of(suspect, LINE_ENDED)
        slot = next(
            (s for s, held in self._underway.journal.slots().items() if held and held.id == counted.id), None
        )
        new = counted.starts is not None
        beside = slot is not None and self._underway.held(other(slot)) is not None
        if not breakers.line_loop(counted.troubles, new=new, way_back=beside):
            return
        error = ErrorLoopError(
            f"{counted.troubles} lines in a row have ended with this model in their hands."
        )
        candidate = self._underway.with_line
        if candidate and candidate.id == counted.id:
            self._underway.move(Event.FAILED, error=error)
        elif slot is not None:
            self._underway.vacate(slot, error=error)
