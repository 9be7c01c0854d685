"""What is the matter with a version, from windows to stored findings: causes, tags, closing, restarts."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from edgewright.controller.database import select
from edgewright.controller.database.evidencetables import Alarm, Label, TagReference
from edgewright.controller.database.tables import Sample
from edgewright.controller.evidence.verdict import Cause, Part, Verdict
from edgewright.controller.findings import About, Key, write_findings
from edgewright.wire.histograms import Histogram
from edgewright.wire.messages import Outcomes
from tests.controller.windows_fleet import DEVICES, MODEL, START, Fleet

replace = msgspec.structs.replace
BOTH = (0.5, 0.5)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A fleet whose versions were tested at 9 % errors."""
    fleet = Fleet(tmp_path)
    yield fleet
    fleet.db.close()


def only_alarm(fleet: Fleet) -> Alarm:
    """The one alarm that was raised."""
    with fleet.db.reading() as session:
        return session.exec(select(Alarm)).one()


def test_brighter_pictures_without_harm_are_logged_and_closed_again(fleet: Fleet) -> None:
    """Brightness that moves on all robots is one benign finding; it is over when the light is as before."""
    fleet.run(10, 0.09, brightness=0.5)
    fleet.run(30, 0.09, brightness=0.62)
    (finding,) = fleet.findings()
    assert (finding.cause, finding.harm, finding.device, finding.closed_at) == ("benign", False, "", 0.0)
    assert "brightness 0.5" in finding.sentence
    assert fleet.alarms == []
    fleet.run(60, 0.09, brightness=0.5)
    assert fleet.findings()[0].closed_at > 0.0
    assert [len(fleet.events(f"finding.{what}")) for what in ("opened", "closed")] == [1, 1]
    assert fleet.monitor.findings(MODEL) == []


def test_harm_in_moved_light_is_optics_and_waits_before_a_rebuild(fleet: Fleet) -> None:
    """Errors with much brighter pictures on all robots alarm at once, and open a rebuild after 15 minutes."""
    fleet.run(20, 0.09, brightness=0.5)
    fleet.run(20, 0.4, brightness=0.7)
    assert only_alarm(fleet).evidence["cause"] == "optics"
    assert fleet.alarms == []
    fleet.wait(900.0)
    fleet.run(5, 0.4, brightness=0.7)
    assert fleet.alarms == [1]


def test_a_wiped_lens_opens_no_rebuild(fleet: Fleet) -> None:
    """When light and decisions are right again, harm that has been is no concept drift of now."""
    fleet.run(20, 0.09, brightness=0.5)
    fleet.run(60, 0.4, brightness=0.7)
    fleet.run(60, 0.09, brightness=0.5)
    fleet.monitor = fleet.new_monitor()
    fleet.monitor.replay()
    fleet.run(40, 0.09, brightness=0.5)
    assert fleet.alarms == []
    assert len(fleet.events("alarm.raised")) == 1


def test_errors_that_go_on_after_the_lens_was_wiped_open_a_rebuild(fleet: Fleet) -> None:
    """Labels of pictures that are right again show harm by themselves, a minute later and not before."""
    fleet.run(20, 0.09, brightness=0.5)
    fleet.run(20, 0.4, brightness=0.7)
    fleet.run(20, 0.4, brightness=0.5)
    assert fleet.alarms == []
    fleet.wait(60.0)
    fleet.run(15, 0.4, brightness=0.5)
    assert fleet.alarms == [1]


def test_errors_on_other_goods_are_product_and_open_a_rebuild_at_once(fleet: Fleet) -> None:
    """Errors with another class mix and lower confidence are the goods'; the listener is told at once."""
    fleet.run(20, 0.09, brightness=0.5, classes=BOTH)
    fleet.run(15, 0.4, brightness=0.5, classes=(0.2, 0.2, 0.6), confidence=(6, 3))
    assert fleet.alarms == [1]
    alarm = only_alarm(fleet)
    assert alarm.evidence["cause"] == "product"
    assert "C" in alarm.sentence


