"""A database that the disk has damaged: set aside, and what can still be read of it taken into a new one.

A device whose journal is damaged has to live on: its model lies in the store under its digest, its trust
roots in files of their own. What the new database lacks is named in a report, and the damaged file stays.

- Row by row, whatever can be read and understood is taken over: floors, names, signatures, deployments.
- No floor is invented and none is lowered in silence: each table that was not read to its end is named.
- The accepted assignment is asked for again: the version before it counts as the accepted one, so that the
  document on the device's topic opens a deployment. If its release still decides, that ends without work.
- Messages are given up, and the outbox begins a new stream: numbers that may have been sent are not used
  again.
"""

import contextlib
import logging
import os
import sqlite3
from pathlib import Path
from typing import Final

import msgspec

from edgewright.agent.database import Database, is_damage
from edgewright.agent.journal import Journal
from edgewright.agent.privatefiles import sync_folder
from edgewright.wire.errors import DamagedDatabaseError

TABLES: Final = {
    "device": "the accepted assignment and the newest metadata",
    "floors": "floors of release counters",
    "names": "names that were signed",
    "proofs": "signatures over releases",
    "deployments": "deployments",
    "slots": "what the slots hold",
}
"""What is taken over, and what a report calls it."""

SMALLEST_PAGE_BYTES: Final = 512
"""SQLite takes a file without a whole page for an empty database."""

NOT_UNDERSTOOD: Final = (msgspec.MsgspecError, ValueError, TypeError, AttributeError, sqlite3.Error)
"""What reading a row of damaged bytes may end with."""

log = logging.getLogger(__name__)


def open_database(path: Path) -> tuple[Database, DamagedDatabaseError | None]:
    """Open the agent's database, or a new one with what can be read of a damaged one.

    Returns:
        The database, and what was lost, to be reported; None where the file was whole.

    Raises:
        NewerDataError: a newer agent wrote the file.
        ConfigurationError: the file cannot be opened, for another reason than damage.
    """
    if _was_lost(path):
        for rest in (path, _log(path)):
            rest.unlink(missing_ok=True)
        missing = "The agent's database is gone or empty, and the store is not: a new one was begun."
        return Database(path), DamagedDatabaseError(f"{missing} Lost are {', '.join(TABLES.values())}.")
    try:
        return _whole(path), None
    except DamagedDatabaseError as error:
        log.warning("%s", error)
        lost = _begin_anew(path)
        kept = path.with_name(path.name + ".damaged").name
        missing = f"lost are {', '.join(lost)}" if lost else "nothing but waiting messages is lost"
        return Database(path), DamagedDatabaseError(f"{error.sentence} It is kept as {kept}; {missing}.")


def _was_lost(path: Path) -> bool:
    """Whether there is no database where one has been: it is durable before a file comes into the store."""
    is_new = not path.exists() or path.stat().st_size < SMALLEST_PAGE_BYTES
    store = path.parent / "store"
    return is_new and store.is_dir() and any(store.iterdir())


def _whole(path: Path) -> Database:
    database = Database(path)
    try:
        database.check()
        _understand(database)
    except BaseException:
        database.close()
        raise
    return database


def _understand(database: Database) -> None:
    """Read what an agent reads at its start.

    Raises:
        DamagedDatabaseError: something cannot be understood.
    """
    journal = Journal(database)
    try:
        journal.device()
        journal.floors()
        journal.minimums()
        journal.names()
        journal.slots()
        journal.deployments(50)
    except NOT_UNDERSTOOD as error:
        if isinstance(error, sqlite3.Error) and not is_damage(error):
            raise
        raise DamagedDatabaseError(f"The agent's database cannot be understood: {error}.") from error


def _begin_anew(path: Path) -> list[str]:
    """Put a new database into the damaged one's place; what could not be taken over."""
    fresh, aside = path.with_name(path.name + ".new"), path.with_name(path.name + ".damaged")
    for leftover in (fresh, _log(fresh), aside, _log(aside)):
        leftover.unlink(missing_ok=True)
    database = Database(fresh)
    try:
        lost = _take_over(path, database)
    finally:
        database.close()
    os.link(path, aside)
    with contextlib.suppress(FileNotFoundError):
        # A log beside a file that it was not written for would be worked into it.
        _log(path).rename(_log(aside))
    fresh.rename(path)
    sync_folder(path.parent)
    return lost


def _take_over(path: Path, fresh: Database) -> list[str]:
    damaged = sqlite3.connect(f"file:{path}?mode=rw", uri=True, isolation_level=None)
    try:
        with fresh.transaction() as connection:
            lost = [said for table, said in TABLES.items() if not _copy(damaged, connection, table)]
    finally:
        damaged.close()
    lost += _drop_what_is_not_understood(fresh)
    with fresh.transaction() as connection:
        connection.execute(
            "UPDATE device SET assignment_version = max(0, assignment_version - 1), assignment_sha256 = ''"
        )
    return list(dict.fromkeys(lost))


def _copy(damaged: sqlite3.Connection, fresh: sqlite3.Connection, table: str) -> bool:
    """Take a table's rows over; whether it was read to its end."""
    columns = [row[1] for row in fresh.execute(f"PRAGMA table_info({table})")]
    names, marks = ", ".join(columns), ", ".join("?" for _ in columns)
    try:
        for row in damaged.execute(f"SELECT {names} FROM {table}"):  # noqa: S608 - constant names
            # A row that breaks a rule of its table is no row that was written.
            with contextlib.suppress(sqlite3.IntegrityError):
                fresh.execute(f"INSERT OR REPLACE INTO {table} ({names}) VALUES ({marks})", row)  # noqa: S608 - constant names
    except (sqlite3.Error, UnicodeDecodeError):
        return False
    return True


def _drop_what_is_not_understood(fresh: Database) -> list[str]:
    """Remove rows that an agent could not read; what was removed."""
    journal, lost = Journal(fresh), []
    for (number,) in fresh.connection.execute("SELECT id FROM deployments").fetchall():
        try:
            journal.deployment(number)
        except NOT_UNDERSTOOD:
            fresh.connection.execute("DELETE FROM deployments WHERE id = ?", (number,))
            lost.append(TABLES["deployments"])
    fresh.connection.execute(
        "UPDATE slots SET deployment = NULL WHERE deployment NOT IN (SELECT id FROM deployments)"
    )
    fresh.connection.execute(
        "UPDATE device SET active = NULL "
        "WHERE active NOT IN (SELECT slot FROM slots WHERE deployment IS NOT NULL)"
    )
    for table, read in (
        ("device", journal.device),
        ("floors", journal.floors),
        ("floors", journal.minimums),
        ("names", journal.names),
    ):
        try:
            read()
        except NOT_UNDERSTOOD:
            _empty(fresh, table)
            lost.append(TABLES[table])
    return lost


def _empty(fresh: Database, table: str) -> None:
    fresh.connection.execute(f"DELETE FROM {table}")  # noqa: S608 - a constant name
    if table == "device":
        fresh.connection.execute("INSERT INTO device (id) VALUES (1)")


def _log(path: Path) -> Path:
    return path.with_name(path.name + "-wal")
