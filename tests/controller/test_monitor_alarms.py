"""When an alarm ends, when the next one may come, and harm that confidences alone must not claim."""

import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgewright.controller.database import select
from edgewright.controller.database.evidencetables import Alarm
from edgewright.controller.database.tables import Artifact
from edgewright.controller.findings import close_alarms
from edgewright.controller.monitor import QUIET_S
from edgewright.wire.canonical import canonical_json
from tests.controller.windows_fleet import MODEL, START, Fleet, histogram_of

SURE = (4.0, 0.5)
UNSURE = (4.0, 1.5)
"""Of beta distributions; the second lies where the first has values."""


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A fleet whose versions were tested at 9 % errors."""
    fleet = Fleet(tmp_path)
    yield fleet
    fleet.db.close()


def alarms(fleet: Fleet) -> list[tuple[int, bool]]:
    """Every alarm: its version, and whether it is open."""
    with fleet.db.reading() as session:
        rows = session.exec(select(Alarm)).all()
    return [(alarm.version, alarm.closed_at == 0.0) for alarm in rows]


def replaced(fleet: Fleet) -> None:
    """Version 1 does harm, and version 2 takes its place, as after a rebuild."""
    fleet.run(20, 0.09)
    fleet.run(20, 0.4)
    assert alarms(fleet) == [(1, True)]
    fleet.run(5, 0.05, version=2, decided_by=2)
    with fleet.db.session() as session:
        close_alarms(session, MODEL, 2)
    # The alarm was closed by the real clock, which is ahead of the fleet's.
    fleet.wait(time.time() - START + 60.0)


def test_the_alarm_of_harm_that_is_over_is_closed_and_may_come_again(fleet: Fleet) -> None:
    """Harm that is over for ten minutes closes its alarm; the version may alarm again, after a restart."""
    fleet.run(20, 0.09)
    fleet.run(20, 0.4)
    fleet.run(60, 0.05)
    assert alarms(fleet) == [(1, True)]
    fleet.run(int(QUIET_S / 2.0) + 200, 0.05)
    assert alarms(fleet) == [(1, False)]
    assert len(fleet.events("alarm.closed")) == 1
    fleet.monitor = fleet.new_monitor()
    fleet.monitor.replay()
    fleet.run(30, 0.4)
    assert alarms(fleet) == [(1, False), (1, True)]
    assert fleet.alarms == [1, 2]


def test_a_version_that_runs_again_may_alarm_again(fleet: Fleet) -> None:
    """After a rollback to a version whose alarm was closed, its harm is a new alarm and told."""
    replaced(fleet)
    fleet.run(10, 0.09)
    assert alarms(fleet) == [(1, False)]
    fleet.run(30, 0.4)
    assert alarms(fleet) == [(1, False), (1, True)]
    assert fleet.alarms == [1, 2]


@pytest.mark.parametrize("restarts", [False, True])
def test_harm_that_was_answered_raises_no_second_alarm(fleet: Fleet, restarts: bool) -> None:
    """A version that comes back and packs rightly has no alarm of what it did before, after a restart too."""
    replaced(fleet)
    if restarts:
        fleet.monitor = fleet.new_monitor()
        fleet.monitor.replay()
    fleet.run(40, 0.07)
    assert alarms(fleet) == [(1, False)]
    assert [finding.closed_at > 0.0 for finding in fleet.findings() if finding.harm] == [True]


class Calibrated(Fleet):
    """A fleet whose first version was tested with labels by confidence, in light of 0.5."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        rng = np.random.default_rng(1)
        drawn = rng.beta(*SURE, 2000)
        right = rng.random(2000) < drawn
        seen = histogram_of("confidence", drawn.tolist()).pack()
        profile = {
            "model": MODEL,
            "version": 1,
            "target": "x86_64-ort-cpu",
            "error_rate": 0.09,
            "error_rate_n": 2000,
            "histograms": {
                "confidence": seen,
                "labelled_confidence": seen,
                "right_confidence": histogram_of("confidence", drawn[right].tolist()).pack(),
                "brightness": histogram_of("unit", rng.normal(0.5, 0.08, 2000).tolist()).pack(),
            },
            "classes": {"A": 1},
        }
        with self.db.session() as session:
            artifact = session.get_one(Artifact, (MODEL, 1, "x86_64-ort-cpu"))
            artifact.profile_sha256 = self.blobs.put(canonical_json(profile))
            session.add(artifact)

    def unlabelled(self, rounds: int, confidence: tuple[float, float], brightness: float) -> None:
        """Rounds of windows without labels."""
        for _ in range(rounds):
            windows = self.windows(0.0, confidence=confidence, brightness=brightness)
            self.send([msgspec.structs.replace(window, outcomes=()) for window in windows])


@pytest.mark.parametrize(("brightness", "harm"), [(0.5, True), (0.08, False)])
def test_confidence_claims_no_harm_in_light_that_testing_never_saw(
    tmp_path: Path, brightness: float, harm: bool
) -> None:
    """In another light a confidence need not be worth what it was in testing: only labels tell of harm."""
    fleet = Calibrated(tmp_path)
    fleet.unlabelled(20, SURE, 0.5)
    fleet.unlabelled(60, UNSURE, brightness)
    assert bool(alarms(fleet)) is harm
    assert fleet.findings()
    fleet.db.close()
