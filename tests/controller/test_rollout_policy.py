"""What a rollout does next."""

from typing import Literal

import msgspec
import pytest

from edgewright.controller.rollouts.policy import (
    TRANSITIONS,
    Assign,
    DeviceFact,
    Facts,
    Finish,
    Limits,
    OpenWave,
    Pause,
    QualityFact,
    RolloutState,
    Stop,
    Wave,
    advance,
    plan_waves,
)
from edgewright.wire.deployment import State

WAVES = (Wave("first robot", count=1, gate="quality"), Wave("rest"))


def facts(*states: State | None, wave: int = 0, assigned: int | None = None, now: float = 100.0) -> Facts:
    """A rollout over devices d0, d1, ...; the first ``assigned`` have their assignment (default: wave
    0's).
    """
    count = assigned if assigned is not None else (1 if wave == 0 else len(states))
    devices = tuple(
        DeviceFact(f"d{i}", 0 if i == 0 else 1, 50.0 if i < count else 0.0, state, 60.0)
        for i, state in enumerate(states)
    )
    return Facts(now, RolloutState.RUNNING, WAVES, wave, 40.0, devices)


def test_devices_of_the_open_wave_are_assigned_first() -> None:
    """A new rollout assigns the first wave and nobody else."""
    assert advance(facts(None, None, None, assigned=0)) == (Assign(("d0",)),)


def test_it_waits_for_devices_in_progress() -> None:
    """While a device is on its way nothing happens."""
    assert advance(facts(State.FETCHING, None)) == ()


@pytest.mark.parametrize(("verdict", "expected"), [("wait", None), ("proceed", OpenWave), ("stop", Stop)])
def test_the_quality_gate_decides_after_the_install(
    verdict: Literal["proceed", "wait", "stop"], expected: type | None
) -> None:
    """A committed canary waits for the gate, goes on with it, or is stopped by it."""
    quality = QualityFact(verdict, "so the numbers say")
    actions = advance(msgspec.structs.replace(facts(State.COMMITTED, None), quality=quality))
    assert [type(action) for action in actions] == ([expected] if expected else [])


def test_shown_harm_stops_it_while_devices_are_under_way() -> None:
    """A quality gate that has shown harm does not wait for a device that takes its time."""
    quality = QualityFact("stop", "it is worse")
    states = facts(State.COMMITTED, State.FETCHING, None, assigned=2)
    assert advance(msgspec.structs.replace(states, quality=quality)) == (Stop("it is worse"),)


def test_a_gate_without_evidence_asks_a_person() -> None:
    """A quality gate that stays undecided beyond its time limit pauses the rollout."""
    quality = QualityFact("wait", "too few labels")
    late = msgspec.structs.replace(facts(State.COMMITTED, None, now=5000.0), quality=quality)
    assert [type(action) for action in advance(late)] == [Pause]


def test_an_unfit_install_stops_it() -> None:
    """One failed canary of one is more than the limit."""
    (stop,) = advance(facts(State.FAILED, None))
    assert isinstance(stop, Stop)
    assert "d0 failed" in stop.reason


LATE = 50.0 + Limits().in_progress_s + 1
"""Every assignment of ``facts`` is beyond its time limit."""


@pytest.mark.parametrize("silent", [1, 4, 8])
def test_silent_devices_neither_block_nor_stop_it(silent: int) -> None:
    """However many devices never answer, the others go on after the time limit, and not before."""
    states = [State.COMMITTED] * (10 - silent) + [None] * silent
    assert [type(action) for action in advance(facts(*states, wave=1, now=LATE))] == [Finish]
    assert advance(facts(*states, wave=1)) == ()


def test_silence_does_not_hide_failures() -> None:
    """The unfit share is taken of the devices that answered, so many silent ones do not thin it out."""
    (stop,) = advance(facts(State.COMMITTED, State.FAILED, *[None] * 8, wave=1, now=LATE))
    assert isinstance(stop, Stop)
    assert "1 of 2 devices" in stop.reason


def test_a_device_that_hangs_under_way_counts_as_unfit() -> None:
    """A device that has begun and does not end in time counts against the limit."""
    (stop,) = advance(facts(State.COMMITTED, State.FETCHING, wave=1, now=LATE))
    assert isinstance(stop, Stop)
    assert "d1 fetching" in stop.reason


def test_a_wave_that_is_all_silent_asks_a_person() -> None:
    """A first robot alone that never answers pauses the rollout; resumed, it gets its time again."""
    silent = facts(None, None, now=LATE)
    (pause,) = advance(silent)
    assert isinstance(pause, Pause)
    assert "d0" in pause.reason
    assert advance(msgspec.structs.replace(silent, wave_started_at=LATE)) == ()


def test_the_last_wave_finishes() -> None:
    """When the last wave's devices run it, the rollout is done."""
    assert [type(a) for a in advance(facts(State.COMMITTED, State.COMMITTED, wave=1))] == [Finish]


@pytest.mark.parametrize("state", [s for s in RolloutState if s is not RolloutState.RUNNING])
def test_only_a_running_rollout_moves(state: RolloutState) -> None:
    """Paused and ended rollouts have no actions."""
    still = msgspec.structs.replace(facts(None, None, assigned=0), state=state)
    assert advance(still) == ()


def test_soak_holds_an_install_gate() -> None:
    """An install gate opens only after its soak."""
    soaking = msgspec.structs.replace(
        facts(State.COMMITTED, None, now=65.0), waves=(Wave("first", count=1, soak_s=10.0), Wave("rest"))
    )
    assert advance(soaking) == ()
    assert [type(a) for a in advance(msgspec.structs.replace(soaking, now=70.0))] == [OpenWave]


def test_waves_deal_out_every_device_once() -> None:
    """Counts and percentages are kept and the last wave takes all that are left."""
    devices = [f"d{i}" for i in range(10)]
    plan = plan_waves(devices, (Wave("one", count=1), Wave("some", percent=30), Wave("rest", count=1)))
    assert [list(plan.values()).count(wave) for wave in range(3)] == [1, 3, 6]
    assert list(plan) == devices


def test_ended_rollouts_stay_ended() -> None:
    """The table has no way out of finished and stopped."""
    assert not TRANSITIONS[RolloutState.FINISHED]
    assert not TRANSITIONS[RolloutState.STOPPED]
