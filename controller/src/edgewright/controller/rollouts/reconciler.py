"""The thread that carries rollouts on: gathers facts, asks the policy, applies the actions.

Every action is written to the database before it is published, and every action can be applied again. So
a controller that is killed in the middle goes on from where it was, and devices that have their
assignment finish without it.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from edgewright.controller import aliases, canary_gate
from edgewright.controller.database import Session, col, func, select
from edgewright.controller.database.engine import Database
from edgewright.controller.database.tables import Outcome, Rollout, RolloutDevice
from edgewright.controller.database.versiontables import LeftOut
from edgewright.controller.events import record
from edgewright.controller.matching import Targets
from edgewright.controller.monitor import close_alarms
from edgewright.controller.rollouts import policy
from edgewright.controller.rollouts.assigner import Assigner
from edgewright.controller.rollouts.joining import (
    candidates,
    joining,
    open_to_joiners,
    tell_left_out,
    tell_taken_back,
)
from edgewright.controller.rollouts.policy import RolloutState, Step
from edgewright.controller.rollouts.service import leave_out, move, send_back
from edgewright.wire.deployment import State
from edgewright.wire.targets import shipped_demands

TICK_S: Final = 0.5
"""Soaks and time limits are looked at this often; reports wake the thread before that."""
SPACING_S: Final = 0.2
"""Rest between two steps: in a large fleet reports come without a pause, and a step reads whole rollouts."""
VERDICT_SPACING_S: Final = 1.0
ASSIGNED_AT_ONCE: Final = 200
"""Assignments in one transaction: signing takes about a millisecond each, and other writers wait so long."""
GATE_TOLERANCE: Final = 0.02
"""A new version may be worse than the running one by this much and still go on."""
GATE_ALPHA: Final = 0.05
GATE_MINIMUM: Final = 20
"""Labelled items of the new version before its gate says anything."""

_log = logging.getLogger(__name__)


class Reconciler:
    """See the module's text; setting ``awake`` makes it look soon."""

    def __init__(
        self,
        db: Database,
        assigner: Assigner,
        awake: threading.Event,
        targets: Callable[[], Targets] = shipped_demands,
    ) -> None:
        self._db = db
        self._targets = targets
        self._assigner = assigner
        self._awake = awake
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reconciler", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the step in progress."""
        self._ending.set()
        self._awake.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ending.is_set():
            self._awake.wait(TICK_S)
            self._awake.clear()
            self.step()
            self._ending.wait(SPACING_S)

    def step(self) -> None:
        """Carry every running rollout on by what is due, and take late joiners in."""
        try:
            with self._db.reading() as session:
                state = col(Rollout.state)
                running = session.exec(select(Rollout.id).where(state == RolloutState.RUNNING)).all()
        # The top of the thread, as below: what fails is tried again at the next tick.
        except Exception:  # noqa: BLE001
            _log.exception("The rollouts cannot be read; it is tried again.")
            return
        works: list[Callable[[], None]] = [partial(self._carry_on, number or 0) for number in running]
        for work in (*works, self._take_late_joiners):
            try:
                work()
            # The top of the thread: one rollout that cannot be carried on must not hold up the others.
            except Exception:  # noqa: BLE001
                _log.exception("A rollout could not be carried on; it is tried again.")

    def _carry_on(self, number: int) -> None:
        with self._db.reading() as session:
            rollout = session.get(Rollout, number)
            if rollout is None:
                return
            facts = gather(session, rollout, time.time())
        if facts.quality is not None:
            self._note_verdict(number, rollout.gate, facts.quality.sentence)
        for action in policy.advance(facts):
            self._apply(number, action)

    def _note_verdict(self, number: int, gate: dict[str, Any], sentence: str) -> None:
        """Store what the gate says now, for the pages: when it changed, and at most once a second."""
        now = time.time()
        if gate.get("sentence") == sentence or now - gate.get("at", 0.0) < VERDICT_SPACING_S:
            return
        with self._db.session() as session:
            rollout = _running(session, number)
            if rollout is not None:
                rollout.gate = {"sentence": sentence, "at": now}

    def _apply(self, number: int, action: policy.Action) -> None:
        match action:
            case policy.Assign(devices):
                for first in range(0, len(devices), ASSIGNED_AT_ONCE):
                    self._assign(number, devices[first : first + ASSIGNED_AT_ONCE])
            case policy.OpenWave(wave, reason):
                self._open_wave(number, wave, reason)
            case policy.Finish(reason):
                self._end(number, Step.FINISH, "rollout.finished", reason)
            case policy.Pause(reason):
                self._end(number, Step.PAUSE, "rollout.paused", reason)
            case policy.Stop(reason):
                self._stop(number, reason)

    def _assign(self, number: int, devices: Sequence[str]) -> None:
        with self._assigner.issuing() as issue:
            rollout = _running(issue.session, number)
            if rollout is not None:
                issue.assign(
                    devices,
                    rollout.model,
                    rollout.version,
                    rollout=number,
                    allow_rollback=rollout.allow_rollback,
                )

    def _stop(self, number: int, reason: str) -> None:
        with self._assigner.issuing() as issue:
            rollout = _running(issue.session, number)
            if rollout is not None:
                move(issue.session, rollout, Step.STOP, "rollout.stopped", reason)
                send_back(issue, rollout, only_unfinished=False)

    def _open_wave(self, number: int, wave: int, reason: str) -> None:
        with self._db.session() as session:
            rollout = _running(session, number)
            if rollout is None:
                return
            rollout.wave, rollout.wave_started_at = wave, time.time()
            rollout.gate = {"sentence": reason, "at": rollout.wave_started_at}
            name = rollout.waves[wave]["name"]
            sentence = f"Rollout {number} goes on to {name}: {reason}"
            record(
                session,
                "rollout.wave",
                sentence,
                model=rollout.model,
                version=rollout.version,
                rollout=number,
            )
        self._awake.set()

    def _end(self, number: int, step: Step, kind: str, reason: str) -> None:
        with self._db.session() as session:
            rollout = _running(session, number)
            if rollout is not None:
                move(session, rollout, step, kind, reason)
                if step is Step.FINISH:
                    aliases.crown(session, rollout)
                    close_alarms(session, rollout.model, rollout.version)

    def _take_late_joiners(self) -> None:
        """Give devices what they miss: those without an assignment, and those left out that fit again."""
        with self._db.reading() as session:
            numbers = open_to_joiners(session)
        for number in numbers:
            self._take_in(number)

    def _take_in(self, number: int) -> None:
        with self._db.reading() as session:
            rollout = session.get_one(Rollout, number)
            found = candidates(session, rollout)
            targets = self._targets() if found else {}
            if not any(joining(session, rollout, found, targets)):
                return
        with self._assigner.issuing() as issue:
            found = candidates(issue.session, rollout)
            taken, left_out, _ = joining(issue.session, rollout, found, targets)
            leave_out(issue.session, number, left_out)
            tell_left_out(issue.session, rollout, left_out)
            for device in taken:
                if was_left_out := issue.session.get(LeftOut, (number, device)):
                    issue.session.delete(was_left_out)
                    tell_taken_back(issue.session, rollout, device)
                if issue.session.get(RolloutDevice, (number, device)) is None:
                    last = len(rollout.waves) - 1
                    issue.session.add(RolloutDevice(rollout=number, device=device, wave=last))
            issue.session.flush()
            issue.assign(taken, rollout.model, rollout.version, rollout=number)


