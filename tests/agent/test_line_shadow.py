"""What a shadowed candidate may cost: time that the line does not need, and nothing else."""

import os
from pathlib import Path
from time import sleep

import pytest

from edgewright.agent.control import Proven, SampleReady, Shadow, Shadowed, Swap, Swapped
from edgewright.agent.line.pace import Pace
from edgewright.agent.line.runnerprocess import SHADOW_NICE
from edgewright.wire.cell import Frame, Outcome
from tests.agent.line_rig import LineRig, running_line
from tests.agent.tiny_models import write_release

OTHER_LABELS = ("dark", "grey", "glossy")


def _nice(pid: int) -> set[int]:
    return {
        os.getpriority(os.PRIO_PROCESS, int(thread.name)) for thread in Path(f"/proc/{pid}/task").iterdir()
    }


def _shadowed(rig: LineRig, every_s: float, level: int = 255) -> Shadowed:
    def result() -> list[Shadowed]:
        sleep(every_s)
        rig.ask("frame", level)
        return rig.saw(Shadowed)

    return rig.wait_for(result)[0]


def test_slack_is_the_time_until_the_earliest_next_frame() -> None:
    """Nothing is known of a line's pace at first; then a short interval counts, never less than 0."""
    pace = Pace()
    for at in (0.0, 1.0, 2.0):
        pace.frame(at)
        assert pace.slack_s(at) == 0.0
    pace.frame(2.4)
    assert pace.slack_s(2.5) == pytest.approx(0.3)
    assert pace.slack_s(9.0) == 0.0
    for at in range(3, 30):
        pace.frame(float(at))
    assert pace.slack_s(29.5) == pytest.approx(0.5)


def test_frames_without_time_between_them_are_not_shadowed(tmp_path: Path) -> None:
    """A line at full speed decides every frame and shows the candidate none; at rest it has the time."""
    with running_line(tmp_path) as rig:
        rig.run("a", write_release(tmp_path, 1))
        assert rig.load("b", write_release(tmp_path, 2)).ok
        rig.connect()
        for i in range(10):
            for j in range(30):
                rig.send_frame(f"burst-{i}-{j}", 0)
            if i == 1:
                rig.order(Shadow("b", 5))
            assert {rig.decision().version for _ in range(30)} == {1}
        assert rig.saw(Shadowed) == []
        result = _shadowed(rig, every_s=0.01)
        assert (result.ok, result.frames) == (True, 5)
        assert result.skipped > 0


def test_a_candidate_gives_way_until_it_is_shadowed(tmp_path: Path) -> None:
    """All threads of its runner are nicer than the line's while it is shadowed, and no longer."""
    new = write_release(tmp_path, 2)
    with running_line(tmp_path) as rig:
        rig.run("a", write_release(tmp_path, 1))
        assert rig.load("b", new).ok
        rig.connect()
        before = _nice(rig.runner_of(new))
        rig.order(Shadow("b", 10_000))
        rig.wait_for(lambda: _nice(rig.runner_of(new)) == {SHADOW_NICE})
        assert _shadowed_is_called_off(rig)
        assert _nice(rig.runner_of(new)) == before


def _shadowed_is_called_off(rig: LineRig) -> bool:
    return {held.standing for held in rig.adopt().held} == {"active", "candidate"}


def test_a_candidate_that_disagrees_is_measured_and_decides_nothing(tmp_path: Path) -> None:
    """Agreement counts the frames with the same label; the machine only ever gets the active model's."""
    with running_line(tmp_path) as rig:
        rig.run("a", write_release(tmp_path, 1))
        assert rig.load("b", write_release(tmp_path, 2, labels=OTHER_LABELS)).ok
        rig.connect()
        rig.order(Shadow("b", 10))
        labels: list[str] = []
        while not rig.saw(Shadowed):
            sleep(0.01)
            labels.append(rig.ask(str(len(labels)), 250 if len(labels) % 2 else 0).label)
        (shadowed,) = rig.saw(Shadowed)
        assert shadowed.frames == 10
        assert 0 < shadowed.agreement < 1
        assert shadowed.worst == "bright"
        assert [(one.decided, one.candidate) for one in shadowed.disagreements] == [("bright", "glossy")]
        assert shadowed.disagreements[0].frames == round(10 * (1 - shadowed.agreement))
        assert set(labels) == {"dark", "bright"}


def test_frames_on_which_the_candidate_disagrees_are_captured(tmp_path: Path) -> None:
    """A few frames go up as samples of their own reason, with the active model's decision."""
    with running_line(tmp_path, window_seconds=0.5) as rig:
        rig.run("a", write_release(tmp_path, 1))
        assert rig.load("b", write_release(tmp_path, 2, labels=OTHER_LABELS)).ok
        rig.connect()
        rig.order(Shadow("b", 12))
        result = _shadowed(rig, every_s=0.01)
        assert (result.frames, result.agreement, result.worst) == (12, 0.0, "bright")
        assert "worst class bright (bright as glossy 12)" in result.words
        rig.send_raw(Frame(item="none", deadline_ms=1, shape=(1, 1, 3), pixels=b"abc"))
        sample = _labelled(rig)
        assert (sample.sample.reason, sample.sample.label, sample.sample.version) == (
            "disagreeing",
            "bright",
            1,
        )


def _labelled(rig: LineRig) -> SampleReady:
    rig.send_raw(Outcome("frame", "grey"))
    return rig.expect(SampleReady)


@pytest.mark.parametrize("order", [Shadow("b", 1000), Swap("b", 1000)])
def test_frames_that_cannot_be_read_end_the_waiting(tmp_path: Path, order: Shadow | Swap) -> None:
    """Shadowing and probation end by time where nothing but unreadable frames comes."""
    with running_line(tmp_path) as rig:
        rig.run("a", write_release(tmp_path, 1))
        assert rig.load("b", write_release(tmp_path, 2)).ok
        rig.order(order)
        if isinstance(order, Swap):
            rig.expect(Swapped)
        ends = Shadowed if isinstance(order, Shadow) else Proven
        before = len(rig.saw(ends))

        def ended() -> bool:
            # A connection for each: the line waits longer while a cell is connected.
            rig.connect()
            rig.send_raw(Frame(item="bad", deadline_ms=500, shape=(16, 16, 4), pixels=bytes(768)))
            rig.decision()
            assert rig.cell is not None
            rig.cell.close()
            sleep(0.05)
            return len(rig.saw(ends)) > before

        rig.wait_for(ended)
