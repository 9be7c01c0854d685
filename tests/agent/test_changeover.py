"""Frames after a changeover are counted apart, and so are the truths of their items."""

from random import Random

import pytest

from edgewright.agent.control import Up, WindowReady
from edgewright.agent.earlytruths import EARLY_S
from edgewright.agent.line.capture import CapturePlan
from edgewright.agent.line.changeover import (
    CLOSE_CHANGEOVERS,
    DEFAULT_FRAMES,
    MIXED_TIMES,
    SETTLED_TIMES,
    Changeovers,
)
from edgewright.agent.line.deciding import Ruling
from edgewright.agent.line.observing import Observer
from edgewright.agent.line.statistics import score
from edgewright.wire.cell import Decision, Frame, Outcome
from edgewright.wire.messages import Window


class Watched:
    """An observer, fed frame by frame, and the windows that it sends."""

    def __init__(self, changeover_frames: int) -> None:
        self.windows: list[Window] = []
        self.observer = Observer(self._sent, "robot-1", CapturePlan(), Random(1), 0.0)
        self.observer.runs("network", 1, 0.0, changeover_frames)
        self._items = 0

    def _sent(self, message: Up) -> None:
        if isinstance(message, WindowReady):
            self.windows.append(message.window)

    def see(self, tag: str, frames: int) -> list[str]:
        """Decide so many frames as ``bag``; their items."""
        items = []
        for _ in range(frames):
            self._items += 1
            item = f"i-{self._items}"
            frame = Frame(item=item, deadline_ms=50, shape=(0, 0, 3), pixels=b"", tag=tag)
            decision = Decision(item=item, label="bag", confidence=0.9, source="active", version=1)
            self.observer.see(frame, Ruling(decision, score([3.0, 0.0], 1.0), "", None), 0.0, 0.001, 1.7e9)
            items.append(item)
        return items

    def cut(self) -> dict[tuple[str, bool], Window]:
        """The windows since the last cut, by tag and grace."""
        self.windows.clear()
        self.observer.cut(1.0)
        return {(window.tag, window.grace): window for window in self.windows}


def test_frames_after_a_changeover_are_counted_apart() -> None:
    """The first frames of the new tag are a window in grace, the others one of the settled line."""
    line = Watched(changeover_frames=5)
    line.see("shirts", 30)
    line.see("shoes", 12)
    frames = {who: window.frames for who, window in line.cut().items()}
    assert frames == {("shirts", False): 30, ("shoes", True): 5, ("shoes", False): 7}


def test_truths_of_frames_in_grace_are_told_in_grace() -> None:
    """A truth that comes minutes later still counts in grace where its frame did, and nowhere else."""
    line = Watched(changeover_frames=5)
    line.see("shirts", 10)
    items = line.see("shoes", 10)
    line.cut()
    for item in items:
        line.observer.learn(Outcome(item, "shoe"), 2.0, 1.7e9)
    windows = line.cut()
    assert windows.keys() == {("shoes", True), ("shoes", False)}
    assert [windows["shoes", grace].outcomes[0].labelled for grace in (True, False)] == [5, 5]


def test_the_first_tag_is_no_changeover() -> None:
    """A line that starts, or is replaced, has changed nothing over."""
    line = Watched(changeover_frames=5)
    line.see("shirts", 3)
    assert list(line.cut()) == [("shirts", False)]


def test_a_line_that_mixes_tags_is_settled() -> None:
    """Tags that alternate have grace once, when the second one first comes."""
    line = Watched(changeover_frames=4)
    for _ in range(50):
        line.see("left", 1)
        line.see("right", 1)
    windows = line.cut()
    in_grace = sum(window.frames for (_, grace), window in windows.items() if grace)
    assert in_grace == 4
    assert sum(window.frames for window in windows.values()) == 100


def test_a_tag_that_comes_back_after_long_has_grace_again() -> None:
    """A recipe that was not seen for ten graces is changed over to; one that was away for less is not."""
    changeovers = Changeovers(frames=3)
    assert not any(changeovers.grace("a") for _ in range(5))
    away = MIXED_TIMES * 3
    assert sum(changeovers.grace("b") for _ in range(away)) == 3
    assert sum(changeovers.grace("a") for _ in range(away + 5)) == 3
    assert sum(changeovers.grace("b") for _ in range(away - 1)) == 3
    assert sum(changeovers.grace("a") for _ in range(3)) == 0


def test_no_grace_is_a_choice() -> None:
    """With no changeover frames every frame is of the settled line."""
    line = Watched(changeover_frames=0)
    line.see("shirts", 3)
    line.see("shoes", 3)
    assert not any(grace for _, grace in line.cut())


def test_a_thousand_tags_are_remembered_within_bounds() -> None:
    """A machine that tells a new tag with every frame costs no memory."""
    changeovers = Changeovers(frames=5)
    for i in range(1000):
        changeovers.grace(f"tag {i}")
    assert len(changeovers.__dict__["_left"]) <= 257


@pytest.mark.parametrize("tags", [80, 100, 1_000, 1_000_000])
def test_a_line_that_mixes_many_tags_is_evidence(tags: int) -> None:
    """However many tags a line mixes, and be it one for each item, at most one frame in five is in grace."""
    random, frames = Random(1), 10_000
    changeovers = Changeovers()
    in_grace = sum(changeovers.grace(f"tag {random.randrange(tags)}") for _ in range(frames))
    assert in_grace <= frames / SETTLED_TIMES + CLOSE_CHANGEOVERS * DEFAULT_FRAMES


def test_changeovers_that_follow_each_other_have_grace() -> None:
    """Three recipes that are tried out shortly, one after the other, have grace each."""
    changeovers = Changeovers(frames=5)
    assert not any(changeovers.grace("a") for _ in range(100))
    for tag in ("b", "c", "d"):
        assert sum(changeovers.grace(tag) for _ in range(8)) == 5


def test_truths_of_unknown_items_are_told() -> None:
    """A truth whose decision does not come is counted in a window; a second one of an item counts nowhere."""
    line = Watched(changeover_frames=5)
    (item,) = line.see("shirts", 1)
    for told in ("never seen", item, item):
        line.observer.learn(Outcome(told, "bag"), 1.0, 1.7e9)
    line.observer.tick(1.0 + EARLY_S + 1)
    window = line.cut()["shirts", False]
    assert (window.unknown_truths, window.outcomes[0].labelled) == (1, 1)
