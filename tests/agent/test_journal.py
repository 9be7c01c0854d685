"""The journal: remembers what was accepted, moves only along the table, survives, refuses newer data."""

import sqlite3
from pathlib import Path

import msgspec
import pytest

from edgewright.agent.agreement import Assignment, ImageTarget, Seen
from edgewright.agent.database import SCHEMA_VERSION, STEPS, Database
from edgewright.agent.journal import KEPT, Journal
from edgewright.wire.assignment import Orders, TargetCustom
from edgewright.wire.deployment import Event, State
from edgewright.wire.errors import (
    ConfigurationError,
    DamagedDatabaseError,
    IllegalTransitionError,
    MalformedMessageError,
    NewerDataError,
    StorageFullError,
)

TARGET = ImageTarget("m/t/3.json", 900, "a" * 64, TargetCustom("m", "t", 3, 30))


def assignment(version: int) -> Assignment:
    """An assignment of one release."""
    return Assignment(version, f"{version:064x}", 2e9, TARGET, Orders("robot-1", 1000.0 + version, 1, 1, 1))


def open_journal(folder: Path) -> tuple[Database, Journal]:
    """A journal over a file."""
    database = Database(folder / "agent.db")
    return database, Journal(database)


def test_everything_survives(tmp_path: Path) -> None:
    """What was written is there for the next process: assignment, clock, versions, state, slots, floors."""
    database, journal = open_journal(tmp_path)
    deployment = journal.accept(assignment(4), 1.0)
    deployment = journal.move(deployment, Event.ACCEPTED, 2.0)
    deployment = journal.move(deployment, Event.FETCHED, 3.0, fetched_bytes=77)
    journal.note_seen(Seen(2, 9))
    journal.set_slot("b", deployment)
    journal.set_active("b")
    journal.raise_floor("m", 30)
    journal.set_offset(12.5)
    journal.note_director_root(3, ("k1", "k2"), restarts=False)
    journal.note_agreed(msgspec.structs.replace(TARGET, custom=TargetCustom("m", "t", 3, 30, 20)), b"proof")
    assert journal.count_connection() == 1
    database.close()
    _, again = open_journal(tmp_path)
    assert again.device() == (4, f"{4:064x}", 1004.0, Seen(2, 9), "b", 12.5, 3, ("k1", "k2"), False)
    assert again.slots() == {"a": None, "b": deployment}
    assert again.unfinished() == [deployment]
    assert (deployment.state, deployment.fetched_bytes) == (State.STAGED, 77)
    assert (again.floors(), again.minimums()) == ({"m": 30}, {"m": 20})
    assert again.names() == {TARGET.path: TARGET.sha256}
    assert again.proof(TARGET.sha256) == b"proof"
    again.keep_proofs([])
    assert again.proof(TARGET.sha256) is None
    assert again.count_connection() == 2


def test_memory_only_grows(tmp_path: Path) -> None:
    """Clock, metadata versions and floors never go back."""
    _, journal = open_journal(tmp_path)
    journal.accept(assignment(9), 1.0)
    journal.accept(assignment(2), 1.0)
    journal.note_seen(Seen(3, 8))
    journal.note_seen(Seen(2, 9))
    journal.raise_floor("m", 5)
    journal.raise_floor("m", 4)
    assert (journal.device().clock, journal.device().seen, journal.floors()) == (1009.0, Seen(3, 9), {"m": 5})


def test_new_keys_of_the_director_count_anew(tmp_path: Path) -> None:
    """Where all keys were replaced, the clock's floor and the assignment's version begin again, once."""
    _, journal = open_journal(tmp_path)
    journal.accept(assignment(2**40), 1.0)
    journal.note_director_root(2, ("new",), restarts=True)
    device = journal.device()
    assert (device.clock, device.restarts, device.director_keys) == (0.0, True, ("new",))
    journal.accept(assignment(3), 1.0)
    device = journal.device()
    assert (device.version, device.clock, device.restarts) == (3, 1003.0, False)


def test_folder_of_the_older_schema_is_taken_over(tmp_path: Path) -> None:
    """A folder of schema 1 keeps everything and gets what schema 2 adds; read-only it is refused by name."""
    old = sqlite3.connect(tmp_path / "agent.db", isolation_level=None)
    old.executescript(f"BEGIN; {STEPS[0]} PRAGMA user_version = 1; COMMIT;")
    old.execute("UPDATE device SET assignment_version = 4, clock = 7.0")
    old.execute("INSERT INTO floors VALUES ('m', 30)")
    old.close()
    with pytest.raises(ConfigurationError, match="start it once"):
        Database(tmp_path / "agent.db", read_only=True)
    database, journal = open_journal(tmp_path)
    assert database.connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
    assert journal.device() == (4, "", 7.0, Seen(0, 0), None, None, 0, (), False)
    assert (journal.floors(), journal.minimums(), journal.names()) == ({"m": 30}, {}, {})


