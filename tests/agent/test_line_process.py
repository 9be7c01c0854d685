"""Real line and runner processes; the test plays the supervisor and the machine."""

import signal
import stat
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from time import sleep
from typing import Any

import pytest

from edgewright.agent.control import (
    Broke,
    Load,
    Loaded,
    Proven,
    RunnerReplaced,
    SampleReady,
    Shadow,
    Shadowed,
    SlotName,
    Stop,
    Swap,
    Swapped,
    Unload,
    WindowReady,
)
from edgewright.wire.cell import Decision, Frame, Outcome
from edgewright.wire.errors import (
    IllegalTransitionError,
    MalformedMessageError,
    RunnerCrashError,
    RunnerHangError,
    RunnerMemoryError,
    RunnerOutputError,
    RuntimeLoadError,
)
from edgewright.wire.manifest import Limits, Tensor
from edgewright.wire.messages import Window
from tests.agent.line_rig import PATIENCE_S, LineRig, running_line
from tests.agent.tiny_models import Release, write_release

FRAME_EVERY_S = 0.01
"""A shadowed candidate needs some time between frames."""

TINY_LIMITS = Limits(
    golden_tolerance=0.01, latency_p99_us=500_000, memory_mb=1, shadow_frames=5, probation_frames=5
)


def _two_models(rig: LineRig, folder: Path) -> tuple[Release, Release]:
    """Version 2 active in slot b, version 1 warm in slot a, a machine connected."""
    old, new = write_release(folder, 1), write_release(folder, 2)
    rig.run("a", old)
    rig.run("b", new)
    rig.connect()
    return old, new


def _ask_while(rig: LineRig, condition: Callable[[Decision], bool], **frame: Any) -> list[Decision]:
    """Ask frame after frame, until a decision no longer meets the condition; all decisions."""
    decisions: list[Decision] = []

    def over() -> bool:
        sleep(FRAME_EVERY_S)
        decisions.append(rig.ask(f"frame-{len(decisions)}", **frame))
        return not condition(decisions[-1])

    rig.wait_for(over)
    return decisions


def _ask_until(rig: LineRig, source: str) -> list[Decision]:
    """Ask frame after frame until a decision has the source."""
    return _ask_while(rig, lambda decision: decision.source != source, level=200)


def _windows(rig: LineRig) -> list[Window]:
    rig.order(Stop())
    rig.process.wait(PATIENCE_S)
    return [ready.window for ready in rig.saw(WindowReady)]


def test_every_frame_gets_the_active_models_decision(tmp_path: Path) -> None:
    """Decisions come in the order of the frames, with label, confidence and version of the model."""
    with running_line(tmp_path) as rig:
        rig.run("a", write_release(tmp_path, 7))
        rig.connect()
        for i, level in enumerate((0, 100, 250) * 20):
            rig.send_frame(str(i), level)
        decisions = [rig.decision() for _ in range(60)]
        assert [d.item for d in decisions] == [str(i) for i in range(60)]
        assert [d.label for d in decisions[:3]] == ["dark", "grey", "bright"]
        assert {(d.source, d.version) for d in decisions} == {("active", 7)}
        assert all(0.4 < d.confidence <= 1 for d in decisions)


def test_a_line_without_a_model_falls_back(tmp_path: Path) -> None:
    """Before the first model, frames get a fallback decision, and the window says why."""
    with running_line(tmp_path) as rig:
        rig.connect()
        assert rig.ask("1", 100) == Decision(
            item="1", label="fallback", confidence=0.0, source="fallback", version=0
        )
        (window,) = _windows(rig)
        assert (window.version, window.frames, window.causes) == (0, 1, {"NoModel": 1})


def test_a_frame_that_cannot_be_read_gets_the_fallback(tmp_path: Path) -> None:
    """Shape and bytes that do not fit cost that frame its decision, not the line its life."""
    with running_line(tmp_path) as rig:
        rig.run("a", write_release(tmp_path))
        rig.connect()
        for shape in ((16, 16, 4), (0, 16, 3), (16, 17, 3), (-16, -16, 3)):
            rig.send_raw(Frame(item="bad", deadline_ms=500, shape=shape, pixels=bytes(16 * 16 * 3)))
            assert rig.decision().label == "manual lane"
        assert rig.ask("good", 0).label == "dark"


