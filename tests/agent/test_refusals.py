"""Refusals: told once each, and each kind once a minute."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewright.agent.database import Database
from edgewright.agent.journal import Journal
from edgewright.agent.ledger import Ledger
from edgewright.agent.outbox import Outbox
from edgewright.agent.refusals import QUIET_SECONDS, REMEMBERED, Refusals
from edgewright.agent.samplefiles import SampleFiles
from edgewright.wire import messages
from edgewright.wire.errors import RollbackAttackError, TamperedMetadataError
from edgewright.wire.messages import Report


class World:
    """Refusals over a real outbox, and their time."""

    def __init__(self, folder: Path) -> None:
        self.now = 0.0
        self.database = Database(folder / "agent.db")
        self._outbox = Outbox(self.database, "robot-1", SampleFiles(folder / "samples"))
        ledger = Ledger("robot-1", self.database, Journal(self.database), self._outbox)
        self.refusals = Refusals(ledger, lambda: self.now)

    def told(self) -> list[str]:
        """Sentences of all reports so far."""
        rows = self.database.connection.execute("SELECT payload FROM messages ORDER BY id")
        reports = [messages.decode_up(payload) for (payload,) in rows]
        return [report.detail for report in reports if isinstance(report, Report)]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A device that has refused nothing."""
    made = World(tmp_path)
    yield made
    made.database.close()


def test_each_kind_is_told_once_a_minute_with_a_count(world: World) -> None:
    """The next report of a kind says how many were left out; another kind is told at once."""
    for number in range(10):
        world.refusals.note(TamperedMetadataError("Forged."), f"{number}")
    world.refusals.note(RollbackAttackError("Older."), "a")
    world.now = QUIET_SECONDS
    world.refusals.note(TamperedMetadataError("Forged."), "b")
    assert world.told() == [
        "Forged.",
        "Older.",
        "Forged. 9 more of this kind were refused since the last report.",
    ]


def test_payloads_in_turn_are_told_once(world: World) -> None:
    """A payload that is delivered for hours, in turn with others, is told when it comes first."""
    for _ in range(5):
        world.now += 2 * QUIET_SECONDS
        for payload in ("a", "b"):
            world.refusals.note(TamperedMetadataError(f"{payload}."), payload)
            world.now += 2 * QUIET_SECONDS
    assert world.told() == ["a.", "b."]


def test_memory_of_payloads_is_bounded(world: World) -> None:
    """However many payloads are refused, no more than some hundred are remembered."""
    for number in range(2 * REMEMBERED):
        world.refusals.note(TamperedMetadataError("Forged."), f"{number}")
    assert len(world.refusals._known) == REMEMBERED
