"""Truths that come late, repeated, early or after a restart, and what the line remembers for them."""

from pathlib import Path
from random import Random

import numpy as np
import pytest

from edgewright.agent.control import Up, WindowReady
from edgewright.agent.earlytruths import EARLY_S
from edgewright.agent.line.capture import CapturePlan
from edgewright.agent.line.deciding import Ruling
from edgewright.agent.line.observing import Observer
from edgewright.agent.line.recent import RECENT_ITEMS, Decided
from edgewright.agent.line.remembered import FILE_NAMES, SEALED_ITEMS, Remembered
from edgewright.agent.line.statistics import Scores
from edgewright.wire.cell import Decision, Frame, Outcome

ROOM = 4 * 1024 * 1024


def _decided(number: int) -> Decided:
    return Decided(number % 3 + 1, f"class {number % 5}", "sku", grace=number % 2 == 0, confidence=0.5)


def _started(folder: Path) -> Remembered:
    """A memory on the disk that has heard its first truth."""
    memory = Remembered(folder, ROOM)
    assert memory.take("nobody's") == "unknown"
    return memory


def test_nothing_is_written_before_the_first_truth(tmp_path: Path) -> None:
    """A line that hears no truths writes no decisions."""
    memory = Remembered(tmp_path, ROOM)
    for number in range(100):
        memory.remember(str(number), _decided(number))
    memory.flush()
    assert not list(tmp_path.iterdir())


def test_a_truth_hours_later_finds_its_decision_once(tmp_path: Path) -> None:
    """Beyond the 20,000 in memory every decision is found on the disk as it was, and only once."""
    memory = _started(tmp_path)
    count = RECENT_ITEMS + 2 * SEALED_ITEMS + 100
    for number in range(count):
        memory.remember(f"item-{number}", _decided(number))
        if number % 500 == 0:
            memory.flush()
    memory.flush()
    for number in (0, 1, SEALED_ITEMS, count - RECENT_ITEMS - 1, count - 1):
        assert memory.take(f"item-{number}") == _decided(number)
        assert memory.take(f"item-{number}") == "repeated"
    assert (memory.take("item-x"), memory.repeated) == ("unknown", 5)
    memory.close()


def test_a_restarted_line_counts_late_truths_and_none_twice(tmp_path: Path) -> None:
    """After a restart the decisions are there, those whose truth had come are repeated, and new ones join."""
    memory = _started(tmp_path)
    for number in range(50):
        memory.remember(str(number), _decided(number))
    assert memory.take("3") == _decided(3)
    memory.flush()
    assert memory.take("4") == _decided(4)
    memory.close()
    again = Remembered(tmp_path, ROOM)
    assert [again.take(item) for item in ("3", "4")] == ["repeated", "repeated"]
    assert again.take("5") == _decided(5)
    again.remember("3", _decided(8))
    assert again.take("3") == _decided(8)
    again.close()


def test_a_killed_line_has_counted_nothing_of_what_it_had_not_told(tmp_path: Path) -> None:
    """A truth taken after the last window was handed over is not marked: told again, it counts."""
    memory = _started(tmp_path)
    memory.remember("1", _decided(1))
    memory.flush()
    assert memory.take("1") == _decided(1)
    assert Remembered(tmp_path, ROOM).take("1") == _decided(1)


def test_a_torn_or_foreign_file_costs_its_end_only(tmp_path: Path) -> None:
    """Cut at any byte of its last record, the file gives all others; one that is none begins anew."""
    memory = _started(tmp_path)
    for number in range(3):
        memory.remember(str(number), _decided(number))
    memory.close()
    path = tmp_path / FILE_NAMES[0]
    whole = path.read_bytes()
    for cut in range(len(whole) - 20, len(whole)):
        path.write_bytes(whole[:cut])
        torn = Remembered(tmp_path, ROOM)
        assert [torn.take(str(number)) for number in range(3)] == [_decided(0), _decided(1), "unknown"]
        torn.remember("9", _decided(9))
        torn.close()
        assert Remembered(tmp_path, ROOM).take("9") == _decided(9)
    path.write_bytes(Random(2).randbytes(5000))
    other = Remembered(tmp_path, ROOM)
    assert other.take("1") == "unknown"
    other.remember("1", _decided(1))
    other.close()
    assert Remembered(tmp_path, ROOM).take("1") == _decided(1)


def test_the_files_keep_to_their_room(tmp_path: Path) -> None:
    """With room for 100 KiB the newest are there after a restart, the oldest not, and none counts twice."""
    room = 100 * 1024
    memory = Remembered(tmp_path, room)
    memory.take("first")
    for number in range(10_000):
        memory.remember(str(number), _decided(number))
        if number % 100 == 0:
            memory.flush()
    early = str(10_000 - 1500)
    assert memory.take(early) == _decided(10_000 - 1500)
    memory.close()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < room + 10_000
    again = Remembered(tmp_path, room)
    assert (again.take("0"), again.take("9999"), again.take(early)) == (
        "unknown",
        _decided(9999),
        "repeated",
    )


