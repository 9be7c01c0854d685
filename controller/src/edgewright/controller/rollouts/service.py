"""What people and the rebuild loop ask of rollouts: start, pause, resume, abort, roll back."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from edgewright.controller.database import Session, col, select
from edgewright.controller.database.engine import Database
from edgewright.controller.database.tables import Artifact, Device, ModelVersion, Rollout, RolloutDevice
from edgewright.controller.database.versiontables import LeftOut
from edgewright.controller.errors import (
    NoMatchingDeviceError,
    RolloutStateError,
    UnknownModelError,
    VersionNotReadyError,
)
from edgewright.controller.events import record
from edgewright.controller.matching import Targets, choose
from edgewright.controller.rollouts.assigner import Assigner, Issue
from edgewright.controller.rollouts.policy import TRANSITIONS, RolloutState, Step, Wave, plan_waves
from edgewright.controller.rollouts.selectors import takes
from edgewright.wire.deployment import FINISHED, State
from edgewright.wire.targets import shipped_demands

DEFAULT_WAVES: Final = (Wave("first robot", count=1), Wave("all the others"))
REBUILD_WAVES: Final = (Wave("first robot", count=1, gate="quality"), Wave("all the others"))
ROLLBACK_WAVES: Final = (Wave("all at once"),)
NAMED: Final = 3
"""Devices that a sentence names of those that are left out; the rollout's page has all of them."""


class RolloutService:
    """Changes rollouts' rows; the reconciler does the rest.

    Args:
        db: where they are.
        assigner: issues the ways back.
        wake: lets the reconciler look.
        need: returns when a model's version lies on the broker.
        targets: what each target asks of a device.
    """

    def __init__(
        self,
        db: Database,
        assigner: Assigner,
        wake: Callable[[], None],
        need: Callable[[str, int], None] = lambda _model, _version: None,
        targets: Callable[[], Targets] = shipped_demands,
    ) -> None:
        self._db = db
        self._assigner = assigner
        self._wake = wake
        self._need = need
        self._targets = targets

    def create(
        self,
        model: str,
        version: int,
        selector: str = "",
        waves: Sequence[Wave] | None = None,
        reason: str = "",
        *,
        allow_rollback: bool = False,
    ) -> int:
        """Start a rollout; a running one of the same model ends where it is.

        Raises:
            UnknownModelError: no such version.
            VersionNotReadyError: it is not built, failed or was withdrawn.
            NoMatchingDeviceError: the selector takes no device that the version was compiled for, or only
                such as contradict their target; the sentence says why.
            BrokerFullError, BrokerUnreachableError: the version was retired, and cannot be published again.
        """
        now = time.time()
        waves = waves or DEFAULT_WAVES
        with self._db.reading() as session:
            _ready_version(session, model, version)
        # Chunks before assignments: a version that was retired is on the broker before anybody is to run it.
        self._need(model, version)
        with self._db.session() as session:
            _ready_version(session, model, version)
            found = matching_devices(session, model, version, selector)
            # Back to what they ran is for all of them, whatever they say that they are.
            targets = {} if allow_rollback else self._targets()
            chosen = choose(found, targets, proven(session, model, found))
            devices = chosen.taken
            if not devices:
                raise NoMatchingDeviceError(_nobody(selector or "the fleet", model, chosen.left_out))
            self._end_running(session, model, version)
            rollout = Rollout(
                model=model,
                version=version,
                selector=selector,
                allow_rollback=allow_rollback,
                state=RolloutState.RUNNING,
                reason=reason,
                waves=[msgspec.to_builtins(wave) for wave in waves],
                created_at=now,
                wave_started_at=now,
            )
            session.add(rollout)
            session.flush()
            number = rollout.id or 0
            for device, wave in plan_waves(devices, tuple(waves)).items():
                session.add(RolloutDevice(rollout=number, device=device, wave=wave))
            sentence = f"Rollout {number} of {model} v{version} to {len(devices)} devices started."
            if chosen.left_out:
                leave_out(session, number, chosen.left_out)
                sentence += f" Left out: {_told(chosen.left_out)}"
            if chosen.doubted:
                sentence += f" Taken because they run {model}, whatever they say: {_told(chosen.doubted)}"
            record(session, "rollout.started", sentence, model=model, version=version, rollout=number)
        self._wake()
        return number

    def pause(self, number: int, reason: str = "") -> None:
        """Hold a rollout: devices that have their assignment finish.

        Raises:
            RolloutStateError: there is none, or it is not running.
        """
        self._move(number, Step.PAUSE, "rollout.paused", reason or "Paused by an operator.")

    def resume(self, number: int) -> None:
        """Go on with a held rollout.

        Raises:
            RolloutStateError: there is none, or it is not held.
        """
        self._move(number, Step.RESUME, "rollout.started", "Resumed.")

    def abort(self, number: int, reason: str = "") -> None:
        """End a rollout; devices that are still on the way go back to what they ran.

        Raises:
            RolloutStateError: there is none, or it has ended.
        """
        with self._assigner.issuing() as issue:
            rollout = _existing(issue.session, number)
            move(issue.session, rollout, Step.STOP, "rollout.stopped", reason or "Aborted by an operator.")
            send_back(issue, rollout, only_unfinished=True)
        self._wake()

    def rollback(self, number: int) -> int:
        """Start a rollout of the version that most of a rollout's devices ran before it.

        Raises:
            RolloutStateError: there is no such rollout, or nothing to go back to.
        """
        with self._db.reading() as session:
            rollout = _existing(session, number)
            parts = session.exec(select(RolloutDevice).where(col(RolloutDevice.rollout) == number)).all()
        previous = [part.previous_version for part in parts if part.previous_version]
        if not previous:
            raise RolloutStateError(f"Before rollout {number} its devices ran nothing to go back to.")
        version = max(set(previous), key=previous.count)
        reason = f"Rolls back rollout {number}."
        return self.create(
            rollout.model, version, rollout.selector, ROLLBACK_WAVES, reason, allow_rollback=True
        )

    def _move(self, number: int, step: Step, kind: str, reason: str) -> None:
        with self._db.session() as session:
            rollout = _existing(session, number)
            move(session, rollout, step, kind, reason)
        self._wake()

    def _end_running(self, session: Session, model: str, version: int) -> None:
        running = (RolloutState.RUNNING, RolloutState.PAUSED)
        statement = select(Rollout).where(col(Rollout.model) == model).where(col(Rollout.state).in_(running))
        for rollout in session.exec(statement).all():
            move(session, rollout, Step.STOP, "rollout.stopped", f"Version {version} takes its place.")


