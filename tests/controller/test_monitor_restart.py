"""What a restart makes of the stored windows: what live evidence was, and no more; nobody waits for it."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from edgewright.controller.database import delete
from edgewright.controller.database.tables import Device
from edgewright.controller.database.tables import Window as WindowRow
from edgewright.controller.ingest.rows import window_row
from edgewright.controller.replaying import Replaying, stored_windows
from edgewright.wire.messages import Window
from tests.controller.windows_fleet import DEVICES, MODEL, Fleet


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A fleet whose versions were tested at 9 % errors."""
    fleet = Fleet(tmp_path)
    yield fleet
    fleet.db.close()


def store(fleet: Fleet, windows: list[Window], *, is_past: bool = False) -> None:
    """Store windows of which the monitor is not told."""
    with fleet.db.session() as session:
        session.add_all([WindowRow(**window_row(window, is_past=is_past)) for window in windows])


def test_a_restart_does_not_count_what_live_evidence_refused(fleet: Fleet) -> None:
    """Windows of an outage that came long after it raise no alarm when they are replayed."""
    good = [fleet.windows(0.09) for _ in range(10)]
    outage = [fleet.windows(0.6) for _ in range(20)]
    for windows in good:
        fleet.send(windows)
    for windows in outage:
        store(fleet, windows, is_past=True)
    (before,) = fleet.monitor.status(MODEL)
    again = fleet.new_monitor()
    again.replay()
    assert again.status(MODEL)[0].labelled == before.labelled == 10 * len(DEVICES) * 6
    assert fleet.alarms == []


def test_windows_that_were_overtaken_count_as_after_a_restart(fleet: Fleet) -> None:
    """A window that comes after a later one of its stream counts, once, live and in a replay."""
    rounds = [fleet.windows(0.09) for _ in range(6)]
    for number in (0, 3, 2, 5, 1, 4, 2):
        fleet.monitor.observe(rounds[number])
    for windows in rounds:
        store(fleet, windows)
    again = fleet.new_monitor()
    again.replay()
    labelled = [monitor.status(MODEL)[0].labelled for monitor in (fleet.monitor, again)]
    assert labelled == [6 * len(DEVICES) * 6] * 2


def test_windows_that_come_during_a_replay_are_taken_after_it(fleet: Fleet) -> None:
    """A replay on a thread takes what comes meanwhile once, and makes what was without a restart."""
    fleet.run(60, 0.12)
    running, fleet.monitor = fleet.monitor, fleet.new_monitor()
    replaying = Replaying(fleet.monitor)
    meanwhile = [fleet.windows(0.12) for _ in range(10)]
    for windows in meanwhile[:5]:
        fleet.send(windows)
    assert fleet.monitor.status(MODEL) == []
    replaying.start()
    for windows in meanwhile[5:]:
        fleet.send(windows)
    deadline = time.monotonic() + 30.0
    while fleet.monitor.is_held:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    replaying.stop()
    for windows in meanwhile:
        running.observe(windows)
    (before,), (after,) = running.status(MODEL), fleet.monitor.status(MODEL)
    for name, value in msgspec.structs.asdict(before).items():
        assert getattr(after, name) == (value if isinstance(value, str) else pytest.approx(value))


def test_a_replay_that_is_stopped_leaves_windows_waiting(fleet: Fleet) -> None:
    """A controller that ends waits for no replay; what it has not taken is stored for the next start."""
    fleet.run(20, 0.09)
    again = fleet.new_monitor()
    stopping = threading.Event()
    stopping.set()
    again.replay(stopping)
    assert again.is_held
    again.replay()
    assert not again.is_held
    assert again.status(MODEL)[0].labelled == 20 * len(DEVICES) * 6


def test_the_newest_windows_are_replayed(fleet: Fleet) -> None:
    """Of more windows than a replay takes the oldest are left, in their order."""
    for _ in range(300):
        store(fleet, fleet.windows(0.09))
    pages = list(stored_windows(fleet.db, time.time() - 86400.0, most=1100))
    starts = [window.start for page in pages for window in page]
    assert [len(page) for page in pages] == [1000, 100]
    assert starts == sorted(starts)
    everything = [w for page in stored_windows(fleet.db, 0.0) for w in page]
    assert [w for page in pages for w in page] == everything[-1100:]


def test_findings_of_a_version_that_nobody_has_are_closed_after_a_restart(fleet: Fleet) -> None:
    """A finding ends with its version also where the controller was off; one that a device runs goes on."""
    fleet.run(5, 0.09)
    fleet.run(20, 0.5)
    (finding,) = fleet.findings()
    with fleet.db.session() as session:
        session.exec(delete(WindowRow))
        session.add(Device(id="r1", target="t", active_model=MODEL, active_version=1))
    fleet.new_monitor().replay()
    assert [row.closed_at for row in fleet.findings()] == [finding.closed_at] == [0.0]
    with fleet.db.session() as session:
        session.get_one(Device, "r1").active_version = 2
    fleet.new_monitor().replay()
    assert [row.closed_at > 0.0 for row in fleet.findings()] == [True]