def test_bytes_that_are_no_frames_close_the_connection_only(tmp_path: Path) -> None:
    """A machine that speaks another language is disconnected; the next one is served."""
    with running_line(tmp_path) as rig:
        rig.run("a", write_release(tmp_path))
        rig.connect()
        assert rig.cell is not None
        rig.cell.sendall(b"\xff" * 64)
        assert rig.cell.recv(1) == b""
        rig.cell.close()
        rig.connect()
        assert rig.ask("1", 0).source == "active"


def test_a_new_machine_replaces_the_old_one(tmp_path: Path) -> None:
    """A second connection is served and the first is closed."""
    with running_line(tmp_path) as rig:
        rig.run("a", write_release(tmp_path))
        rig.connect()
        first = rig.cell
        rig.connect()
        assert rig.ask("1", 0).source == "active"
        assert first is not None
        assert first.recv(1) == b""
        first.close()
        assert stat.S_IMODE(rig.cell_path.stat().st_mode) == 0o600


def test_a_killed_runner_drops_no_frame(tmp_path: Path) -> None:
    """A kill -9 in mid-stream: each frame still gets a decision, and the runner is replaced."""
    with running_line(tmp_path) as rig:
        old, new = _two_models(rig, tmp_path)
        killed = rig.signal_runner(new, signal.SIGKILL)
        decisions = _ask_until(rig, "active")
        assert decisions[0].source == "standby"
        assert decisions[0].version == old.manifest.version
        assert {d.source for d in decisions} == {"standby", "active"}
        replaced = rig.saw(RunnerReplaced)
        assert [(r.slot, r.error) for r in replaced] == [("b", RunnerCrashError.number)]
        assert "signal 9" in replaced[0].detail
        assert rig.runner_of(new) != killed
        window = _windows(rig)[-1]
        assert window.frames == sum(window.by_source.values()) == len(decisions)
        assert window.causes == {"RunnerCrash": len(decisions) - 1}


def test_a_killed_runner_without_a_stand_in_means_the_fallback(tmp_path: Path) -> None:
    """With a single model, frames fall back until the new runner is warm."""
    with running_line(tmp_path) as rig:
        only = write_release(tmp_path)
        rig.run("a", only)
        rig.connect()
        rig.signal_runner(only, signal.SIGKILL)
        decisions = _ask_until(rig, "active")
        assert {(d.source, d.label) for d in decisions[:-1]} == {("fallback", "manual lane")}
        assert decisions[-1].label == "bright"


def test_a_stopped_runner_is_replaced_and_frames_keep_their_deadlines(tmp_path: Path) -> None:
    """SIGSTOP: the stand-in decides each frame while the runner hangs; then the runner is killed."""
    with running_line(tmp_path) as rig:
        _, new = _two_models(rig, tmp_path)
        stopped = rig.signal_runner(new, signal.SIGSTOP)
        decisions = _ask_while(rig, lambda _: not rig.saw(RunnerReplaced), level=200, deadline_ms=400)
        assert [r.error for r in rig.saw(RunnerReplaced)] == [RunnerHangError.number]
        # The new runner may be ready before the news of it is read here.
        while decisions[-1].source == "active":
            decisions.pop()
        assert {d.source for d in decisions} == {"standby"}
        rig.wait_for(lambda: stopped not in rig.runner_pids())
        assert _ask_until(rig, "active")[-1].version == 2


def test_one_late_answer_is_forgiven(tmp_path: Path) -> None:
    """A runner that was only slow for a moment is not replaced."""
    with running_line(tmp_path) as rig:
        _, new = _two_models(rig, tmp_path)
        pid = rig.signal_runner(new, signal.SIGSTOP)
        assert rig.ask("late", 200, deadline_ms=400).source == "standby"
        rig.signal_runner(new, signal.SIGCONT)
        assert _ask_until(rig, "active")[-1].source == "active"
        assert rig.saw(RunnerReplaced) == []
        assert rig.runner_of(new) == pid