def _running(session: Session, number: int) -> Rollout | None:
    """The rollout, unless somebody has ended or paused it since the facts were gathered."""
    rollout = session.get(Rollout, number)
    return rollout if rollout is not None and rollout.state == RolloutState.RUNNING else None


def gather(session: Session, rollout: Rollout, now: float) -> policy.Facts:
    """The facts about one rollout."""
    parts = session.exec(select(RolloutDevice).where(col(RolloutDevice.rollout) == rollout.id)).all()
    waves = tuple(msgspec.convert(wave, policy.Wave) for wave in rollout.waves)
    quality = None
    if waves[rollout.wave].gate == "quality":
        quality = _quality(session, rollout, list(parts))
    return policy.Facts(
        now=now,
        state=RolloutState(rollout.state),
        waves=waves,
        wave=rollout.wave,
        wave_started_at=rollout.wave_started_at,
        devices=tuple(
            policy.DeviceFact(
                part.device,
                part.wave,
                part.assigned_at,
                State(part.state) if part.state else None,
                part.updated_at,
            )
            for part in parts
        ),
        quality=quality,
    )


def _quality(session: Session, rollout: Rollout, parts: list[RolloutDevice]) -> policy.QualityFact | None:
    inside = [part.device for part in parts if part.assigned_at]
    outside = [part.device for part in parts if not part.assigned_at]
    previous = max((part.previous_version for part in parts), default=0)
    if not previous or not outside:
        return None  # nothing to compare with: the installs alone decide
    since = rollout.wave_started_at
    verdict = canary_gate.judge(
        _counts(session, rollout.model, rollout.version, inside, since),
        _counts(session, rollout.model, previous, outside, since),
        tolerance=GATE_TOLERANCE,
        alpha=GATE_ALPHA,
        minimum=GATE_MINIMUM,
    )
    return policy.QualityFact(verdict.verdict, verdict.sentence)


def _counts(
    session: Session, model: str, version: int, devices: list[str], since: float
) -> canary_gate.Counts:
    statement: Any = (
        select(func.coalesce(func.sum(Outcome.labelled), 0), func.coalesce(func.sum(Outcome.wrong), 0))
        .where(col(Outcome.model) == model)
        .where(col(Outcome.version) == version)
        .where(col(Outcome.device).in_(devices))
        .where(col(Outcome.ts) >= since)
    )
    labelled, wrong = session.exec(statement).one()
    return canary_gate.Counts(int(labelled), int(wrong))
