"""Windows that no line should send, and what becomes of each: the table in docs/explanation/telemetry.md."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from edgewright.controller.evidence.version import VersionHealth
from edgewright.wire.histograms import Histogram
from edgewright.wire.messages import Outcomes, Window
from tests.controller.windows_fleet import DEVICES, MODEL, Fleet

replace = msgspec.structs.replace


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A fleet whose versions were tested at 9 % errors."""
    fleet = Fleet(tmp_path)
    yield fleet
    fleet.db.close()


def the_health(fleet: Fleet) -> VersionHealth:
    """The evidence of the only version that has any."""
    (health,) = fleet.monitor.status(MODEL)
    return health


def packed(schema: str, *values: float) -> bytes:
    """A packed histogram."""
    histogram = Histogram(schema)
    for value in values:
        histogram.add(value)
    return histogram.pack()


def of_r1(windows: list[Window], **changes: object) -> list[Window]:
    """The windows, with something else in the first robot's."""
    return [replace(window, **changes) if window.device == "r1" else window for window in windows]


def test_a_lying_robot_is_named_and_speaks_for_nobody_else(fleet: Fleet) -> None:
    """One robot of four that calls all its labels wrong is one finding about it, and no alarm."""
    fleet.run(10, 0.09)
    for _ in range(40):
        fleet.send(of_r1(fleet.windows(0.09), outcomes=(Outcomes(1, 6, 6),)))
    assert fleet.alarms == []
    assert fleet.events("alarm.raised") == []
    (finding,) = [finding for finding in fleet.findings() if finding.harm]
    assert (finding.cause, finding.device, finding.closed_at) == ("one-robot", "r1", 0.0)
    assert "r1" in finding.sentence
    assert [verdict.cause for verdict in fleet.monitor.findings(MODEL)] == ["one-robot"]


def test_a_liar_cannot_hide_the_harm_of_the_others(fleet: Fleet) -> None:
    """One robot that tells as many right labels as it may does not keep the harm of three from an alarm."""
    fleet.run(10, 0.09)
    for _ in range(60):
        fleet.send(of_r1(fleet.windows(0.35), outcomes=(Outcomes(1, 20, 0),)))
    assert fleet.alarms == [1]


def test_a_robot_alone_may_speak_for_itself(fleet: Fleet) -> None:
    """The only robot that ever tells labels raises the alarm, where its siblings have none."""
    for error in [0.09] * 10 + [0.45] * 20:
        fleet.send([w if w.device == "r1" else replace(w, outcomes=()) for w in fleet.windows(error)])
    assert fleet.alarms == [1]


@pytest.mark.parametrize(
    "claim",
    [
        {"outcomes": (Outcomes(1, 6, 7),)},
        {"outcomes": (Outcomes(1, 10**6, 10**6),)},
        {"outcomes": (Outcomes(1, 6, 6, "", 60.0, 60.0, 1.0),)},
        {"classes": {"A": 21}},
        {"by_source": {"active": -20}},
        {"frames": 10**6, "by_source": {}},
        {"seconds": -1.0},
    ],
    ids=["wrong", "labels", "weights", "classes", "sources", "frames", "seconds"],
)
def test_numbers_that_cannot_be_are_set_aside(fleet: Fleet, claim: dict[str, object]) -> None:
    """A window with impossible numbers adds nothing, and its robot is named; its siblings' count."""
    fleet.run(3, 0.09)
    windows = fleet.windows(0.09)
    fleet.monitor.observe(of_r1(windows, **claim))
    assert the_health(fleet).labelled == (4 * len(DEVICES) - 1) * 6
    (verdict,) = fleet.monitor.findings(MODEL)
    assert (verdict.cause, verdict.device, verdict.harm) == ("one-robot", "r1", False)
    assert "cannot be" in verdict.sentence
    assert fleet.alarms == []