def test_nonsense_is_no_decision(tmp_path: Path) -> None:
    """Outputs that are not finite are never decided on; repeated, they bring the other model back."""
    with running_line(tmp_path) as rig:
        rig.run("a", write_release(tmp_path, 1))
        rig.run("b", write_release(tmp_path, 2, fault="nan-when-bright"))
        rig.connect()
        assert rig.ask("dark", 0) == Decision(
            item="dark", label="dark", confidence=rig.ask("dark", 0).confidence, source="active", version=2
        )
        assert rig.ask("bright", 255).source == "standby"
        assert rig.expect(RunnerReplaced).error == RunnerOutputError.number
        decisions = _ask_while(rig, lambda _: not rig.saw(Broke), level=255)
        (broke,) = rig.saw(Broke)
        assert (broke.slot, broke.error, broke.now_active) == ("b", RunnerOutputError.number, "a")
        assert {d.version for d in decisions} == {1}
        assert rig.ask("after", 255) == Decision(
            item="after", label="bright", confidence=decisions[-1].confidence, source="active", version=1
        )


@pytest.mark.parametrize("probation_frames", [0, 100_000])
def test_repeated_crashes_bring_the_other_model_back(tmp_path: Path, probation_frames: int) -> None:
    """The third crash gives the model up, proven or on probation, without any order from outside."""
    with running_line(tmp_path) as rig:
        rig.run("a", write_release(tmp_path, 1))
        bad = write_release(tmp_path, 2)
        assert rig.load("b", bad).ok
        rig.order(Swap("b", probation_frames))
        rig.expect(Swapped)
        rig.connect()
        for _ in range(2):
            rig.signal_runner(bad, signal.SIGKILL)
            rig.expect(RunnerReplaced)
            _ask_until(rig, "active")
        rig.signal_runner(bad, signal.SIGKILL)
        broke = rig.expect(Broke)
        assert (broke.slot, broke.error, broke.now_active) == ("b", RunnerCrashError.number, "a")
        decision = rig.ask("after", 0)
        assert (decision.source, decision.version) == ("active", 1)
        rig.wait_for(lambda: list(rig.runner_pids().values()) == [str(tmp_path / "1.onnx")])


def test_a_proven_model_without_another_is_kept_alive(tmp_path: Path) -> None:
    """With nothing to go back to, the runner is replaced again and again, and comes back."""
    with running_line(tmp_path) as rig:
        only = write_release(tmp_path)
        rig.run("a", only)
        rig.connect()
        for _ in range(3):
            rig.signal_runner(only, signal.SIGKILL)
            rig.expect(RunnerReplaced)
            _ask_until(rig, "active")
        assert rig.saw(Broke) == []


def test_a_first_model_that_breaks_on_probation_leaves_the_fallback(tmp_path: Path) -> None:
    """With nothing to go back to, a model on probation is still given up after three crashes."""
    with running_line(tmp_path) as rig:
        bad = write_release(tmp_path)
        assert rig.load("a", bad).ok
        rig.order(Swap("a", 100_000))
        rig.expect(Swapped)
        rig.connect()
        for _ in range(2):
            rig.signal_runner(bad, signal.SIGKILL)
            rig.expect(RunnerReplaced)
            _ask_until(rig, "active")
        rig.signal_runner(bad, signal.SIGKILL)
        assert rig.expect(Broke).now_active is None
        assert rig.ask("after", 0).label == "manual lane"


def test_a_leaking_runner_is_replaced(tmp_path: Path) -> None:
    """A runner above the manifest's memory limit ends itself and says so."""
    with running_line(tmp_path) as rig:
        rig.run("a", write_release(tmp_path, limits=TINY_LIMITS))
        rig.connect()
        _ask_while(rig, lambda _: not rig.saw(RunnerReplaced), level=0)
        replaced = rig.saw(RunnerReplaced)[0]
        assert replaced.error == RunnerMemoryError.number
        assert "manifest allows 1" in replaced.detail


def test_swaps_under_load_drop_no_frame(tmp_path: Path) -> None:
    """Frames stream while models are shadowed and swapped ten times: one decision each, by a real model."""
    releases = [write_release(tmp_path, version) for version in range(1, 4)]
    decisions: list[Decision] = []
    stop = threading.Event()
    with running_line(tmp_path) as rig:
        rig.run("a", releases[0])
        rig.connect()

        def stream() -> None:
            while not stop.wait(FRAME_EVERY_S):
                i = len(decisions)
                decisions.append(rig.ask(str(i), 200, safe=i % 7 == 0))

        streaming = threading.Thread(target=stream)
        streaming.start()
        for i in range(1, 11):
            slot: SlotName = "b" if i % 2 else "a"
            assert rig.load(slot, releases[i % 3]).ok
            rig.order(Shadow(slot, 5))
            shadowed = rig.expect(Shadowed)
            assert (shadowed.ok, shadowed.frames, shadowed.agreement) == (True, 5, 1.0)
            rig.order(Swap(slot, 5))
            assert rig.expect(Swapped).gap_us > 0
            assert rig.expect(Proven).slot == slot
        stop.set()
        streaming.join()
        assert {decision.source for decision in decisions} == {"active"}
        assert sum(window.frames for window in _windows(rig)) == len(decisions)
        changes = [after.version for before, after in pairwise(decisions) if before.version != after.version]
        assert changes == [releases[i % 3].manifest.version for i in range(1, 11)]


