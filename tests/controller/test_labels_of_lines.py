"""What a line was told, by which source, held against what people saw."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewright.controller import labels
from edgewright.controller.database import Session
from edgewright.controller.database.engine import Database
from edgewright.controller.labels import AUDIT, Agreement
from tests.controller.labelled_line import MODEL, add_line, frame


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """A database with a line whose two scanners told of six frames, and a person who saw bags."""
    db = Database.in_folder(tmp_path)
    db.create()
    with db.session() as opened:
        add_line(opened)
        for i, (source, truth) in enumerate(
            [("near", "bag"), ("near", "bag"), ("far", "boot"), ("far", "bag"), ("", "bag"), ("", "boot")]
        ):
            sample = frame(f"i{i}", truth=truth)
            sample.source = source
            opened.add(sample)
            opened.flush()
            labels.tell(opened, "robot-1", f"i{i}", "bag", AUDIT, "Mia", 1.0, 5.0, model=MODEL)
        yield opened
    db.close()


def test_each_source_of_a_line_is_judged_by_its_own_truths(session: Session) -> None:
    """A scanner that names itself answers for what it told, and the line for what had no name."""
    found = {source: labels.source_agreement(session, MODEL, source) for source in ("near", "far", "line")}
    assert found == {"near": Agreement(2, 2), "far": Agreement(1, 2), "line": Agreement(1, 2)}
    assert labels.line_agreement(session, MODEL, ("near", "")) == Agreement(1, 2)
    assert labels.tellers(session, MODEL) == ("line", "far", "near")


def test_a_word_that_came_both_ways_counts_once(session: Session) -> None:
    """A source that tells the line and the controller of one item is compared once on it."""
    labels.tell(session, "robot-1", "i2", "boot", "far", "MES", 1.0, 6.0, model=MODEL)
    labels.tell(session, "robot-1", "i0", "bag", "far", "MES", 1.0, 6.0, model=MODEL)
    assert labels.source_agreement(session, MODEL, "far") == Agreement(2, 3)


@pytest.mark.parametrize(
    ("told", "source"), [("audit", ""), ("line", ""), ("near", "near"), ("x" * 99, "x" * 64)]
)
def test_a_device_cannot_tell_as_a_person(told: str, source: str) -> None:
    """The names of people and of lines are none that a device's source may have."""
    assert labels.line_source(told) == source
