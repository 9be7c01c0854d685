"""What counts as a wrong picture, and when a trouble begins and ends: numbers in, words out."""

import numpy as np
import pytest

from edgewright.agent.cell.looking import Looker
from edgewright.agent.cell.watch import (
    CALM_S,
    DAMAGED,
    FIRST_PICTURE_S,
    LEAST_SILENCE_S,
    Change,
    Look,
    PictureWatch,
)
from edgewright.agent.settings import SourceSettings
from edgewright.wire.cell import Fault
from tests.agent.cell_rig import picture

RIGHT = Look(640, 480, mean=110, deviation=50, change=7)
BLACK = Look(640, 480, mean=3, deviation=2.5, change=0.8)
STILL = Look(640, 480, mean=110, deviation=50, change=0)
RATE = 10.0


class Stream:
    """Feeds a watch at ten pictures a second and remembers what changed, and at which second."""

    def __init__(self, settings: SourceSettings, interval_s: float | None = 0.0) -> None:
        self.watch = PictureWatch(settings, interval_s, 0.0)
        self.now = 0.0
        self.changes: list[tuple[float, Change]] = []

    def show(self, look: Look, times: int = 1) -> list[Fault]:
        """So many pictures."""
        faults = []
        for _ in range(times):
            self.now += 1 / RATE
            fault, changes = self.watch.judge(look, self.now)
            faults.append(fault)
            self.changes += [(round(self.now, 1), change) for change in changes]
        return faults

    def wait(self, seconds: float, *, lost: bool = False) -> None:
        """So long without a picture."""
        for _ in range(round(seconds * RATE)):
            self.now += 1 / RATE
            changes = self.watch.silence(self.now, lost=lost)
            self.changes += [(round(self.now, 1), change) for change in changes]


@pytest.mark.parametrize(
    ("look", "fault"),
    [
        (RIGHT, ""),
        (DAMAGED, "DamagedPicture"),
        (BLACK, "BlackPicture"),
        (Look(640, 480, mean=14, deviation=5.5, change=3), "BlackPicture"),
        (Look(640, 480, mean=14, deviation=9.0, change=3), ""),
        (Look(640, 480, mean=200, deviation=1.9, change=3), "BlackPicture"),
        (Look(320, 240, mean=110, deviation=50, change=7), "Resolution"),
        (Look(640, 360, mean=3, deviation=2, change=7), "Resolution"),
    ],
)
def test_one_picture(look: Look, fault: Fault) -> None:
    """What is wrong with a picture by itself is said of the very first one."""
    assert Stream(SourceSettings(width=640, height=480)).show(look) == [fault]


def test_a_picture_too_large_for_the_line_is_a_wrong_size() -> None:
    """A picture that no message can carry is refused whatever the settings allow."""
    assert Stream(SourceSettings()).show(Look(3840, 2160, mean=110, deviation=50)) == ["Resolution"]


def test_a_frozen_picture_is_seen_at_its_number() -> None:
    """The picture counts as frozen from the last of the settings' equal pictures on, until it moves."""
    stream = Stream(SourceSettings(frozen_frames=5))
    stream.show(RIGHT, 3)
    # The last right one is the first of the equal ones.
    assert stream.show(STILL, 6) == ["", "", "", "FrozenPicture", "FrozenPicture", "FrozenPicture"]
    assert stream.show(RIGHT, 1) == [""]
    assert stream.show(STILL, 3) == ["", "", ""]


def test_limits_can_be_switched_off() -> None:
    """With zeros a still, even or black picture is a right one: synthetic sources may be so."""
    stream = Stream(SourceSettings(frozen_frames=0, even_deviation=0, lost_intervals=0))
    assert set(stream.show(Look(64, 48, mean=0, deviation=0, change=0), 500)) == {""}
    stream.wait(100)
    assert stream.changes == []


