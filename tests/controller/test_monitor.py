"""The monitor on a real database: windows in, alarms out."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from edgewright.controller.database.evidencetables import Alarm, Rebuild
from edgewright.controller.database.tables import Artifact, Device, ModelVersion
from edgewright.controller.errors import DataFolderDamagedError
from edgewright.controller.monitor import Monitor, close_alarms
from edgewright.wire.histograms import Histogram
from edgewright.wire.messages import Outcomes
from tests.controller.windows_fleet import DEVICES, MODEL, START, Fleet


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A fleet whose versions were tested at 9 % errors."""
    fleet = Fleet(tmp_path)
    yield fleet
    fleet.db.close()


def test_no_alarm_at_the_reference_rate(fleet: Fleet) -> None:
    """Four robots at the tested error rate for 300 rounds raise nothing."""
    fleet.run(300, 0.09)
    assert fleet.alarms == []
    assert fleet.events("alarm.raised") == []
    assert fleet.events("drift.noticed") == []


def test_harm_raises_one_alarm_with_its_numbers(fleet: Fleet) -> None:
    """35 % errors after 50 good rounds alarm once, within eight rounds, with onset and numbers."""
    fleet.run(50, 0.09)
    fleet.run(8, 0.35)
    assert fleet.alarms == [1]
    fleet.run(20, 0.35)
    assert fleet.alarms == [1]
    (raised,) = fleet.events("alarm.raised")
    with fleet.db.reading() as session:
        alarm = session.get(Alarm, 1)
    assert alarm is not None
    assert (alarm.model, alarm.version, alarm.signal, alarm.closed_at) == (MODEL, 1, "error-rate", 0.0)
    assert alarm.sentence == raised.sentence
    assert "labelled items" in alarm.sentence
    assert abs(alarm.evidence["onset_at"] - (START + 2.0 * 51)) <= 6.0
    labelled, wrong = alarm.evidence["since_onset"]
    assert 0.25 < wrong / labelled < 0.5


def test_fallen_confidence_is_noticed_and_no_alarm(fleet: Fleet) -> None:
    """Confidence that falls without errors is one event, and alarms nobody."""
    fleet.run(20, 0.09)
    for _ in range(60):
        fleet.send(fleet.windows(0.09, confidence=(8, 3)))
    assert fleet.alarms == []
    assert len(fleet.events("drift.noticed")) == 1


def test_windows_that_come_twice_count_once(fleet: Fleet) -> None:
    """Repeating every window leaves the numbers as they were."""
    for _ in range(5):
        windows = fleet.windows(0.2)
        fleet.send(windows)
        fleet.monitor.observe(windows)
    (health,) = fleet.monitor.status(MODEL)
    assert health.labelled == 5 * len(DEVICES) * 6


def test_the_order_of_robots_does_not_matter(fleet: Fleet) -> None:
    """Windows of one moment give the same evidence in any order of the robots."""
    rounds = [fleet.windows(0.25) for _ in range(6)]
    others = [fleet.new_monitor(), fleet.new_monitor()]
    for windows in rounds:
        others[0].observe(windows)
        others[1].observe(windows[::-1])
    first, second = (monitor.status(MODEL)[0] for monitor in others)
    assert first == second


def test_a_restart_makes_the_same_evidence(fleet: Fleet) -> None:
    """A new monitor that replays the database says what the old one said, twice as well as once."""
    fleet.run(30, 0.12)
    (before,) = fleet.monitor.status(MODEL)
    again = fleet.new_monitor()
    again.replay()
    again.replay()
    (after,) = again.status(MODEL)
    for name, value in msgspec.structs.asdict(before).items():
        assert getattr(after, name) == (value if isinstance(value, str) else pytest.approx(value))


def test_an_open_alarm_is_told_again_after_a_restart(fleet: Fleet) -> None:
    """A controller killed between storing an alarm and acting on it acts after its start; no second alarm."""
    fleet.run(20, 0.45)
    assert fleet.alarms == [1]
    again = fleet.new_monitor()
    again.replay()
    assert fleet.alarms == [1, 1]
    assert len(fleet.events("alarm.raised")) == 1


def test_an_alarm_that_was_refused_is_told_with_the_next_windows(fleet: Fleet) -> None:
    """A listener that raises once is told of the same alarm again, and once only, without a restart."""
    taken: list[int] = []
    refusals = [RuntimeError("busy")]

    def refuse_once(alarm: int) -> None:
        if refusals:
            raise refusals.pop()
        taken.append(alarm)

    fleet.monitor = Monitor(fleet.db, fleet.blobs, refuse_once)
    fleet.run(20, 0.6)
    assert taken == [1]
    assert refusals == []
    assert len(fleet.events("alarm.raised")) == 1