def test_errors_on_the_same_input_are_concept(fleet: Fleet) -> None:
    """Errors while all signals are as they were are a concept drift."""
    fleet.run(20, 0.09, brightness=0.5, classes=BOTH)
    fleet.run(15, 0.4, brightness=0.5, classes=BOTH)
    assert fleet.alarms == [1]
    assert only_alarm(fleet).evidence["cause"] == "concept"


def test_a_new_version_that_is_worse_at_once_is_at_fault(fleet: Fleet) -> None:
    """A version worse than the one before from its first window is for rolling back; nothing is rebuilt."""
    fleet.run(40, 0.09, brightness=0.5)
    fleet.run(20, 0.4, version=2, decided_by=2, brightness=0.5)
    assert [verdict.cause for verdict in fleet.monitor.findings(MODEL)] == ["model-fault"]
    assert only_alarm(fleet).signal == "fault"
    assert fleet.alarms == []


def test_one_robot_with_a_dirty_lens_stands_apart(fleet: Fleet) -> None:
    """Brightness that falls on one robot of four is a finding about that robot, and none about the others."""
    fleet.run(10, 0.09, brightness=0.5)
    for _ in range(40):
        dark = fleet.windows(0.09, brightness=0.3)
        bright = fleet.windows(0.09, brightness=0.5)
        fleet.send([d if d.device == "r3" else b for d, b in zip(dark, bright, strict=True)])
    assert [(finding.device, finding.harm) for finding in fleet.findings()] == [("r3", False)]


def test_a_tag_is_held_against_its_own_reference_which_outlives_a_restart(fleet: Fleet) -> None:
    """Goods of another brightness are no finding under their tag, nor when they return after a restart."""
    fleet.run(30, 0.09, brightness=0.7, tag="sku-7")
    with fleet.db.reading() as session:
        (stored,) = session.exec(select(TagReference)).all()
    assert (stored.tag, stored.ready_at > 0.0, stored.frames >= 400) == ("sku-7", True, True)
    fleet.monitor = fleet.new_monitor()
    fleet.monitor.replay()
    fleet.run(30, 0.09, brightness=0.7, tag="sku-7")
    assert fleet.findings() == []
    fleet.run(30, 0.09, brightness=0.55, tag="sku-7")
    assert [finding.cause for finding in fleet.findings()] == ["benign"]


def test_no_reference_is_made_of_counts_that_cannot_be(fleet: Fleet) -> None:
    """A window with more values than frames is a finding on its robot, and its tag's reference is others'."""
    fleet.run(3, 0.09)
    lie = Histogram("confidence", [0] * 20 + [10**9] + [0] * 43).pack()
    windows = fleet.windows(0.09, tag="sku-7")
    fleet.send([replace(windows[0], histograms={"confidence": lie}), *windows[1:]])
    fleet.run(40, 0.09, tag="sku-7")
    assert [(finding.device, finding.harm) for finding in fleet.findings()] == [("r1", False)]
    with fleet.db.reading() as session:
        (stored,) = session.exec(select(TagReference)).all()
    reference = msgspec.msgpack.decode(stored.payload)["histograms"]["confidence"]
    assert Histogram.unpack(reference).total == stored.frames


def test_no_reference_is_made_of_harm(fleet: Fleet) -> None:
    """A new tag whose goods are decided wrongly gets no reference, and raises the alarm as product."""
    fleet.run(10, 0.09)
    fleet.run(40, 0.5, brightness=0.7, tag="sku-9")
    with fleet.db.reading() as session:
        assert session.exec(select(TagReference)).all() == []
    assert only_alarm(fleet).evidence["cause"] == "product"


def test_findings_survive_a_restart_without_a_second_event(fleet: Fleet) -> None:
    """A monitor that replays says the same, and keeps the finding that is open."""
    fleet.run(10, 0.09, brightness=0.5)
    fleet.run(30, 0.09, brightness=0.62)
    again = fleet.new_monitor()
    again.replay()
    assert [verdict.cause for verdict in again.findings(MODEL)] == ["benign"]
    assert len(fleet.events("finding.opened")) == 1
    assert fleet.events("finding.closed") == []