def test_a_swap_waits_for_a_safe_tick(tmp_path: Path) -> None:
    """While the machine sends unsafe frames the old model decides; the first safe one lets the new one in."""
    with running_line(tmp_path) as rig:
        rig.run("a", write_release(tmp_path, 1))
        assert rig.load("b", write_release(tmp_path, 2)).ok
        rig.connect()
        rig.ask("first", 0, safe=False)
        rig.order(Swap("b", 2))
        for i in range(20):
            assert rig.ask(f"unsafe-{i}", 0, safe=False).version == 1
        assert rig.saw(Swapped)[1:] == []
        assert rig.ask("safe", 0).version == 1
        assert rig.ask("next", 0).version == 2
        assert rig.expect(Swapped).slot == "b"
        assert rig.saw(Proven)[1:] == []
        rig.ask("second", 0)
        assert rig.expect(Proven).slot == "b"


def test_a_deployment_completes_on_an_idle_line(tmp_path: Path) -> None:
    """Without any frame, shadowing is skipped, the swap happens and probation ends."""
    with running_line(tmp_path) as rig:
        rig.run("a", write_release(tmp_path, 1))
        assert rig.load("b", write_release(tmp_path, 2)).ok
        rig.order(Shadow("b", 50))
        assert rig.expect(Shadowed).frames == 0
        rig.order(Swap("b", 50))
        assert rig.expect(Swapped).slot == "b"
        assert rig.expect(Proven).slot == "b"


def test_a_candidate_that_breaks_while_shadowed_leaves_its_slot(tmp_path: Path) -> None:
    """Its shadowing fails with the error, the active model goes on, and the slot can be loaded again."""
    with running_line(tmp_path) as rig:
        rig.run("a", write_release(tmp_path, 1))
        bad = write_release(tmp_path, 2, fault="nan-when-bright")
        assert rig.load("b", bad).ok
        rig.connect()
        rig.order(Shadow("b", 50))
        decisions = _ask_while(rig, lambda _: not rig.saw(Shadowed), level=255)
        assert {decision.version for decision in decisions} == {1}
        (shadowed,) = rig.saw(Shadowed)
        assert (shadowed.ok, shadowed.error) == (False, RunnerOutputError.number)
        assert rig.load("b", write_release(tmp_path, 3)).ok


def test_an_artifact_that_is_no_model_is_not_loaded(tmp_path: Path) -> None:
    """The load fails with its number and without the device's paths; what runs goes on."""
    with running_line(tmp_path) as rig:
        rig.run("a", write_release(tmp_path, 1))
        rig.connect()
        for fault in ("nonsense-bytes", "unknown-operator"):
            loaded = rig.load("b", write_release(tmp_path, 2, fault))
            assert (loaded.ok, loaded.error) == (False, RuntimeLoadError.number)
            assert str(tmp_path) not in loaded.detail
            assert rig.ask("1", 0).version == 1


def test_a_manifest_that_contradicts_itself_is_not_loaded(tmp_path: Path) -> None:
    """Labels, a temperature or a shape that cannot be right are found before a runner starts."""
    shape = Tensor("x", "float32", (1, 3, 9, 9))
    with running_line(tmp_path) as rig:
        for changes in ({"labels": ("one", "two")}, {"temperature": 0.0}, {"input": shape}):
            loaded = rig.load("a", write_release(tmp_path, 1, **changes))
            assert (loaded.ok, loaded.error) == (False, MalformedMessageError.number)
        assert rig.runner_pids() == {}


