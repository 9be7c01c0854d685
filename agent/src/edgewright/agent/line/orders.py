"""What the supervisor orders of the slots, and what the line does about broken runners.

Every order is a move in the table of ``slots``; this object does what the move means and says what came of
it. Nothing here waits: a runner is started and looked at again at the next tick.

What a failed runner means stands in the tables of ``failures``.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Final

from edgewright.agent.control import (
    Broke,
    Down,
    Held,
    Load,
    Loaded,
    Proven,
    RunnerReplaced,
    Shadow,
    Shadowed,
    SlotName,
    Standing,
    Swap,
    Swapped,
    Trouble,
    Unload,
    Up,
)
from edgewright.agent.environments import NO_ENVIRONMENTS, Environments
from edgewright.agent.line.breaker import replacement_delay_s
from edgewright.agent.line.deciding import NO_MODEL_FALLBACK, Ruling
from edgewright.agent.line.failures import Reaction, cost_of, react
from edgewright.agent.line.forking import Zygote
from edgewright.agent.line.interlock import Interlock, Moment, SafeMoments
from edgewright.agent.line.modelslot import ModelSlot
from edgewright.agent.line.pace import Pace
from edgewright.agent.line.runnerprocess import RunnerProcess
from edgewright.agent.line.shadow import ShadowRun
from edgewright.agent.line.slots import DECIDING, Move, Phase, Slots
from edgewright.agent.runner.artifacts import read_manifest
from edgewright.wire.cell import Frame
from edgewright.wire.errors import EdgewrightError

REST_S: Final = 1.0
"""A line without frames for so long is at rest; see ``interlock``."""

_QUIET_S: Final = {False: 2.0, True: 10.0}
"""Shadowing and probation end after so long without a frame that can be read, by whether a cell is connected:
a line that stands still, or that has only unreadable frames, proves nothing by waiting longer.
"""

_STANDINGS: Final[dict[Phase, Standing]] = {
    Phase.CANDIDATE: "candidate",
    Phase.WARM: "warm",
    Phase.PROBATION: "probation",
    Phase.ACTIVE: "active",
}
"""What a supervisor that comes is told of a slot; in the other phases it is told nothing."""

_log = logging.getLogger(__name__)


class Orders:
    """Both slots with their models.

    Args:
        send: says something to the supervisor.
        active_changed: called when another model decides, or none.
        interlock: says when the model may be changed.
        disagreed: takes a frame of which a shadowed candidate says something else.
        environments: Pythons of runtimes that live in environments of their own.
        zygote: forks runners, where there is one.

    Attributes:
        slots: the phases.
        models: what the slots hold.
        fallback: label for a frame that nobody decides, of the newest model that was active.
        cell_connected: set by the loop.
    """

    def __init__(
        self,
        send: Callable[[Up], None],
        active_changed: Callable[[], None],
        interlock: Interlock,
        disagreed: Callable[[Frame, Ruling], None],
        environments: Environments = NO_ENVIRONMENTS,
        zygote: Zygote | None = None,
    ) -> None:
        self._send = send
        self._safe = SafeMoments(interlock, lambda error: send(Trouble(error.number, error.sentence)))
        self._disagreed, self._environments, self._zygote = disagreed, environments, zygote
        self._active_changed = active_changed
        self.slots = Slots()
        self.models: dict[SlotName, ModelSlot] = {}
        self.fallback = NO_MODEL_FALLBACK
        self.cell_connected = False
        self._shadow: ShadowRun | None = None
        self._probation_frames = 0
        self._since = 0.0
        self._last_frame_at = self._last_image_at = 0.0
        self._pace = Pace()
        self._dying: list[RunnerProcess] = []
        self._broken: dict[SlotName, Held] = {}

    @property
    def active(self) -> ModelSlot | None:
        """The model that decides."""
        return self.models[slot] if (slot := self.slots.active) else None

    @property
    def stand_in(self) -> ModelSlot | None:
        """The model that decides where the active one cannot."""
        return self.models[slot] if (slot := self.slots.stand_in) else None

    def runners(self) -> list[RunnerProcess]:
        """The runners whose sockets the loop watches."""
        return [model.runner for model in self.models.values() if model.runner is not None]

    def handle(self, order: Down, now: float) -> None:
        """Do what an order says; an order that does not fit is answered as failed."""
        try:
            if isinstance(order, Load):
                self._load(order)
            elif isinstance(order, Shadow):
                self._begin_shadow(order, now)
            elif isinstance(order, Swap):
                self._order_swap(order, now)
            elif isinstance(order, Unload):
                self._empty(order.slot)
        except EdgewrightError as error:
            _log.warning("%s", error)
            self._refuse(order, error)

    def held(self) -> tuple[Held, ...]:
        """What a supervisor has to know of the slots."""
        standing = (
            (slot, model, _STANDINGS.get(self.slots.phase(slot))) for slot, model in self.models.items()
        )
        loaded = [Held(slot=slot, digest=model.digest, standing=how) for slot, model, how in standing if how]
        return (*loaded, *self._broken.values())

    def call_off(self) -> None:
        """The supervisor is gone: what it had ordered and what had not happened yet does not happen."""
        self._shadow = None
        for slot, model in self.models.items():
            model.go_first()
            if self.slots.phase(slot) in (Phase.SHADOWING, Phase.WAITING):
                self.slots.move(slot, Move.STAND_BY if model.stand_in else Move.CALLED_OFF)

    def after_frame(self, frame: Frame, ruling: Ruling, read_at: float, now: float) -> None:
        """Go on after a decision was sent at ``now``: shadow it, count probation, swap at a safe tick."""
        self._last_frame_at = now
        self._pace.frame(read_at)
        if ruling.image is not None:
            self._last_image_at = now
        self._deal_with_failures(now)
        if self._shadow is not None:
            self._shadow.offer(self.models[self._shadow.slot], frame, ruling, self._pace.slack_s(now), now)
        active = self.slots.active
        if active and self.slots.phase(active) is Phase.PROBATION and ruling.decision.source == "active":
            self._probation_frames -= 1
            if self._probation_frames <= 0:
                self._prove(active)
        self._swap_if_safe(Moment(frame.safe, quiet=False), now)

    def tick(self, now: float) -> None:
        """Look at the runners and at the time."""
        for model in list(self.models.values()):
            model.poll()
            if model.runner is None and now >= model.retry_at:
                model.start()
        self._collect_shadow(now)
        self._deal_with_failures(now)
        self._report_loaded()
        self._end_by_time(now)
        self._dying = [runner for runner in self._dying if not runner.reaped()]

    def close(self) -> None:
        """Kill all runners and leave the interlock."""
        self._safe.close()
        for model in self.models.values():
            model.stop()

    def _load(self, order: Load) -> None:
        self.slots.move(order.slot, Move.LOAD)
        self._discard(order.slot)
        self._broken.pop(order.slot, None)
        try:
            manifest_path = Path(order.manifest_path)
            manifest = read_manifest(manifest_path)
            model = ModelSlot(
                order.slot,
                manifest,
                manifest_path,
                Path(order.artifact_path),
                order.content_key,
                order.threads,
                order.digest,
                self._environments,
                self._zygote,
            )
        except EdgewrightError:
            self.slots.move(order.slot, Move.EMPTIED)
            raise
        model.stand_in = order.stand_in
        self.models[order.slot] = model
        model.start()

    def _begin_shadow(self, order: Shadow, now: float) -> None:
        self.slots.move(order.slot, Move.SHADOW)
        self._shadow = ShadowRun(order.slot, order.frames, now, self._disagreed)
        self.models[order.slot].give_way()
        if self.slots.active is None or order.frames <= 0:
            self._end_shadow(self._shadow)

    def _order_swap(self, order: Swap, now: float) -> None:
        phase = self.slots.phase(order.slot)
        if phase in DECIDING:
            self._send(Swapped(order.slot, 0))
            if phase is Phase.ACTIVE:
                self._send(Proven(order.slot))
            return
        self.slots.move(order.slot, Move.SWAP)
        self._probation_frames = order.probation_frames
        self._since = now
        if self.slots.active is None:
            self._swap_if_safe(Moment(None, quiet=True), now)

    def _refuse(self, order: Down, error: EdgewrightError) -> None:
        if isinstance(order, Load):
            self._send(Loaded(slot=order.slot, ok=False, error=error.number, detail=error.sentence))
        elif isinstance(order, Shadow):
            self._send(Shadowed(slot=order.slot, ok=False, error=error.number, detail=error.sentence))
        elif isinstance(order, Swap):
            self._empty(order.slot)
            self._broke(order.slot, error)

    def _empty(self, slot: SlotName) -> None:
        self._broken.pop(slot, None)
        decided = self.slots.active == slot
        self.slots.move(slot, Move.EMPTIED)
        self._discard(slot)
        if decided:
            self._active_changed()

    def _discard(self, slot: SlotName) -> None:
        if self._shadow is not None and self._shadow.slot == slot:
            self._shadow = None
        if (model := self.models.pop(slot, None)) is not None:
            self._bury(model)

    def _bury(self, model: ModelSlot) -> None:
        if (runner := model.stop()) is not None:
            self._dying.append(runner)

    def _report_loaded(self) -> None:
        for slot, model in self.models.items():
            if self.slots.phase(slot) is Phase.LOADING and model.ready and model.runner is not None:
                self.slots.move(slot, Move.STAND_BY if model.stand_in else Move.LOADED)
                self._send(Loaded(slot=slot, ok=True, memory_mb=model.runner.last.resident_kib / 1024))

    def _collect_shadow(self, now: float) -> None:
        if (shadow := self._shadow) is None:
            return
        shadow.collect(self.models[shadow.slot], now)
        if shadow.complete or shadow.starved(now):
            self._end_shadow(shadow)

    def _end_shadow(self, shadow: ShadowRun) -> None:
        self.slots.move(shadow.slot, Move.SHADOWED)
        self.models[shadow.slot].go_first()
        self._shadow = None
        self._send(shadow.result())

    def _swap_if_safe(self, moment: Moment, began: float) -> None:
        """Swap if a slot waits for it with a warm runner; ``began`` ends the old model's last act."""
        waiting = next((slot for slot in self.models if self.slots.phase(slot) is Phase.WAITING), None)
        if waiting is None or not self.models[waiting].ready:
            return
        if self.slots.active is None or self._safe.allow(moment):
            self._swap_in(waiting, began)

    def _swap_in(self, waiting: SlotName, began: float) -> None:
        self.slots.take_over(waiting)
        self.fallback = self.models[waiting].manifest.fallback
        self._active_changed()
        swapped_at = monotonic()
        self._since = swapped_at
        self._send(Swapped(waiting, round((swapped_at - began) * 1e6)))
        if self._probation_frames <= 0:
            self._prove(waiting)

    def _prove(self, slot: SlotName) -> None:
        self.slots.move(slot, Move.PROVEN)
        self.models[slot].stand_in = True
        self._send(Proven(slot))

    def _end_by_time(self, now: float) -> None:
        without_frames = now - max(self._last_frame_at, self._since)
        self._swap_if_safe(Moment(None, quiet=without_frames > REST_S), now)
        quiet_s = _QUIET_S[self.cell_connected]
        active, shadow = self.slots.active, self._shadow
        unproven = active if active and self.slots.phase(active) is Phase.PROBATION else None
        if unproven and now - max(self._last_image_at, self._since) > quiet_s:
            self._prove(unproven)
        if shadow is not None and now - max(self._last_image_at, shadow.since) > quiet_s:
            self._end_shadow(shadow)

    def _deal_with_failures(self, now: float) -> None:
        for slot, model in list(self.models.items()):
            if (failure := model.failure) is not None:
                self._fail(slot, model, failure, now)

    def _fail(self, slot: SlotName, model: ModelSlot, failure: EdgewrightError, now: float) -> None:
        _log.warning("slot %s, %s %d: %s", slot, model.manifest.model, model.manifest.version, failure)
        phase = self.slots.phase(slot)
        broken = model.breaker.failed(now, cost_of(failure, phase))
        match react(phase, broken=broken, another=self._has_another(model)):
            case Reaction.REFUSE_LOAD:
                self._empty(slot)
                self._send(Loaded(slot=slot, ok=False, error=failure.number, detail=failure.sentence))
            case Reaction.END_SHADOW:
                self._empty(slot)
                self._send(Shadowed(slot=slot, ok=False, error=failure.number, detail=failure.sentence))
            case Reaction.GIVE_UP:
                self._give_up(slot, failure)
            case _:
                self._replace(slot, model, failure, now)

    def _has_another(self, model: ModelSlot) -> bool:
        stand_in = self.stand_in
        return stand_in is not None and stand_in.manifest.artifact.sha256 != model.manifest.artifact.sha256

    def _give_up(self, slot: SlotName, failure: EdgewrightError) -> None:
        before, digest = self.slots.active, self.models[slot].digest
        now_active = self.slots.give_up(slot)
        self._broken[slot] = Held(
            slot=slot, digest=digest, standing="broken", error=failure.number, detail=failure.sentence
        )
        self._discard(slot)
        if now_active != before:
            if now_active is not None:
                self.fallback = self.models[now_active].manifest.fallback
            self._active_changed()
        self._broke(slot, failure)

    def _broke(self, slot: SlotName, error: EdgewrightError) -> None:
        self._send(Broke(slot=slot, error=error.number, detail=error.sentence, now_active=self.slots.active))

    def _replace(self, slot: SlotName, model: ModelSlot, failure: EdgewrightError, now: float) -> None:
        self._bury(model)
        model.failure = None
        if self._shadow is not None and self._shadow.slot == slot:
            self._shadow.forget_question()
        model.retry_at = now + replacement_delay_s(model.breaker.recent(now))
        if model.retry_at <= now:
            model.start()
        self._send(RunnerReplaced(slot=slot, error=failure.number, detail=failure.sentence))