def test_a_disk_that_takes_nothing_leaves_the_memory(tmp_path: Path) -> None:
    """Without a folder decisions are remembered in memory as before."""
    memory = Remembered(tmp_path / "missing", ROOM)
    memory.remember("1", _decided(1))
    assert (memory.take("1"), memory.take("1"), memory.take("2")) == (_decided(1), "repeated", "unknown")
    memory.flush()
    memory.close()


class _Line:
    """An observer, and its windows."""

    def __init__(self, folder: Path) -> None:
        self.windows: list[WindowReady] = []
        self.observer = Observer(
            self._take, "d", CapturePlan(0.0, folder=folder, memory_bytes=ROOM), Random(1), 0.0
        )
        self.observer.runs("m", 1, 0.0)

    def _take(self, message: Up) -> None:
        if isinstance(message, WindowReady):
            self.windows.append(message)

    def see(self, item: str, now: float) -> None:
        """Decide an item as bag."""
        decision = Decision(item=item, label="bag", confidence=0.9, source="active", version=1)
        pixels = np.zeros((8, 8, 3), np.uint8)
        frame = Frame(item=item, deadline_ms=50, shape=(8, 8, 3), pixels=b"")
        self.observer.see(frame, Ruling(decision, Scores(0, 0.9, 0.8, 0.1), "", pixels), now, now, 1.7e9)

    def counted(self, now: float) -> tuple[int, int, int]:
        """Labelled, wrong and unknown in the windows until now."""
        self.observer.cut(now)
        outcomes = [one for ready in self.windows for one in ready.window.outcomes]
        unknown = sum(ready.window.unknown_truths for ready in self.windows)
        return sum(one.labelled for one in outcomes), sum(one.wrong for one in outcomes), unknown


def test_each_kind_of_truth_has_its_outcome(tmp_path: Path) -> None:
    """Late, early, wrong, partial, repeated and unknown truths: each counts once or not at all."""
    line = _Line(tmp_path)
    line.observer.learn(Outcome("early", "bag"), 0.0, 1.7e9)
    for item in ("early", "late", "wrong", "never told"):
        line.see(item, 1.0)
    for item, truth in (("late", "bag"), ("wrong", "boot"), ("late", "boot"), ("unknown", "bag")):
        line.observer.learn(Outcome(item, truth), 2.0, 1.7e9)
    assert line.counted(3.0) == (3, 1, 0)
    line.observer.tick(2.0 + EARLY_S + 1)
    assert line.counted(200.0) == (3, 1, 1)


def test_truths_count_once_over_restarts_of_the_line(tmp_path: Path) -> None:
    """The whole file of truths is told again to a restarted line: only what was not counted counts."""
    first = _Line(tmp_path)
    first.observer.learn(Outcome("nobody's", "bag"), 0.0, 1.7e9)
    for number in range(20):
        first.see(str(number), 1.0)
    for number in range(12):
        first.observer.learn(Outcome(str(number), "bag"), 2.0, 1.7e9)
    first.observer.close(3.0)
    assert first.counted(3.0)[0] == 12
    second = _Line(tmp_path)
    for number in range(20):
        second.observer.learn(Outcome(str(number), "bag"), 4.0, 1.7e9)
    assert second.counted(5.0)[0] == 8


@pytest.mark.parametrize("restarted", [False, True])
def test_a_truth_finds_decisions_of_its_model_only(tmp_path: Path, restarted: bool) -> None:
    """After a line changed to another model a late truth of the one before is no outcome of that."""
    line = _Line(tmp_path)
    line.observer.learn(Outcome("nobody's", "bag"), 0.0, 1.7e9)
    for item in ("a", "b"):
        line.see(item, 1.0)
    if restarted:
        line.observer.close(2.0)
        line = _Line(tmp_path)
    line.observer.runs("other", 1, 3.0)
    line.observer.learn(Outcome("a", "boot"), 4.0, 1.7e9)
    assert line.counted(5.0)[:2] == (0, 0)
    line.observer.runs("m", 1, 6.0)
    line.observer.learn(Outcome("b", "boot"), 7.0, 1.7e9)
    assert line.counted(8.0)[:2] == (1, 1)


@pytest.mark.parametrize("label", ["x" * 300, "\U0001f9e6" * 64, ""])
def test_long_labels_are_remembered_short_enough(tmp_path: Path, label: str) -> None:
    """A record takes 255 bytes at most, and the version is right whatever the label."""
    memory = _started(tmp_path)
    memory.remember("1", Decided(2**31, label, label))
    memory.close()
    found = Remembered(tmp_path, ROOM).take("1")
    assert isinstance(found, Decided)
    assert found.version == 2**31
    assert label.startswith(found.label)
