"""Who may speak in the evidence: names that devices invent, robots that lie, and what audits say of each."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import msgspec
import pytest

from edgewright.controller import labels
from edgewright.controller.database.evidencetables import Label
from edgewright.controller.database.tables import Sample
from edgewright.controller.evidence.told import Heard, Told
from edgewright.controller.evidence.version import VersionEvidence
from edgewright.controller.evidence.weights import Weights
from edgewright.controller.findings import Key
from edgewright.wire.messages import Outcomes, Window
from tests.controller.windows_fleet import MODEL, START, Fleet

replace = msgspec.structs.replace


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A fleet whose versions were tested at 9 % errors."""
    fleet = Fleet(tmp_path)
    yield fleet
    fleet.db.close()


def the_evidence(fleet: Fleet) -> VersionEvidence:
    """Of the first version."""
    return fleet.monitor._evidence[Key(MODEL, 1)]


def beside(windows: list[Window], *more: Outcomes, of: str = "r1") -> list[Window]:
    """The windows, with more outcomes in one robot's."""
    return [
        replace(window, outcomes=(*window.outcomes, *more)) if window.device == of else window
        for window in windows
    ]


@pytest.mark.parametrize("source", ["invented", "audit", "line", "others"])
def test_a_robot_with_a_source_of_its_own_speaks_for_nobody_else(fleet: Fleet, source: str) -> None:
    """Whatever name one robot of four gives its wrong labels, they are a finding about it, and no alarm."""
    fleet.run(5, 0.09)
    for _ in range(12):
        fleet.send(beside(fleet.windows(0.09), Outcomes(1, 6, 6, source)))
    assert fleet.alarms == []
    (verdict,) = fleet.monitor.findings(MODEL)
    assert (verdict.cause, verdict.device) == ("one-robot", "r1")
    assert "no labels" not in verdict.sentence
    assert labels.AUDIT not in the_evidence(fleet).sources


def test_robots_with_a_source_each_speak_together(fleet: Fleet) -> None:
    """Scanners that name themselves, one a robot, show harm of all as one shared name would."""
    for error in [0.09] * 3 + [0.45] * 8:
        windows = fleet.windows(error)
        fleet.send(
            [
                replace(w, outcomes=tuple(replace(o, source=f"scanner-{w.device}") for o in w.outcomes))
                for w in windows
            ]
        )
    assert fleet.alarms == [1]


def test_invented_sources_take_no_seats_from_others(fleet: Fleet) -> None:
    """One robot with nine names leaves the line's and the audits' own evidence apart, and a scanner's."""
    for _ in range(3):
        fleet.send(beside(fleet.windows(0.09), *(Outcomes(1, 1, 0, f"s{i}") for i in range(9))))
    fleet.send(beside(fleet.windows(0.09), Outcomes(1, 1, 0, "scanner"), of="r2"))
    assert the_evidence(fleet).sources == {"", "s0", "s1", "others", "scanner"}


def audited(fleet: Fleet, truths: dict[str, str], looks: int = 30) -> None:
    """Frames of which sources said something, by name, and of which a person said B each time."""
    with fleet.db.session() as session:
        for number in range(looks):
            for source, truth in truths.items():
                item = f"{source}-{number}"
                session.add(
                    Sample(
                        device="r1",
                        item=item,
                        taken_at=START,
                        model=MODEL,
                        version=1,
                        label="B",
                        confidence=0.9,
                        truth=truth,
                        source=source,
                        reason="random",
                        probability=0.1,
                        image_sha256="0" * 64,
                    )
                )
                session.add(
                    Label(
                        device="r1",
                        item=item,
                        source=labels.AUDIT,
                        model=MODEL,
                        version=1,
                        decided="B",
                        truth="B",
                        at=START + 3000.0 + number,
                        told_by="Mia",
                    )
                )


def test_a_source_that_names_itself_is_set_aside_by_its_own_truths(fleet: Fleet) -> None:
    """Audits that contradict scanners of a line set aside those, or the pool they are in, and no more."""
    fleet.run(2, 0.09)
    names: tuple[str, ...] = ("liar", "honest", "third", "fourth")
    for device in ("r1", "r2"):
        fleet.send(beside(fleet.windows(0.09), *(Outcomes(1, 2, 0, name) for name in names), of=device))
        names = names[:2]
    audited(fleet, {"liar": "A", "honest": "B", "third": "A", "": "B"})
    fleet.monitor._look()
    assert the_evidence(fleet).distrusted == {"liar", "others"}


def test_a_source_that_audits_never_meet_is_believed_as_its_line_is(fleet: Fleet) -> None:
    """An agent whose samples name nobody does not save its scanner, nor does a new name."""
    for _ in range(2):
        fleet.send(beside(fleet.windows(0.09), Outcomes(1, 2, 0, "scanner")))
    audited(fleet, {"": "A"})
    fleet.monitor._look()
    assert the_evidence(fleet).distrusted == {"", "scanner"}
    fleet.send(beside(fleet.windows(0.09), Outcomes(1, 2, 0, "fresh")))
    fleet.monitor._look()
    assert the_evidence(fleet).distrusted == {"", "scanner", "fresh"}


def chosen_by_suspicion(seed: int, windows: int) -> list[Heard]:
    """Labels of two robots, one a window: all of the suspicious items, and one in twenty of the others."""
    chance, told = Random(seed), list[Heard]()
    while len(told) < windows:
        suspicious = chance.random() < 0.05
        wrong = chance.random() < (0.3 if suspicious else 0.005)
        weight = 1.0 if suspicious else 20.0
        if chance.random() < 1.0 / weight:
            one = Outcomes(1, 1, wrong, "station", weight, weight * wrong, weight**2)
            told.append(Heard(30.0 * len(told), f"r{len(told) % 2}", "", one))
    return told


def test_weights_count_across_windows_with_one_label_each() -> None:
    """A station that looks at all suspicious items, and says so, shows the rate of all items: no harm."""
    harmed = 0
    for seed in range(10):
        told = Told(0.05, 10_000.0)
        told.observe(chosen_by_suspicion(seed, 600))
        harmed += told.harm([told]).harmed
        assert told.wrong / told.labelled > 0.1
        assert told.sums.wrong / told.sums.weight < 0.05
    assert harmed == 0


def test_weights_of_one_robot_scale_nobody_elses_labels() -> None:
    """A robot that claims the smallest chances silences its own labels, and none of its siblings'."""
    weights = Weights()
    weights.count("r1", Outcomes(1, 1, 0, "", 1000.0, 0.0, 1e6))
    assert weights.count("r1", Outcomes(1, 10, 2)) == pytest.approx((0.01, 0.002))
    assert weights.count("r2", Outcomes(1, 10, 2)) == (10.0, 2.0)