def test_nan_is_a_fault_of_the_version_and_opens_no_rebuild(fleet: Fleet) -> None:
    """A version whose confidences are no numbers on all robots is a finding of its fault, and no alarm."""
    fleet.run(10, 0.09)
    nothing = packed("confidence", *[float("nan")] * 20)
    for _ in range(30):
        windows = [replace(w, histograms={"confidence": nothing}, outcomes=()) for w in fleet.windows(0.09)]
        fleet.send(windows)
    (finding,) = fleet.findings()
    assert (finding.cause, finding.device, finding.harm) == ("model-fault", "", True)
    assert finding.remedy == "Roll back to the version before."
    assert fleet.events("alarm.raised") == []
    assert fleet.alarms == []


def test_an_empty_window_is_no_evidence(fleet: Fleet) -> None:
    """A window without frames and labels changes nothing, however many come."""
    fleet.run(5, 0.09)
    before = the_health(fleet)
    for _ in range(50):
        empty = [
            replace(window, frames=0, by_source={}, histograms={}, outcomes=())
            for window in fleet.windows(0.09)
        ]
        fleet.send(empty)
    assert the_health(fleet) == before


def test_a_window_in_grace_is_no_evidence(fleet: Fleet) -> None:
    """Frames right after a changeover are stored, and neither their labels nor their signals count."""
    fleet.run(5, 0.09)
    before = the_health(fleet)
    for _ in range(30):
        fleet.send([replace(window, grace=True) for window in fleet.windows(0.9, confidence=(2, 20))])
    assert the_health(fleet) == before
    assert fleet.alarms == []


def test_reordered_windows_make_the_same_sums(fleet: Fleet) -> None:
    """Windows of other times that come in one batch count by their time, whatever their order."""
    rounds = [fleet.windows(0.2) for _ in range(6)]
    others = [fleet.new_monitor(), fleet.new_monitor()]
    flat = [window for windows in rounds for window in windows]
    by_robot = sorted(flat, key=lambda window: (window.device, window.seq))
    others[0].observe(flat)
    others[1].observe(by_robot)
    assert others[0].status(MODEL) == others[1].status(MODEL)


def test_a_window_that_comes_twice_counts_once(fleet: Fleet) -> None:
    """The same window twice in one batch, and again in the next, adds its labels once."""
    windows = fleet.windows(0.2)
    fleet.monitor.observe([*windows, *windows])
    fleet.monitor.observe(windows)
    assert the_health(fleet).labelled == len(DEVICES) * 6


def test_a_clock_that_is_wrong_moves_no_evidence_away(fleet: Fleet) -> None:
    """A robot an hour behind its siblings still counts, and the alarm comes as with right clocks."""
    fleet.run(10, 0.09)
    for _ in range(10):
        windows = fleet.windows(0.45)
        fleet.send([replace(w, start=w.start - 3600.0) if w.device == "r1" else w for w in windows])
    assert fleet.alarms == [1]
    assert the_health(fleet).labelled == 20 * len(DEVICES) * 6


def test_signals_that_are_missing_are_not_compared(fleet: Fleet) -> None:
    """An older agent's windows with labels alone raise the alarm as others do."""
    fleet.run(10, 0.09)
    for _ in range(10):
        fleet.send([replace(window, histograms={}, truths={}) for window in fleet.windows(0.45)])
    assert fleet.alarms == [1]


@pytest.mark.parametrize("junk", [packed("unit", 0.1), b"\xff\x00", b""], ids=["schema", "bytes", "empty"])
def test_a_histogram_that_cannot_be_read_is_left_out(fleet: Fleet, junk: bytes) -> None:
    """A confidence of another schema, or bytes that are none, leave the labels beside them counting."""
    fleet.run(3, 0.09)
    confidence = the_health(fleet).confidence
    fleet.monitor.observe([replace(w, histograms={"confidence": junk}) for w in fleet.windows(0.09)])
    assert the_health(fleet).labelled == 4 * len(DEVICES) * 6
    assert the_health(fleet).confidence == confidence


def test_a_version_that_nobody_pushed_is_ignored(fleet: Fleet) -> None:
    """Windows and labels of a version that the registry does not know leave no trace in the evidence."""
    fleet.run(2, 0.09)
    fleet.monitor.observe(fleet.windows(0.9, version=77, decided_by=77))
    assert [health.version for health in fleet.monitor.status(MODEL)] == [1]
    assert fleet.findings() == []
