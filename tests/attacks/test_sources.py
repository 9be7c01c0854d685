"""Robots that speak in the evidence for whom they are not."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from edgewright.controller.labels import AUDIT
from edgewright.wire.messages import Outcomes
from tests.controller.windows_fleet import MODEL, Fleet


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """Four robots whose labels have been honest for a while."""
    fleet = Fleet(tmp_path)
    fleet.run(5, 0.09)
    yield fleet
    fleet.db.close()


def lie(fleet: Fleet, *sources: str) -> None:
    """One robot tells wrong items beside its honest ones, by some sources."""
    lies = tuple(Outcomes(1, 6, 6, source) for source in sources)
    for _ in range(12):
        windows = fleet.windows(0.09)
        fleet.send([msgspec.structs.replace(windows[0], outcomes=windows[0].outcomes + lies), *windows[1:]])


def test_robot_speaks_as_a_person(fleet: Fleet) -> None:
    """Labels that a robot sends as a person's audits are its own, and raise no alarm about its siblings."""
    lie(fleet, AUDIT)
    assert fleet.alarms == []
    assert [verdict.device for verdict in fleet.monitor.findings(MODEL)] == ["r1"]


def test_robot_invents_sources(fleet: Fleet) -> None:
    """A robot with many sources that nobody else has is named, alone, and raises no alarm."""
    lie(fleet, *(f"s{number}" for number in range(9)))
    assert fleet.alarms == []
    assert [verdict.device for verdict in fleet.monitor.findings(MODEL)] == ["r1"]
