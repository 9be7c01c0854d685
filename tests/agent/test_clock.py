"""Trusted time: floors, signed time, and clocks that are eleven years off."""

from pathlib import Path

import pytest

from edgewright.agent.clock import ANSWER_SECONDS, BUILD_TIME, REPEAT_SECONDS, Clock
from edgewright.agent.database import Database
from edgewright.agent.journal import Journal
from edgewright.wire.assignment import Orders
from edgewright.wire.errors import UntrustedClockError
from tests.agent.test_journal import assignment

NOW = BUILD_TIME + 400 * 86_400
YEARS = 11 * 365.25 * 86_400


class Device:
    """A clock over a journal, and the time that goes by."""

    def __init__(self, folder: Path, off: float = 0.0, *, synchronized: bool = True) -> None:
        self.off, self.elapsed = off, 0.0
        self.journal = Journal(Database(folder / "agent.db"))
        self.synchronized = synchronized
        self.clock = self.restart()

    def restart(self) -> Clock:
        """The clock of a new process over the same journal."""
        self.clock = Clock(
            self.journal,
            lambda: NOW + self.off + self.elapsed,
            lambda: self.elapsed,
            lambda: self.synchronized,
        )
        return self.clock

    @property
    def truth(self) -> float:
        """What the controller's clock says."""
        return NOW + self.elapsed


def answer(device: Device, nonce: str) -> Orders:
    """Orders that the controller issues now for a hello with a nonce."""
    return Orders("robot-1", device.truth, 1, 1, 1, nonce=nonce)


@pytest.mark.parametrize("off", [-YEARS, YEARS])
def test_a_clock_eleven_years_off_is_set_by_signed_time(tmp_path: Path, off: float) -> None:
    """Slow or fast by years, one answer to the device's own question brings the right time."""
    device = Device(tmp_path, off)
    device.clock.suspect()
    assert device.clock.due()
    orders = answer(device, device.clock.question())
    assert device.clock.answers(orders)
    assert isinstance(device.clock.set_by(orders), UntrustedClockError)
    assert device.clock.now() == pytest.approx(device.truth)
    assert not device.clock.due()
    device.elapsed = 1000.0
    assert device.restart().now() == pytest.approx(device.truth)
    assert device.clock.check() is None


def test_a_replayed_answer_sets_nothing(tmp_path: Path) -> None:
    """An answer to an earlier question is none to this one, and one that was used is used up."""
    device = Device(tmp_path)
    device.clock.suspect()
    old = answer(device, device.clock.question())
    device.clock.set_by(old)
    assert not device.clock.answers(old)
    device.clock.suspect()
    device.clock.question()
    assert not device.clock.answers(old)
    assert not device.clock.answers(answer(device, ""))


def test_a_late_answer_sets_nothing(tmp_path: Path) -> None:
    """An answer that was held back would set the clock back by its delay: after ten minutes it is refused."""
    device = Device(tmp_path)
    device.clock.suspect()
    orders = answer(device, device.clock.question())
    device.elapsed = ANSWER_SECONDS + 1
    assert not device.clock.answers(orders)


def test_an_unanswered_question_is_asked_again(tmp_path: Path) -> None:
    """The question is repeated with its nonce, and a stale one gets a new nonce."""
    device = Device(tmp_path)
    device.clock.suspect()
    first = device.clock.question()
    assert not device.clock.due()
    device.elapsed = REPEAT_SECONDS
    assert device.clock.due()
    assert device.clock.question() == first
    device.elapsed = ANSWER_SECONDS
    assert device.clock.question() != first


def test_time_never_falls_below_what_was_signed(tmp_path: Path) -> None:
    """The floor is the build time, then the newest accepted assignment; a clock before it is told once."""
    device = Device(tmp_path, -YEARS)
    assert device.clock.now() == BUILD_TIME
    device.journal.accept(assignment(int(NOW)), 0.0)
    floor = device.journal.device().clock
    assert device.clock.now() == floor > BUILD_TIME
    told = device.clock.check()
    assert told is not None
    assert told.number == 28
    assert device.clock.check() is None
    assert device.clock.due()


def test_a_right_clock_asks_nothing(tmp_path: Path) -> None:
    """A clock that the system has set and that nothing contradicts sends no question."""
    device = Device(tmp_path)
    assert device.clock.check() is None
    assert not device.clock.due()
    assert device.clock.question() == ""


def test_a_first_start_without_synchronised_time_asks(tmp_path: Path) -> None:
    """Where nobody has said that the clock is right the first hello asks; later ones do not."""
    device = Device(tmp_path, synchronized=False)
    orders = answer(device, device.clock.question())
    assert orders.nonce
    assert device.clock.set_by(orders) is None
    assert device.restart().question() == ""


def test_a_clock_that_jumps_is_held_against_signed_time(tmp_path: Path) -> None:
    """A clock that is set by hand while the agent runs makes the old offset doubtful: the device asks."""
    device = Device(tmp_path, -YEARS)
    device.clock.suspect()
    device.clock.set_by(answer(device, device.clock.question()))
    device.off = 0.0
    device.clock.check()
    assert device.clock.due()
    device.clock.set_by(answer(device, device.clock.question()))
    assert device.clock.now() == pytest.approx(device.truth)