def move(session: Session, rollout: Rollout, step: Step, kind: str, reason: str) -> None:
    """Move a rollout's state by the table and record it.

    Raises:
        RolloutStateError: the table does not allow the step.
    """
    state = RolloutState(rollout.state)
    following = TRANSITIONS[state].get(step)
    if following is None:
        raise RolloutStateError(f"Rollout {rollout.id} is {state}; it cannot {step}.")
    rollout.state, rollout.reason = following, reason
    if step is Step.RESUME:
        # The wave's evidence and its time limit begin anew; else the limit that held it would hold it again.
        rollout.wave_started_at = time.time()
    if not TRANSITIONS[following]:
        rollout.finished_at = time.time()
    session.add(rollout)
    sentence = f"Rollout {rollout.id} of {rollout.model} v{rollout.version} is {following}: {reason}"
    record(session, kind, sentence, model=rollout.model, version=rollout.version, rollout=rollout.id or 0)


def send_back(issue: Issue, rollout: Rollout, *, only_unfinished: bool) -> None:
    """Assign to devices of a stopped rollout what they ran before it, in the transaction that stops it.

    One that ran no version of the model is told to run none: it unloads what the rollout brought.
    """
    statement = select(RolloutDevice).where(col(RolloutDevice.rollout) == rollout.id)
    by_version: dict[int, list[str]] = {}
    for part in issue.session.exec(statement).all():
        unfinished = not part.state or State(part.state) not in FINISHED
        if part.assignment_version and (unfinished or not only_unfinished):
            by_version.setdefault(part.previous_version, []).append(part.device)
    first = by_version.pop(0, [])
    issue.assign(first, rollout.model, rollout.version, rollout=0, stop=True)
    for version, devices in by_version.items():
        issue.assign(devices, rollout.model, version, rollout=0, allow_rollback=True)


def matching_devices(
    session: Session, model: str, version: int, selector: str, *conditions: Any
) -> list[Device]:
    """Devices that the selector takes and that the version was compiled for, in order.

    Connected devices come first, so that the first robot of a rollout is one that answers; of the others
    those that were seen last. ``conditions`` on ``Device`` narrow it down in the database.
    """
    targets = set(
        session.exec(
            select(Artifact.target)
            .where(col(Artifact.model) == model)
            .where(col(Artifact.version) == version)
        )
    )
    statement = select(Device).where(col(Device.target).in_(targets), *conditions)
    devices: Iterable[Device] = session.exec(statement)
    chosen = [d for d in devices if takes(selector, d)]
    chosen.sort(key=lambda d: (not d.connected, 0.0 if d.connected else -d.last_seen, d.id))
    return chosen


def proven(session: Session, model: str, devices: Iterable[Device]) -> set[str]:
    """Ids of those that run a version of the model now that was compiled for their target.

    Its golden vectors passed there, which says more than what a device tells of itself.
    """
    statement = select(Artifact.version, Artifact.target).where(col(Artifact.model) == model)
    compiled = set(session.exec(statement))
    return {d.id for d in devices if d.active_model == model and (d.active_version, d.target) in compiled}


def leave_out(session: Session, rollout: int, left_out: Mapping[str, str]) -> None:
    """Write down whom a rollout leaves out and why, once each."""
    for device, reason in left_out.items():
        if session.get(LeftOut, (rollout, device)) is None:
            session.add(LeftOut(rollout=rollout, device=device, reason=reason))


def _nobody(whom: str, model: str, left_out: Mapping[str, str]) -> str:
    said = f"No device of {whom!r} can run {model}."
    return f"{said} {_told(left_out)}" if left_out else said


def _told(left_out: Mapping[str, str]) -> str:
    """The first few devices with their reasons, and how many there are beside them."""
    first = [f"{device}: {reason}" for device, reason in list(left_out.items())[:NAMED]]
    return " ".join([*first, *([f"And {len(left_out) - NAMED} more."] if len(left_out) > NAMED else [])])


def _ready_version(session: Session, model: str, version: int) -> ModelVersion:
    row = session.get(ModelVersion, (model, version))
    if row is None:
        raise UnknownModelError(f"There is no {model} v{version}.")
    if row.state != "ready":
        raise VersionNotReadyError(f"{model} v{version} is {row.state}.")
    return row


def _existing(session: Session, number: int) -> Rollout:
    rollout = session.get(Rollout, number)
    if rollout is None:
        raise RolloutStateError(f"There is no rollout {number}.")
    return rollout
