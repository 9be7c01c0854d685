"""Audits as evidence: what people see counts as it stands, not as it was typed first."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from edgewright.controller import looks, monitor
from edgewright.controller.database.evidencetables import Label
from edgewright.controller.database.tables import Sample
from tests.controller.windows_fleet import DEVICES, MODEL, Fleet


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """A fleet with one round of windows without labels; its monitor looks for audits each time."""
    monkeypatch.setattr(monitor, "LOOKED_EVERY_S", -1.0)
    fleet = Fleet(tmp_path)
    fleet.send([replace(window, outcomes=()) for window in fleet.windows(0.09)])
    yield fleet
    fleet.db.close()


def look_at(fleet: Fleet, number: int, truth: str, ago: float) -> None:
    """A person says what a random frame shows that version 1 decided as A; once more where they had."""
    device, item, at = DEVICES[number % 4], f"i{number}", time.time() - ago
    sample = Sample(
        device=device,
        item=item,
        model=MODEL,
        version=1,
        tag="",
        taken_at=at,
        label="A",
        confidence=0.9,
        reason="random",
        probability=0.01,
        image_sha256="",
    )
    label = Label(
        device=device, item=item, source="audit", model=MODEL, version=1, decided="A", truth=truth, at=at
    )
    with fleet.db.session() as session:
        session.merge(sample)
        session.merge(label)


def counted(fleet: Fleet) -> tuple[int, int]:
    """Audits that the monitor counts now, and wrong decisions among them."""
    fleet.monitor.observe([])
    told = [health for health in fleet.monitor.status(MODEL) if health.version == 1]
    return sum(health.labelled for health in told), sum(health.wrong for health in told)


def test_a_look_that_was_undone_or_corrected_counts_as_it_stands(fleet: Fleet) -> None:
    """Three looks, one taken back and one corrected: the monitor has what a restart would make of them."""
    for number in range(3):
        look_at(fleet, number, "B", ago=900.0 - number)
    assert counted(fleet) == (3, 3)
    with fleet.db.session() as session:
        session.delete(session.get_one(Label, (DEVICES[0], "i0", "audit")))
    look_at(fleet, 1, "A", ago=300.0)
    assert counted(fleet) == (2, 1)
    fleet.monitor = fleet.new_monitor()
    fleet.monitor.replay()
    assert counted(fleet) == (2, 1)


def test_a_look_counts_when_it_has_settled(fleet: Fleet) -> None:
    """What may be undone at once is no evidence yet, and is evidence a minute later."""
    look_at(fleet, 0, "B", ago=looks.SETTLED_S / 2)
    assert counted(fleet) == (0, 0)
    look_at(fleet, 0, "B", ago=looks.SETTLED_S + 1.0)
    assert counted(fleet) == (1, 1)


def test_a_frame_that_comes_after_its_look_counts(fleet: Fleet) -> None:
    """A label of an item that nobody knew counts once the sample of it has come."""
    look_at(fleet, 0, "B", ago=300.0)
    with fleet.db.session() as session:
        label = session.get_one(Label, (DEVICES[0], "i0", "audit"))
        label.version, label.decided = 0, ""
    assert counted(fleet) == (0, 0)
    with fleet.db.session() as session:
        label = session.get_one(Label, (DEVICES[0], "i0", "audit"))
        label.version, label.decided = 1, "A"
    assert counted(fleet) == (1, 1)