def test_a_trouble_is_told_once_at_begin_and_once_at_end() -> None:
    """Two black pictures are no story; the third begins it, and 5 s of right ones end it with its length."""
    stream = Stream(SourceSettings())
    stream.show(RIGHT, 10)
    stream.show(BLACK, 2)
    stream.show(RIGHT, 10)
    assert stream.changes == []
    stream.show(BLACK, 30)  # from 2.3 s to 5.2 s
    stream.show(RIGHT, 20)
    stream.show(BLACK, 1)  # at 7.3 s
    stream.show(RIGHT, 100)
    (begun_at, begun), (ended_at, ended) = stream.changes
    assert (begun_at, begun.name, begun.begun, begun.look) == (2.5, "BlackPicture", True, BLACK)
    assert (ended.name, ended.begun, ended.frames) == ("BlackPicture", False, 31)
    assert ended.seconds == pytest.approx(5.0)
    assert ended_at == pytest.approx(7.3 + CALM_S, abs=0.11)


def test_a_loose_cable_fills_no_feed() -> None:
    """A trouble that returns every ten seconds for an hour is told fewer than 20 times."""
    stream = Stream(SourceSettings())
    for _ in range(360):
        stream.show(BLACK, 10)
        stream.show(RIGHT, 90)
    begun = [change for _, change in stream.changes if change.begun]
    assert 1 <= len(begun) < 20


def test_a_camera_that_stops_is_lost_after_its_intervals() -> None:
    """A measured camera of 10 pictures a second is lost after 2 s; one of 1 a second after ten."""
    quick = Stream(SourceSettings())
    quick.show(RIGHT, 50)
    quick.wait(30)
    quick.show(RIGHT, 100)
    (begun_at, begun), (_, ended) = quick.changes
    assert (begun.name, ended.name) == ("SourceLost", "SourceLost")
    assert begun_at == pytest.approx(5 + LEAST_SILENCE_S, abs=0.21)
    assert ended.seconds == pytest.approx(30, abs=0.2)
    slow = Stream(SourceSettings(frames_per_second=1), interval_s=1.0)
    slow.show(RIGHT, 1)
    slow.wait(9.9)
    assert not slow.changes
    slow.wait(0.5)
    assert [change.name for _, change in slow.changes] == ["SourceLost"]


def test_a_camera_that_never_comes_is_lost() -> None:
    """Without a first picture a camera is lost after 10 s, and after 2 s where it cannot be opened."""
    stream = Stream(SourceSettings())
    stream.wait(FIRST_PICTURE_S - 0.2)
    assert not stream.changes
    stream.wait(1)
    assert [change.name for _, change in stream.changes] == ["SourceLost"]
    closed = Stream(SourceSettings())
    closed.wait(LEAST_SILENCE_S + 0.3, lost=True)
    assert [change.name for _, change in closed.changes] == ["SourceLost"]


def test_a_folder_may_be_idle_and_not_gone() -> None:
    """A source without a pace is not lost by silence, but by being unreadable, and back without a picture."""
    folder = Stream(SourceSettings(), interval_s=None)
    folder.show(RIGHT, 1)
    folder.wait(3600)
    assert not folder.changes
    folder.wait(10, lost=True)
    folder.wait(20)
    assert [(change.name, change.begun) for _, change in folder.changes] == [
        ("SourceLost", True),
        ("SourceLost", False),
    ]
    assert folder.changes[1][1].seconds == pytest.approx(10, abs=0.2)


def test_looking_at_real_pixels() -> None:
    """Equal bytes have no change, one other byte off the grid has some; black has no mean, no deviation."""
    looker = Looker(0.0)
    shown = picture(1, 640, 480)
    first = looker.look(shown, shown.tobytes())
    assert (first.width, first.height) == (640, 480)
    assert first.deviation > 40
    assert looker.look(shown, shown.tobytes()).change == 0
    other = shown.copy()
    other[0, 0, 0] ^= 1
    assert 0 < looker.look(other, other.tobytes()).change < 0.001
    black = np.zeros((480, 640, 3), np.uint8)
    assert looker.look(black, black.tobytes())[2:4] == (0, 0)


def test_slow_movement_is_no_frozen_picture() -> None:
    """Pictures are compared with the first of the equal ones, so a slow change adds up."""
    looker = Looker(1.0)
    shown = picture(1, 640, 480) // 2
    changes = [looker.look(shown + n, (shown + n).tobytes()).change for n in range(5)]
    # The first has nothing before it; then one level is equal, two are not, and the next one begins anew.
    assert changes[1:] == [1.0, 2.0, 1.0, 2.0]
