"""The monitor on a real database: windows in, alarms out."""

import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgewright.controller.blobs import BlobStore
from edgewright.controller.database import select
from edgewright.controller.database.engine import Database
from edgewright.controller.database.evidencetables import Alarm, Rebuild
from edgewright.controller.database.tables import Artifact, Device, Event, ModelVersion
from edgewright.controller.database.tables import Window as WindowRow
from edgewright.controller.ingest.rows import window_row
from edgewright.controller.monitor import Monitor, close_alarms
from edgewright.wire.canonical import canonical_json
from edgewright.wire.histograms import Histogram
from edgewright.wire.messages import Outcomes, Window

MODEL = "packing"
START = time.time() - 3600.0
DEVICES = ("r1", "r2", "r3", "r4")
MODEL_TOML = """
targets = ["x86_64-ort-cpu"]
[model]
name = "packing"
file = "m.onnx"
licence = "MIT"
labels = ["A", "B"]
fallback = "manual"
[input]
name = "image"
dtype = "float32"
shape = [1, 3, 8, 8]
[output]
name = "logits"
[preprocessing]
width = 8
height = 8
colour = "rgb"
mean = [0.0, 0.0, 0.0]
std = [1.0, 1.0, 1.0]
[data]
calibration = "c.npz"
holdout = "h.npz"
[limits]
golden_tolerance = 0.1
latency_p99_us = 1000
memory_mb = 100
shadow_frames = 1
probation_frames = 1
"""


class Fleet:
    """A database with two versions, and robots that send windows into it as ingest would."""

    def __init__(self, folder: Path) -> None:
        self.db = Database.in_folder(folder)
        self.db.create()
        self.blobs = BlobStore(folder / "blobs")
        self.alarms: list[int] = []
        self.monitor = self.new_monitor()
        self._rng = np.random.default_rng(5)
        self._seq = dict.fromkeys(DEVICES, 0)
        self._tick = 0
        for version in (1, 2):
            self._add_version(version)

    def new_monitor(self) -> Monitor:
        """A monitor as a controller that starts makes it."""
        return Monitor(self.db, self.blobs, self.alarms.append)

    def _add_version(self, version: int) -> None:
        confidence = Histogram("confidence")
        for value in np.random.default_rng(1).beta(20, 2, 400).tolist():
            confidence.add(value)
        profile = {
            "model": MODEL,
            "version": version,
            "target": "x86_64-ort-cpu",
            "error_rate": 0.09,
            "error_rate_n": 1000,
            "histograms": {"confidence": confidence.pack()},
        }
        with self.db.session() as session:
            session.add(
                ModelVersion(
                    model=MODEL,
                    version=version,
                    state="ready",
                    source="push",
                    created_at=1.0,
                    files={"model.toml": self.blobs.put(MODEL_TOML.encode())},
                )
            )
            session.add(
                Artifact(
                    model=MODEL,
                    version=version,
                    target="x86_64-ort-cpu",
                    precision="int8",
                    qualification="emulated",
                    manifest_sha256=f"{version}",
                    manifest_length=1,
                    artifact_sha256=f"{version}",
                    artifact_length=1,
                    profile_sha256=self.blobs.put(canonical_json(profile)),
                )
            )

    def windows(
        self,
        error: float,
        *,
        version: int = 1,
        decided_by: int = 1,
        confidence: tuple[float, float] = (20, 2),
    ) -> list[Window]:
        """One window of each robot; ``decided_by`` is the version that its outcomes belong to."""
        self._tick += 1
        made = []
        for device in DEVICES:
            self._seq[device] += 1
            histogram = Histogram("confidence")
            for value in self._rng.beta(*confidence, 20).tolist():
                histogram.add(value)
            made.append(
                Window(
                    device=device,
                    stream=f"{device}-s",
                    seq=self._seq[device],
                    start=START + 2.0 * self._tick,
                    seconds=2.0,
                    model=MODEL,
                    version=version,
                    tag="",
                    frames=20,
                    by_source={"active": 20},
                    causes={},
                    classes={},
                    histograms={"confidence": histogram.pack()},
                    outcomes=(Outcomes(decided_by, 6, int(self._rng.binomial(6, error))),),
                    truths={},
                )
            )
        return made

    def send(self, windows: list[Window]) -> None:
        """Store windows and tell the monitor."""
        with self.db.session() as session:
            for window in windows:
                session.add(WindowRow(**window_row(window)))
        self.monitor.observe(windows)

    def run(self, rounds: int, error: float, version: int = 1, decided_by: int = 1) -> None:
        """Several rounds of windows."""
        for _ in range(rounds):
            self.send(self.windows(error, version=version, decided_by=decided_by))

    def events(self, kind: str) -> list[Event]:
        """Recorded events of a kind."""
        with self.db.reading() as session:
            return list(session.exec(select(Event).where(Event.kind == kind)).all())


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
    with pytest.raises(RuntimeError):
        fleet.run(20, 0.45)
    fleet.run(3, 0.45)
    assert taken == [1]
    assert len(fleet.events("alarm.raised")) == 1


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


def test_no_alarm_while_a_rebuild_is_under_way(fleet: Fleet) -> None:
    """A rebuild in flight holds the alarm back; it comes when the rebuild has ended and harm goes on."""
    with fleet.db.session() as session:
        session.add(Rebuild(model=MODEL, from_version=1, cause="", state="training", queued_at=1.0))
    fleet.run(20, 0.45)
    assert fleet.alarms == []
    with fleet.db.session() as session:
        session.exec(select(Rebuild)).one().state = "failed"
    fleet.run(1, 0.45)
    assert fleet.alarms == [1]


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
