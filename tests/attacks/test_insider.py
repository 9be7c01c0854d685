"""The attacker has an account, or writes to the controller's database; what he did has to show."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from edgewright.controller.database.engine import Database
from edgewright.controller.errors import AuditBrokenError
from edgewright.controller.people import audit


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Database]:
    """A database with an audit log of five entries that verifies."""
    db = Database.in_folder(tmp_path)
    db.create()
    for number in range(5):
        with db.session() as session:
            audit.enter(session, "rollout.abort", f"rollout {number}", actor="eve", role="operator")
    assert audit.verify(audit.entries(db)).seq == 5
    yield db
    db.close()


def _without_guards(folder: Path, statement: str, *values: str) -> None:
    """What somebody does who may write the file: the guards are taken down first."""
    with closing(sqlite3.connect(folder / "edgewright.db")) as file, file:
        names = [name for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")]
        for name in names:
            file.execute(f"DROP TRIGGER {name}")
        file.execute(statement, values)


@pytest.mark.parametrize("statement", ["UPDATE auditentry SET actor = 'adam'", "DELETE FROM auditentry"])
def test_audit_log_rewritten_through_the_database(log: Database, tmp_path: Path, statement: str) -> None:
    """The database itself refuses to change or delete an entry, whoever asks through it."""
    with (
        closing(sqlite3.connect(tmp_path / "edgewright.db")) as file,
        file,
        pytest.raises(sqlite3.IntegrityError),
    ):
        file.execute(statement)
    assert audit.verify(audit.entries(log)).seq == 5


@pytest.mark.parametrize(
    ("statement", "entry"),
    [
        ("UPDATE auditentry SET actor = 'adam' WHERE seq = 3", 3),
        ("DELETE FROM auditentry WHERE seq = 2", 2),
    ],
)
def test_audit_log_edited(log: Database, tmp_path: Path, statement: str, entry: int) -> None:
    """An entry that was edited or removed in the file breaks the chain, and the report names it."""
    _without_guards(tmp_path, statement)
    with pytest.raises(AuditBrokenError, match=f"Entry {entry} "):
        audit.verify(audit.entries(log))


def test_audit_log_edited_with_a_new_digest(log: Database, tmp_path: Path) -> None:
    """An edited entry with the right digest of its own no longer fits the next one."""
    third = list(audit.entries(log))[2]
    changed = audit.digest(msgspec.structs.replace(third, actor="adam"))
    _without_guards(tmp_path, "UPDATE auditentry SET actor = 'adam', sha256 = ? WHERE seq = 3", changed)
    with pytest.raises(AuditBrokenError, match="Entry 4 "):
        audit.verify(audit.entries(log))


def test_audit_log_cut_off(log: Database, tmp_path: Path) -> None:
    """A log whose end is gone is whole by itself; a head that was copied away tells."""
    with log.reading() as session:
        head = audit.tip(session)
    _without_guards(tmp_path, "DELETE FROM auditentry WHERE seq > 3")
    assert audit.verify(audit.entries(log)).seq == 3
    with pytest.raises(AuditBrokenError, match="Entry 4 is missing"):
        audit.verify(audit.entries(log), [head])