def test_illegal_move_changes_nothing(tmp_path: Path) -> None:
    """A move that the table does not list raises and the row stays."""
    _, journal = open_journal(tmp_path)
    deployment = journal.accept(assignment(1), 1.0)
    with pytest.raises(IllegalTransitionError):
        journal.move(deployment, Event.PROVEN, 2.0)
    assert journal.deployment(deployment.id) == deployment


def test_transaction_is_all_or_nothing(tmp_path: Path) -> None:
    """An error inside an outer transaction takes back what inner ones wrote."""
    database, journal = open_journal(tmp_path)

    def fail_after_writing() -> None:
        with database.transaction():
            journal.raise_floor("m", 1)
            journal.accept(assignment(1), 1.0)
            raise KeyError

    with pytest.raises(KeyError):
        fail_after_writing()
    assert (journal.floors(), journal.deployments()) == ({}, [])
    journal.raise_floor("m", 2)
    assert journal.floors() == {"m": 2}


def test_newer_data_folder_is_refused(tmp_path: Path) -> None:
    """A database of a newer agent raises with number 49 and is left as it is."""
    database, _ = open_journal(tmp_path)
    database.connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    database.close()
    with pytest.raises(NewerDataError) as caught:
        open_journal(tmp_path)
    assert caught.value.number == 49
    assert f"schema {SCHEMA_VERSION + 1}" in str(caught.value)


def test_file_that_is_no_database(tmp_path: Path) -> None:
    """Another file in the database's place is a damaged database, by its name, not a traceback."""
    (tmp_path / "agent.db").write_bytes(b"this is a letter" * 100)
    with pytest.raises(DamagedDatabaseError):
        open_journal(tmp_path)


def test_full_disk_is_named_and_changes_nothing(tmp_path: Path) -> None:
    """Where the file cannot grow, a write raises StorageFull, is undone, and later writes work again."""
    database, journal = open_journal(tmp_path)
    (pages,) = database.connection.execute("PRAGMA page_count").fetchone()
    database.connection.execute(f"PRAGMA max_page_count = {pages}")

    def write_too_much() -> None:
        with database.transaction():
            journal.raise_floor("m", 1)
            journal.note_agreed(TARGET, bytes(100_000))

    with pytest.raises(StorageFullError):
        write_too_much()
    assert (journal.floors(), journal.deployments()) == ({}, [])
    database.connection.execute("PRAGMA max_page_count = 100000")
    journal.note_agreed(TARGET, bytes(100_000))
    journal.accept(assignment(1), 1.0)
    assert len(journal.deployments()) == 1


def test_old_deployments_and_names_are_forgotten(tmp_path: Path) -> None:
    """The newest ``KEPT`` are remembered, and what a slot holds, however old it is."""
    _, journal = open_journal(tmp_path)
    oldest = journal.accept(assignment(1), 1.0)
    journal.set_slot("a", oldest)
    for version in range(2, KEPT + 12):
        journal.accept(assignment(version), 1.0)
        journal.note_agreed(msgspec.structs.replace(TARGET, path=f"{version}.json"), b"")
    kept = journal.deployments(2 * KEPT)
    assert len(kept) == KEPT + 1
    assert kept[-1] == journal.slots()["a"] == oldest
    assert len(journal.names()) == KEPT
    assert f"{KEPT + 11}.json" in journal.names()


def test_number_that_is_too_large_is_named_and_changes_nothing(tmp_path: Path) -> None:
    """What SQLite cannot hold is a numbered error, not the end of the process."""
    _, journal = open_journal(tmp_path)
    before = journal.device()
    with pytest.raises(MalformedMessageError):
        journal.note_director_root(2**63, ("k",), restarts=True)
    assert journal.device() == before


def test_database_is_private(tmp_path: Path) -> None:
    """The database is readable by its owner only."""
    open_journal(tmp_path)
    assert (tmp_path / "agent.db").stat().st_mode & 0o077 == 0


def test_reading_beside_a_writer(tmp_path: Path) -> None:
    """A read-only look sees the newest commit while the agent writes, and cannot write."""
    _, journal = open_journal(tmp_path)
    journal.raise_floor("m", 3)
    look = Database(tmp_path / "agent.db", read_only=True)
    assert Journal(look).floors() == {"m": 3}
    with pytest.raises(sqlite3.OperationalError):
        look.connection.execute("DELETE FROM floors")
