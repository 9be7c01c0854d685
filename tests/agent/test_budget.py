"""The bytes of a day: over restarts, boots, power cuts and clocks that jump."""

from pathlib import Path

import pytest

from edgewright.agent.budget import DAY_SLOTS, FILE_NAME, SLOT_SECONDS, STEP_BYTES, Budget
from edgewright.wire.errors import ByteBudgetError, StorageFullError

MIB = 1024 * 1024
LIMIT = 50 * MIB
DAY = 86_400.0
NOW = 1_800_000_000.0


class Machine:
    """A machine's time, and budgets of its agent's lives.

    Attributes:
        uptime: seconds since it booted.
        clock: what its trusted clock says.
        boot: which boot it is.
        signed: the newest time that was signed for it.
    """

    def __init__(self, folder: Path, limit: int = LIMIT) -> None:
        self.uptime, self.clock, self.boot = 100.0, NOW, "one"
        self.signed = 0.0
        self._path, self._limit = folder / FILE_NAME, limit

    def start(self) -> Budget:
        """The agent starts, and a job begins."""
        budget = Budget(self._path, self._limit, lambda: self.uptime, self.boot)
        budget.begin(self.clock, self.signed)
        return budget

    def passes(self, seconds: float) -> None:
        """Time passes, for the clock too."""
        self.uptime += seconds
        self.clock += seconds

    def reboots(self) -> None:
        """The machine starts again; how long it was off only its clock tells."""
        self.uptime, self.boot = 5.0, self.boot + "+"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine that is up."""
    return Machine(tmp_path)


def take(budget: Budget, length: int) -> None:
    """Ask for bytes and get them."""
    budget.demand(length)
    budget.spend(length)


def test_what_does_not_fit_is_refused_before_it_is_asked_for(machine: Machine) -> None:
    """Up to the limit everything fits, one byte more does not, and nothing is counted for it."""
    budget = machine.start()
    take(budget, LIMIT - 10)
    budget.demand(10)
    with pytest.raises(ByteBudgetError):
        budget.demand(11)
    assert budget.left == 10


def test_a_restart_refills_nothing(machine: Machine) -> None:
    """What was taken before the agent's end is counted after it, to the byte where it ended in order."""
    budget = machine.start()
    take(budget, 7 * MIB)
    budget.end()
    assert machine.start().left == LIMIT - 7 * MIB


def test_a_power_cut_counts_what_may_have_come(machine: Machine) -> None:
    """Without an orderly end the next life counts at least what came, and at most a step more."""
    budget = machine.start()
    for _ in range(20):
        take(budget, 128 * 1024)
    machine.reboots()
    left = machine.start().left
    assert LIMIT - 20 * 128 * 1024 - STEP_BYTES - 128 * 1024 <= left <= LIMIT - 20 * 128 * 1024


def test_a_day_later_it_is_fresh(machine: Machine) -> None:
    """After 24 hours and at most a quarter, everything fits again; shortly before, nothing does."""
    budget = machine.start()
    take(budget, LIMIT)
    wait = budget.seconds_until(LIMIT)
    assert DAY <= wait <= DAY + SLOT_SECONDS
    machine.passes(wait - 1)
    assert budget.left == 0
    machine.passes(1)
    assert budget.left == LIMIT
    assert machine.start().left == LIMIT


def test_no_24_hours_hold_more_than_the_limit(machine: Machine) -> None:
    """Whoever takes whatever fits each hour, for four days, never has more than a day's in a day."""
    budget = machine.start()
    taken: list[tuple[float, int]] = []
    for _ in range(96):
        room = min(budget.left, 9 * MIB)
        take(budget, room)
        taken.append((machine.uptime, room))
        machine.passes(3600)
    for moment, _ in taken:
        assert sum(length for at, length in taken if moment <= at < moment + DAY) <= LIMIT


def test_a_day_begins_in_the_last_second_of_a_quarter(machine: Machine) -> None:
    """What was taken as a quarter of an hour ended counts for a whole day, not for one less that quarter."""
    machine.clock = NOW - NOW % SLOT_SECONDS + SLOT_SECONDS - 1
    budget = machine.start()
    take(budget, LIMIT)
    machine.passes(DAY - 1)
    assert budget.left == 0


@pytest.mark.parametrize("jump", [-400 * DAY, -DAY, DAY, 400 * DAY])
def test_a_clock_that_jumps_refills_nothing(machine: Machine, jump: float) -> None:
    """Neither in a running agent nor over its restart, whichever way the clock goes."""
    budget = machine.start()
    take(budget, LIMIT)
    machine.clock += jump
    assert budget.left == 0
    budget.end()
    assert machine.start().left == 0


def test_a_boot_without_a_clock_refills_nothing(machine: Machine) -> None:
    """A board that starts years ago goes on where it was, and comes to a fresh day by its own time."""
    budget = machine.start()
    take(budget, LIMIT)
    budget.end()
    machine.reboots()
    machine.clock = 0.0
    budget = machine.start()
    assert budget.left == 0
    machine.passes(DAY + SLOT_SECONDS)
    assert budget.left == LIMIT


def test_signed_time_tells_how_long_a_machine_without_a_clock_was_off(machine: Machine) -> None:
    """What was signed after the boot moves the day on, once it is known; the clock itself still does not."""
    budget = machine.start()
    take(budget, LIMIT)
    budget.end()
    machine.reboots()
    budget = machine.start()
    assert budget.left == 0
    budget.end()
    machine.clock += 2 * DAY
    assert machine.start().left == 0
    machine.signed = NOW + 2 * DAY
    assert machine.start().left == LIMIT


def test_time_off_counts_where_the_clock_tells_it(machine: Machine) -> None:
    """A machine that was off for two days has a fresh budget."""
    budget = machine.start()
    take(budget, LIMIT)
    budget.end()
    machine.reboots()
    machine.clock += 2 * DAY
    assert machine.start().left == LIMIT


@pytest.mark.parametrize("content", [b"", b"{", b'{"slots": 1}', b"\xff\xfe"])
def test_a_damaged_record_is_a_day_that_is_spent(machine: Machine, tmp_path: Path, content: bytes) -> None:
    """What cannot be read fails closed, and a day later is forgotten."""
    (tmp_path / FILE_NAME).write_bytes(content)
    budget = machine.start()
    assert budget.left == 0
    machine.passes(DAY + SLOT_SECONDS)
    assert budget.left == LIMIT


def test_without_a_limit_nothing_is_written(tmp_path: Path) -> None:
    """A device without a budget does not wear its flash with one."""
    budget = Machine(tmp_path, limit=0).start()
    take(budget, 10**9)
    budget.end()
    assert list(tmp_path.iterdir()) == []


def test_a_record_that_cannot_be_written_stops_the_transfer(tmp_path: Path) -> None:
    """Nothing is asked for that cannot be written down first."""
    machine = Machine(tmp_path)
    budget = machine.start()
    (tmp_path / "spending.new").mkdir()
    with pytest.raises(StorageFullError):
        budget.demand(1)


def test_the_record_stays_small(machine: Machine, tmp_path: Path) -> None:
    """Three days of transfers leave one day in the file."""
    for _ in range(3 * 24):
        budget = machine.start()
        take(budget, MIB)
        budget.end()
        machine.passes(3600)
    assert (tmp_path / FILE_NAME).stat().st_size < 40 * DAY_SLOTS
