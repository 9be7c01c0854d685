"""What a rollout does next: ``advance(facts) -> actions``, a pure function.

A rollout goes through its waves in order. A wave's devices are assigned at once; the wave is done when
each of them has ended or has taken too long. Then its gate speaks: an ``install`` gate looks at how the
installs ended, a ``quality`` gate compares the mispack rate of the devices in the rollout with the
devices that are still to come, by a test that may be looked at after every window (see ``canary_gate``).
More unfit installs than the limit stop the rollout at any time, and so does a quality gate that has shown
harm.

A device that does not answer never blocks a rollout and never ends one. After the time limit the rollout
goes on without it; its assignment stays where it is, for the day the device is back. A device that began and
did not end in time counts as timed out, against the same limit as failures. A wave in which nobody answers
shows nothing about the version: it pauses the rollout, because a person has to look.
"""

from enum import StrEnum
from typing import Final, Literal

import msgspec

from edgewright.wire.deployment import FINISHED, State


class RolloutState(StrEnum):
    """Where a rollout stands."""

    RUNNING = "running"
    PAUSED = "paused"
    FINISHED = "finished"
    STOPPED = "stopped"


class Step(StrEnum):
    """What moves a rollout."""

    PAUSE = "pause"
    RESUME = "resume"
    FINISH = "finish"
    STOP = "stop"


TRANSITIONS: Final[dict[RolloutState, dict[Step, RolloutState]]] = {
    RolloutState.RUNNING: {
        Step.PAUSE: RolloutState.PAUSED,
        Step.FINISH: RolloutState.FINISHED,
        Step.STOP: RolloutState.STOPPED,
    },
    RolloutState.PAUSED: {
        Step.RESUME: RolloutState.RUNNING,
        Step.STOP: RolloutState.STOPPED,
    },
    RolloutState.FINISHED: {},
    RolloutState.STOPPED: {},
}

UNFIT: Final = frozenset({State.REFUSED, State.FAILED, State.ROLLED_BACK})
"""Ends of a deployment that count against the limit."""


class Wave(msgspec.Struct, frozen=True):
    """One wave as the rollout's row holds it.

    Attributes:
        name: for people.
        count: how many devices; 0 means all that are left.
        percent: instead of a count, share of the rollout's devices, rounded up.
        gate: what has to be shown before the next wave.
        soak_s: least time after the last install before an ``install`` gate opens.
    """

    name: str
    count: int = 0
    percent: float = 0.0
    gate: Literal["install", "quality"] = "install"
    soak_s: float = 0.0


class Limits(msgspec.Struct, frozen=True):
    """When a rollout gives up.

    Attributes:
        unfit_share: stop when more than this share of the devices assigned so far are unfit or timed out;
            those that never answered are left out of it.
        in_progress_s: a device that has begun and not ended after this time counts as timed out; one that
            never answered is skipped.
        evidence_s: a quality gate without a verdict after this time pauses the rollout.
    """

    unfit_share: float = 0.25
    in_progress_s: float = 600.0
    evidence_s: float = 900.0


class DeviceFact(msgspec.Struct, frozen=True):
    """One device's part; ``state`` is None before its first report."""

    device: str
    wave: int
    assigned_at: float
    state: State | None
    updated_at: float


class QualityFact(msgspec.Struct, frozen=True):
    """What the quality gate of the present wave says now."""

    verdict: Literal["proceed", "wait", "stop"]
    sentence: str


class Facts(msgspec.Struct, frozen=True):
    """Everything that the decision rests on."""

    now: float
    state: RolloutState
    waves: tuple[Wave, ...]
    wave: int
    wave_started_at: float
    devices: tuple[DeviceFact, ...]
    quality: QualityFact | None = None
    limits: Limits = Limits()


class Assign(msgspec.Struct, frozen=True):
    """Issue assignments to these devices."""

    devices: tuple[str, ...]


class OpenWave(msgspec.Struct, frozen=True):
    """Start the next wave."""

    wave: int
    reason: str


