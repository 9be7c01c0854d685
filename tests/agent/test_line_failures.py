"""Every way in which a runner can go wrong has one name, one number and one course."""

import signal
import time
from itertools import product
from pathlib import Path

import pytest

from edgewright.agent.control import Broke, RunnerReplaced, Shadow, Shadowed, Stop, Swap, Swapped, WindowReady
from edgewright.agent.line.breaker import FAILURES_TO_BREAK
from edgewright.agent.line.failures import COSTS, COURSES, Reaction, react, runner_error
from edgewright.agent.line.slots import Phase
from edgewright.agent.qualifier import device_error
from edgewright.wire.errors import (
    EdgewrightError,
    RunnerCrashError,
    RunnerHangError,
    RunnerMemoryError,
    RunnerOutputError,
    RunnerShapeError,
    RunnerSlowError,
)
from edgewright.wire.manifest import Limits, RuntimeRange
from simulators.faulty_runner import write_interpreter
from tests.agent.line_rig import PATIENCE_S, LineRig, running_line
from tests.agent.tiny_models import Release, write_release

DEADLINE_MS = 250.0
LIMITS = Limits(
    golden_tolerance=0.01, latency_p99_us=500_000, memory_mb=300, shadow_frames=5, probation_frames=5
)
ELSEWHERE = RuntimeRange("litert", "1", "9", "CPUExecutionProvider")
"""What the faulty runner is told to be: the model before runs in this environment, it in one of its own."""

MODEL_FAULTS = {"nan-when-bright": RunnerOutputError, "shape-when-bright": RunnerShapeError}
RUNNER_FAULTS = {
    "crash": RunnerCrashError,
    "hang": RunnerHangError,
    "leak": RunnerMemoryError,
    "burst": RunnerMemoryError,
    "slow": RunnerSlowError,
}


def _on_probation(rig: LineRig, release: Release) -> None:
    rig.run("a", write_release(rig.cell_path.parent, 1))
    assert rig.load("b", release).ok
    rig.order(Swap("b", 100_000))
    rig.expect(Swapped)
    rig.connect()


def _first_report(rig: LineRig) -> RunnerReplaced | Broke:
    """Ask bright frames until the line reports what is wrong; each one is decided by a model."""

    def reported() -> bool:
        decision = rig.ask("bright", 255, deadline_ms=DEADLINE_MS)
        assert decision.label == "bright"
        return bool(rig.saw(RunnerReplaced) or rig.saw(Broke))

    rig.wait_for(reported)
    reports = [message for message in rig.seen if isinstance(message, (RunnerReplaced, Broke))]
    return reports[0]


def _causes(rig: LineRig) -> set[str]:
    rig.order(Stop())
    rig.process.wait(PATIENCE_S)
    return {cause for ready in rig.saw(WindowReady) for cause in ready.window.causes}


@pytest.mark.parametrize(("fault", "error"), MODEL_FAULTS.items())
def test_a_model_that_answers_nonsense_is_named(
    tmp_path: Path, fault: str, error: type[EdgewrightError]
) -> None:
    """A real model with outputs that are not finite, or of another shape: number, cause, and the stand-in."""
    with running_line(tmp_path) as rig:
        _on_probation(rig, write_release(tmp_path, 2, fault=fault))  # type: ignore[arg-type]  # keys above
        report = _first_report(rig)
        assert report.error == error.number
        assert isinstance(report, Broke) is (COSTS[error].tried >= FAILURES_TO_BREAK)
        assert error().name in _causes(rig)


@pytest.mark.parametrize(("fault", "error"), RUNNER_FAULTS.items())
def test_a_runner_that_goes_wrong_is_named(tmp_path: Path, fault: str, error: type[EdgewrightError]) -> None:
    """A real runner process over a faulty runtime: number, cause, and every frame is decided by a model."""
    broken = write_interpreter(tmp_path / "python", fault)
    with running_line(tmp_path, more=["--environment", f"litert={broken}"]) as rig:
        _on_probation(rig, write_release(tmp_path, 2, limits=LIMITS, runtime=ELSEWHERE))
        report = _first_report(rig)
        assert isinstance(report, RunnerReplaced)
        assert report.error == error.number
        # Frames that a hanging runner has not answered count as slow until it is known to hang.
        assert _causes(rig) <= {error().name, RunnerSlowError().name, "NotReady"}


def test_a_dead_lock_of_an_idle_runner_is_noticed_before_a_frame_meets_it(tmp_path: Path) -> None:
    """A stopped runner without frames gives no sign of life and is replaced; the next frame is its own."""
    with running_line(tmp_path) as rig:
        release = write_release(tmp_path)
        rig.run("a", release)
        stopped = rig.signal_runner(release, signal.SIGSTOP)
        assert rig.expect(RunnerReplaced).error == RunnerHangError.number
        rig.wait_for(lambda: stopped not in rig.runner_pids())
        rig.connect()
        rig.wait_for(lambda: rig.ask("next", 0).source == "active")


def test_an_idle_runner_that_lives_is_left_alone(tmp_path: Path) -> None:
    """Over several signs of life nothing is reported, and the frame after them is decided at once."""
    with running_line(tmp_path, window_seconds=1.0) as rig:
        rig.run("a", write_release(tmp_path))
        rig.connect()
        time.sleep(4.5)  # A runner is asked after two seconds and has two to answer.
        assert rig.ask("next", 0).source == "active"
        assert rig.saw(RunnerReplaced) == []


@pytest.mark.parametrize("kind", COSTS)
def test_numbers_come_back_as_their_classes(kind: type[EdgewrightError]) -> None:
    """What a runner names reaches the line and the report as the same class."""
    assert type(runner_error(kind.number, "why")) is kind
    assert type(device_error(kind.number, "why")) is kind


def test_every_phase_with_a_runner_has_a_course() -> None:
    """Only an empty slot has none, and nothing but a deciding slot is ever given up for the stand-in."""
    assert set(COURSES) == set(Phase) - {Phase.EMPTY}
    reactions = {
        (phase, broken): react(phase, broken=broken, another=True)
        for phase, broken in product(COURSES, (False, True))
    }
    given_up = {at for at, reaction in reactions.items() if reaction is Reaction.GIVE_UP}
    assert given_up == {(Phase.WAITING, True), (Phase.PROBATION, True), (Phase.ACTIVE, True)}


def test_a_candidate_that_is_killed_once_goes_on(tmp_path: Path) -> None:
    """SIGKILL of a candidate's runner, while it is shadowed and while it waits, costs it neither."""
    new = write_release(tmp_path, 2)
    with running_line(tmp_path) as rig:
        rig.run("a", write_release(tmp_path, 1))
        assert rig.load("b", new).ok
        rig.connect()
        rig.order(Shadow("b", 20))
        rig.signal_runner(new, signal.SIGKILL)

        def shadowed() -> list[Shadowed]:
            time.sleep(0.01)
            rig.ask("shadowed", 0)
            return rig.saw(Shadowed)

        (result,) = rig.wait_for(shadowed)
        assert (result.ok, result.frames, result.agreement) == (True, 20, 1.0)
        rig.ask("unsafe", 0, safe=False)
        rig.order(Swap("b", 0))
        rig.ask("unsafe", 0, safe=False)
        rig.signal_runner(new, signal.SIGKILL)
        rig.wait_for(lambda: rig.ask("safe", 0).version == 2)
        assert [report.slot for report in rig.saw(RunnerReplaced)] == ["b", "b"]
        assert rig.saw(Broke) == []