def test_an_alarm_that_is_always_refused_keeps_no_other_from_the_listener(fleet: Fleet) -> None:
    """Where nobody can answer the first alarm the second one is told, live and after a restart."""
    taken: list[int] = []

    def refuse_the_first(alarm: int) -> None:
        if alarm == 1:
            raise DataFolderDamagedError("A blob cannot be read.")
        taken.append(alarm)

    fleet.monitor = Monitor(fleet.db, fleet.blobs, refuse_the_first)
    fleet.run(20, 0.6)
    fleet.run(20, 0.6, version=2, decided_by=2)
    assert taken == [2]
    Monitor(fleet.db, fleet.blobs, refuse_the_first).replay()
    assert taken == [2, 2]


@pytest.mark.parametrize("damage", ["profile", "model.toml"])
def test_a_damaged_version_takes_no_evidence_from_others(fleet: Fleet, damage: str) -> None:
    """Robots of a version whose files are gone hide no harm of another one; it is an event, once."""
    with fleet.db.session() as session:
        if damage == "profile":
            session.get_one(Artifact, (MODEL, 2, "x86_64-ort-cpu")).profile_sha256 = ""
        else:
            session.get_one(ModelVersion, (MODEL, 2)).files = {}
    for _ in range(20):
        damaged = fleet.windows(0.09, version=2, decided_by=2)
        fleet.send([*damaged[:1], *fleet.windows(0.6)[1:]])
    assert fleet.alarms == [1]
    assert len(fleet.events("evidence.unreadable")) == 1
    fleet.new_monitor().replay()
    assert fleet.alarms == [1, 1]


def test_a_version_that_no_database_takes_is_unknown(fleet: Fleet) -> None:
    """Labels of a version of sixty-four bits are no evidence, and no error."""
    huge = (Outcomes(2**63, 6, 6),)
    fleet.monitor.observe([msgspec.structs.replace(window, outcomes=huge) for window in fleet.windows(0.1)])
    assert [health.version for health in fleet.monitor.status(MODEL)] == [1]


def test_outcomes_count_for_the_version_that_decided(fleet: Fleet) -> None:
    """Late outcomes of the old version, brought by windows of the new one, leave the new one clean."""
    fleet.run(5, 0.09)
    fleet.run(10, 0.45, version=2, decided_by=1)
    by_version = {health.version: health for health in fleet.monitor.status(MODEL)}
    assert by_version[2].labelled == 0
    assert by_version[1].labelled == 15 * len(DEVICES) * 6


def test_a_version_that_runs_nowhere_raises_no_alarm(fleet: Fleet) -> None:
    """Harm of a version that every robot has left is history."""
    fleet.run(1, 0.09, version=2, decided_by=2)
    fleet.run(30, 0.6, version=2, decided_by=1)
    assert fleet.alarms == []


def test_a_new_version_starts_clean_and_can_alarm_in_its_turn(fleet: Fleet) -> None:
    """After the alarm of v1 is closed v2 raises its own, and v1 none again."""
    fleet.run(20, 0.45)
    with fleet.db.session() as session:
        close_alarms(session, MODEL, 2)
    assert len(fleet.events("alarm.closed")) == 1
    fleet.run(3, 0.09, version=2, decided_by=2)
    assert fleet.alarms == [1]
    fleet.run(20, 0.45, version=2, decided_by=2)
    fleet.run(20, 0.45, version=1, decided_by=1)
    assert fleet.alarms == [1, 2]


def test_an_alarm_stays_open_while_a_device_runs_its_version(fleet: Fleet) -> None:
    """A rollout to a part of the fleet does not close the alarm of what the others still run."""
    fleet.run(20, 0.45)
    with fleet.db.session() as session:
        session.add(Device(id="left", target="t", active_model=MODEL, active_version=1, connected=True))
        close_alarms(session, MODEL, 2)
    assert fleet.events("alarm.closed") == []
    with fleet.db.session() as session:
        session.get_one(Device, "left").active_version = 2
        session.flush()
        close_alarms(session, MODEL, 2)
    assert len(fleet.events("alarm.closed")) == 1


def test_a_rebuild_under_way_silences_no_alarm(fleet: Fleet) -> None:
    """What a program has queued for a day holds neither the alarm back nor its telling."""
    with fleet.db.session() as session:
        session.add(
            Rebuild(model=MODEL, from_version=1, cause="", state="queued", queued_at=1.0, trigger="api")
        )
    fleet.run(20, 0.45)
    assert fleet.alarms == [1]
    assert len(fleet.events("alarm.raised")) == 1


def test_windows_of_nothing_and_of_strangers_are_harmless(fleet: Fleet) -> None:
    """No model, an unknown version, impossible counts and a broken histogram change nothing."""
    odd = [
        msgspec.structs.replace(
            window, version=version, outcomes=(Outcomes(told, 3, wrong),), histograms=packed
        )
        for window, version, told, wrong, packed in zip(
            fleet.windows(0.1),
            (0, 99, 1, 1),
            (0, 99, 1, 1),
            (1, 1, 7, -2),
            ({}, {}, {"confidence": b"\xff\x00"}, {"confidence": Histogram("confidence").pack()}),
            strict=True,
        )
    ]
    fleet.monitor.observe(odd)
    assert fleet.monitor.status(MODEL) == []