def test_findings_of_a_version_that_was_replaced_are_closed(fleet: Fleet) -> None:
    """When the last robot has left a version, nothing is the matter with it any more."""
    fleet.run(10, 0.09, brightness=0.5)
    fleet.run(30, 0.09, brightness=0.62)
    fleet.run(5, 0.09, version=2, decided_by=2, brightness=0.5)
    assert [finding.closed_at > 0.0 for finding in fleet.findings()] == [True]


def test_a_finding_whose_cause_changes_keeps_numbers_that_json_takes(fleet: Fleet) -> None:
    """Evidence that is infinite, as that of labels which never came, is stored as none."""
    part = msgspec.to_builtins(Part(estimate_harmed=True, log_evidence=float("-inf")))
    known: dict[About, int] = {}
    for cause in (Cause.PRODUCT, Cause.OPTICS):
        verdict = Verdict(cause=cause, harm=True, sentence="s", remedy="r", evidence=part)
        with fleet.db.session() as session:
            known = write_findings(session, Key(MODEL, 1), [verdict], known)
    (finding,) = fleet.findings()
    assert (finding.cause, finding.evidence["log_evidence"]) == ("optics", None)


def look_at(fleet: Fleet, number: int, truth: str, told: str = "") -> None:
    """A person looks at a random frame that version 1 decided as A; ``told`` is what the line had said."""
    device, item = DEVICES[number % 4], f"i{number}"
    sample = Sample(
        device=device,
        item=item,
        model=MODEL,
        version=1,
        tag="",
        taken_at=1.0 + number,
        label="A",
        confidence=0.9,
        truth=told,
        reason="random",
        probability=0.01,
        image_sha256="",
    )
    label = Label(
        device=device,
        item=item,
        source="audit",
        model=MODEL,
        version=1,
        decided="A",
        truth=truth,
        at=START,
        told_by="eva",
    )
    with fleet.db.session() as session:
        session.add(sample)
        session.add(label)


def test_a_source_that_audits_contradict_is_set_aside(fleet: Fleet) -> None:
    """Wrong labels of a source that a person contradicts raise no alarm."""
    for number in range(60):
        look_at(fleet, number, "A", told="B")
    fleet.run(2, 0.09)
    fleet.monitor = fleet.new_monitor()
    fleet.monitor.replay()
    fleet.run(30, 0.6)
    assert fleet.alarms == []
    (health,) = fleet.monitor.status(MODEL)
    assert health.labelled == 60


def test_few_audits_of_harm_raise_the_alarm_without_other_labels(fleet: Fleet) -> None:
    """Forty random frames, half of which a person found decided wrongly, are enough on their own."""
    for _ in range(5):
        fleet.send([replace(window, outcomes=()) for window in fleet.windows(0.09)])
    for number in range(40):
        look_at(fleet, number, "AB"[number // 4 % 2])
    again = fleet.new_monitor()
    again.replay()
    assert fleet.alarms == [1]


def test_labels_of_unequal_chances_count_by_their_weights(fleet: Fleet) -> None:
    """Doubtful items that are told ten times as often as others, and are wrong more often, are no harm."""
    # Of 100 items 10 are doubtful, all of which are told; 9 of the other 90 are told, one over a tenth each.
    wrong = [Outcomes(1, 19, 4, "", 100.0, 4.0, 10.0 + 9 * 100.0)]
    for _ in range(60):
        fleet.send([replace(window, outcomes=tuple(wrong)) for window in fleet.windows(0.09)])
    assert fleet.alarms == []


def test_the_same_labels_without_weights_are_harm(fleet: Fleet) -> None:
    """Where no chances are told, items that are wrong more often than tested are harm."""
    plain = [Outcomes(1, 19, 4)]
    for _ in range(60):
        fleet.send([replace(window, outcomes=tuple(plain)) for window in fleet.windows(0.09)])
    assert fleet.alarms == [1]