def test_a_missing_manifest_is_not_loaded(tmp_path: Path) -> None:
    """A file that is not there is an answer, not a crash."""
    with running_line(tmp_path) as rig:
        rig.order(Load("a", str(tmp_path / "none.json"), str(tmp_path / "none.onnx")))
        assert rig.expect(Loaded).error == RuntimeLoadError.number


def test_orders_that_do_not_fit_are_answered(tmp_path: Path) -> None:
    """Orders to an empty slot, and a load of the active one, fail with the number of an illegal move."""
    with running_line(tmp_path) as rig:
        release = write_release(tmp_path)
        rig.run("a", release)
        rig.order(Shadow("b", 5))
        assert rig.expect(Shadowed).error == IllegalTransitionError.number
        rig.order(Swap("b", 5))
        broke = rig.expect(Broke)
        assert (broke.error, broke.now_active) == (IllegalTransitionError.number, "a")
        assert rig.load("a", release).error == IllegalTransitionError.number
        rig.connect()
        assert rig.ask("1", 0).source == "active"


def test_an_unloaded_slot_frees_its_runner(tmp_path: Path) -> None:
    """After Unload of the active slot no runner is left and frames fall back to the declared label."""
    with running_line(tmp_path) as rig:
        rig.run("a", write_release(tmp_path))
        rig.connect()
        rig.order(Unload("a"))
        rig.wait_for(lambda: not rig.runner_pids())
        assert rig.ask("1", 0).label == "manual lane"


def test_windows_are_cut_by_time_swap_and_tag(tmp_path: Path) -> None:
    """No window mixes versions or tags, and together they hold every frame."""
    with running_line(tmp_path, window_seconds=0.2) as rig:
        rig.run("a", write_release(tmp_path, 1))
        rig.connect()
        for i in range(20):
            rig.ask(f"a{i}", 0, tag="red" if i % 2 else "blue")
        rig.expect(WindowReady)
        rig.run("b", write_release(tmp_path, 2))
        for i in range(10):
            rig.ask(f"b{i}", 0, tag="red")
        counted: dict[tuple[int, str], int] = {}
        for window in _windows(rig):
            key = (window.version, window.tag)
            counted[key] = counted.get(key, 0) + window.frames
            assert window.device == "robot-1"
            assert window.model == "brightness"
        assert counted == {(1, "red"): 10, (1, "blue"): 10, (2, "red"): 10}


def test_truths_find_the_version_that_decided(tmp_path: Path) -> None:
    """Truths that come after a swap are counted against the old version; unknown items are ignored."""
    with running_line(tmp_path) as rig:
        rig.run("a", write_release(tmp_path, 1))
        rig.connect()
        rig.ask("1", 0)
        rig.ask("2", 250)
        rig.run("b", write_release(tmp_path, 2))
        rig.ask("3", 0)
        for item, truth in (("1", "dark"), ("2", "dark"), ("3", "dark"), ("never", "dark")):
            rig.send_raw(Outcome(item, truth))
        rig.ask("4", 0)
        outcomes = [outcome for window in _windows(rig) for outcome in window.outcomes]
        assert [(o.version, o.labelled, o.wrong) for o in outcomes] == [(1, 2, 1), (2, 1, 0)]


def test_a_captured_frame_goes_up_with_its_truth(tmp_path: Path) -> None:
    """With a share of 1 each labelled frame becomes one sample with decision and truth."""
    with running_line(tmp_path, capture_share=1.0) as rig:
        rig.run("a", write_release(tmp_path, 4))
        rig.connect()
        decision = rig.ask("i-1", 250, tag="red")
        rig.send_raw(Outcome("i-1", "grey"))
        sample = rig.expect(SampleReady).sample
        assert (sample.item, sample.tag, sample.truth, sample.version) == ("i-1", "red", "grey", 4)
        assert (sample.label, sample.confidence) == (decision.label, decision.confidence)
        assert (sample.reason, sample.probability) == ("random", 1.0)
        assert sample.image.startswith(b"\x89PNG")


def test_the_runners_end_with_the_line(tmp_path: Path) -> None:
    """A line that is killed leaves no runner behind, not even one that is stopped."""
    with running_line(tmp_path) as rig:
        rig.run("a", write_release(tmp_path))
        pid = rig.signal_runner(write_release(tmp_path), signal.SIGSTOP)
        rig.process.kill()
        rig.process.wait()
        rig.wait_for(lambda: not _alive(pid))


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state not in {"Z", "X"}