class Finish(msgspec.Struct, frozen=True):
    """All waves are through their gates."""

    reason: str


class Pause(msgspec.Struct, frozen=True):
    """A person has to look."""

    reason: str


class Stop(msgspec.Struct, frozen=True):
    """End the rollout; devices that were assigned go back to what they ran."""

    reason: str


Action = Assign | OpenWave | Finish | Pause | Stop


def advance(facts: Facts) -> tuple[Action, ...]:
    """The actions that are due now, at most one of them a change of the rollout's own state."""
    if facts.state is not RolloutState.RUNNING:
        return ()
    due = tuple(d.device for d in facts.devices if d.wave <= facts.wave and not d.assigned_at)
    if due:
        return (Assign(due),)
    assigned = [d for d in facts.devices if d.assigned_at]
    judged = [d for d in assigned if not _silent(d, facts)]
    unfit = [d for d in judged if d.state in UNFIT or _timed_out(d, facts)]
    if len(unfit) > facts.limits.unfit_share * len(judged):
        names = ", ".join(f"{d.device} {d.state}" for d in unfit[:3])
        return (Stop(f"{len(unfit)} of {len(judged)} devices did not take it: {names}."),)
    if facts.quality is not None and facts.quality.verdict == "stop":
        return (Stop(facts.quality.sentence),)
    if any(d.state not in FINISHED and not _timed_out(d, facts) for d in assigned):
        return ()
    return _at_the_gate(facts, assigned)


def _at_the_gate(facts: Facts, assigned: list[DeviceFact]) -> tuple[Action, ...]:
    wave = facts.waves[facts.wave]
    silent = [d for d in assigned if _silent(d, facts)]
    mine = [d for d in assigned if d.wave == facts.wave]
    if mine and all(_silent(d, facts) for d in mine):
        # A resumed wave has its time again, so that it is not held at once by the silence that held it.
        if facts.now - facts.wave_started_at <= facts.limits.in_progress_s:
            return ()
        names = ", ".join(d.device for d in mine[:3])
        return (Pause(f"No device of the wave {wave.name!r} answers: {names}."),)
    last = max((d.updated_at for d in assigned), default=facts.wave_started_at)
    if wave.gate == "quality" and facts.quality is not None:
        if facts.quality.verdict == "wait":
            if facts.now - max(last, facts.wave_started_at) > facts.limits.evidence_s:
                return (Pause(f"The gate has no verdict yet: {facts.quality.sentence}"),)
            return ()
        return (_next(facts, facts.quality.sentence),)
    if facts.now - last < wave.soak_s:
        return ()
    ended = sum(d.state is State.COMMITTED for d in assigned)
    skipped = f", {len(silent)} did not answer" if silent else ""
    return (_next(facts, f"{ended} of {len(assigned)} devices run it{skipped}."),)


def _next(facts: Facts, reason: str) -> Action:
    if facts.wave + 1 < len(facts.waves):
        return OpenWave(facts.wave + 1, reason)
    return Finish(reason)


def _timed_out(device: DeviceFact, facts: Facts) -> bool:
    late = facts.now - device.assigned_at > facts.limits.in_progress_s
    return late and (device.state is None or device.state not in FINISHED)


def _silent(device: DeviceFact, facts: Facts) -> bool:
    return device.state is None and _timed_out(device, facts)


def plan_waves(devices: list[str], waves: tuple[Wave, ...]) -> dict[str, int]:
    """Deal devices out to waves, in order; the last wave takes all that are left.

    >>> plan_waves(["a", "b", "c"], (Wave("first", count=1), Wave("rest")))
    {'a': 0, 'b': 1, 'c': 1}
    """
    plan: dict[str, int] = {}
    rest = list(devices)
    for index, wave in enumerate(waves):
        size = wave.count or -(-len(devices) * wave.percent // 100) or len(rest)
        taken = rest if index == len(waves) - 1 else rest[: int(size)]
        plan |= dict.fromkeys(taken, index)
        rest = rest[len(taken) :]
    return plan
