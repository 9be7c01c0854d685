"""The monitor where a plant has much of something: tags, classes, audits, versions."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from edgewright.controller.evidence import bank, forgetting
from edgewright.controller.evidence.baselines import MOST_TAGS
from tests.controller.windows_fleet import DEVICES, Fleet


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A fleet whose versions were tested at 9 % errors."""
    fleet = Fleet(tmp_path)
    yield fleet
    fleet.db.close()


def send_lots(fleet: Fleet, rounds: int, error: float) -> None:
    """Rounds in which each window has a tag and classes of its own, as where the tag is a lot number."""
    for number in range(rounds):
        windows = fleet.windows(error, brightness=0.5)
        lots = [f"lot-{number}-{robot}" for robot in DEVICES]
        fleet.send(
            [replace(w, tag=lot, classes={f"of-{lot}": 20}) for w, lot in zip(windows, lots, strict=True)]
        )


def test_many_tags_take_no_robots_row(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where every window has a tag of its own, the robots are watched as before."""
    rows = MOST_TAGS + len(DEVICES) + 1
    monkeypatch.setattr(bank, "MOST_ROWS", rows)
    monkeypatch.setattr(forgetting, "MOST_ROWS", rows)
    silent = fleet.windows(0.09)[0]
    for number in range(rows):
        one = replace(silent, seq=silent.seq + number, tag=f"lot-{number}", outcomes=())
        fleet.monitor.observe([one])
    for _ in range(40):
        dark = fleet.windows(0.09, brightness=0.3)
        bright = fleet.windows(0.09, brightness=0.5)
        fleet.send([d if d.device == "r3" else b for d, b in zip(dark, bright, strict=True)])
    assert [(finding.device, finding.harm) for finding in fleet.findings()] == [("r3", False)]


def test_labels_of_many_tags_count_for_the_fleet(fleet: Fleet) -> None:
    """Harm is found where every window has a tag and classes of its own."""
    send_lots(fleet, 20, 0.09)
    assert fleet.alarms == []
    send_lots(fleet, 20, 0.6)
    assert fleet.alarms == [1]
