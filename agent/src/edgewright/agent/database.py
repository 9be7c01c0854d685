"""The agent's one SQLite file: journal and outbox together, so that a state and its report are one commit.

``synchronous=FULL``: after a power cut nothing that was acted on or sent is forgotten. An outbox that forgot
would number two different messages alike, and the controller would drop the second as a repetition.

A disk that is full when the agent starts takes no write-ahead log. Then what the file holds is read into
memory, so that the model that is good is loaded. Each commit first tries whether the disk takes it by now.

A process that was killed may have left commits that the next one sees and that no disk has. So what is in the
log is synchronised and worked into the file before anything builds on it.
"""

import contextlib
import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from edgewright.wire.errors import (
    ConfigurationError,
    DamagedDatabaseError,
    MalformedMessageError,
    NewerDataError,
    StorageFullError,
)

STEPS: Final = (
    """
CREATE TABLE device (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    assignment_version INTEGER NOT NULL DEFAULT 0,
    assignment_sha256 TEXT NOT NULL DEFAULT '',
    assignment_raw BLOB NOT NULL DEFAULT x'',
    clock REAL NOT NULL DEFAULT 0,
    root INTEGER NOT NULL DEFAULT 0,
    timestamp INTEGER NOT NULL DEFAULT 0,
    active TEXT
);
INSERT INTO device (id) VALUES (1);
CREATE TABLE floors (model TEXT PRIMARY KEY, counter INTEGER NOT NULL);
CREATE TABLE deployments (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    assignment BLOB NOT NULL,
    state TEXT NOT NULL,
    error INTEGER NOT NULL DEFAULT 0,
    detail TEXT NOT NULL DEFAULT '',
    slot TEXT,
    fetched_bytes INTEGER NOT NULL DEFAULT 0,
    updated_at REAL NOT NULL
);
CREATE TABLE slots (slot TEXT PRIMARY KEY, deployment INTEGER REFERENCES deployments (id));
INSERT INTO slots (slot) VALUES ('a'), ('b');
CREATE TABLE outbox (stream TEXT NOT NULL, next_seq INTEGER NOT NULL, bytes INTEGER NOT NULL);
INSERT INTO outbox VALUES (lower(hex(randomblob(16))), 1, 0);
CREATE TABLE messages (seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, payload BLOB NOT NULL);
CREATE INDEX messages_by_kind ON messages (kind, seq);
""",
    """
ALTER TABLE device ADD COLUMN connections INTEGER NOT NULL DEFAULT 0;
ALTER TABLE device ADD COLUMN director_root INTEGER NOT NULL DEFAULT 0;
ALTER TABLE device ADD COLUMN clock_offset REAL;
ALTER TABLE device ADD COLUMN online_keys TEXT NOT NULL DEFAULT '';
ALTER TABLE floors ADD COLUMN minimum INTEGER NOT NULL DEFAULT 0;
CREATE TABLE names (path TEXT PRIMARY KEY, sha256 TEXT NOT NULL);
CREATE TABLE proofs (sha256 TEXT PRIMARY KEY, proof BLOB NOT NULL);
""",
    """
ALTER TABLE device ADD COLUMN director_keys TEXT NOT NULL DEFAULT '';
ALTER TABLE device ADD COLUMN assignments_restart INTEGER NOT NULL DEFAULT 0;
""",
    """
ALTER TABLE deployments ADD COLUMN threads INTEGER NOT NULL DEFAULT 1;
""",
    """
ALTER TABLE messages RENAME TO old_messages;
DROP INDEX messages_by_kind;
CREATE TABLE messages (
    id INTEGER PRIMARY KEY,
    seq INTEGER,
    rank INTEGER NOT NULL,
    level INTEGER NOT NULL DEFAULT 0,
    mark TEXT NOT NULL DEFAULT '',
    since REAL NOT NULL DEFAULT 0,
    until REAL NOT NULL DEFAULT 0,
    count INTEGER NOT NULL DEFAULT 1,
    frames INTEGER NOT NULL DEFAULT 0,
    size INTEGER NOT NULL,
    payload BLOB NOT NULL
);
INSERT INTO messages (id, seq, rank, size, payload)
    SELECT seq, seq, CASE kind WHEN 'report' THEN 1 WHEN 'window' THEN 3 ELSE 5 END, length(payload), payload
    FROM old_messages;
DROP TABLE old_messages;
CREATE INDEX unsent ON messages (rank, level, id, count) WHERE seq IS NULL;
CREATE UNIQUE INDEX numbered ON messages (seq) WHERE seq IS NOT NULL;
CREATE INDEX pictures ON messages (mark) WHERE mark != '';
ALTER TABLE outbox ADD COLUMN next_id INTEGER NOT NULL DEFAULT 1;
ALTER TABLE outbox ADD COLUMN through INTEGER NOT NULL DEFAULT 0;
ALTER TABLE outbox ADD COLUMN made TEXT NOT NULL DEFAULT '{}';
ALTER TABLE outbox ADD COLUMN given_up TEXT NOT NULL DEFAULT '{}';
UPDATE outbox SET next_id = next_seq, through = coalesce((SELECT min(seq) FROM messages), next_seq) - 1;
""",
    """
ALTER TABLE device ADD COLUMN running INTEGER NOT NULL DEFAULT 0;
ALTER TABLE deployments ADD COLUMN starts INTEGER;
ALTER TABLE deployments ADD COLUMN trouble TEXT NOT NULL DEFAULT '';
ALTER TABLE deployments ADD COLUMN troubles INTEGER NOT NULL DEFAULT 0;
ALTER TABLE deployments ADD COLUMN qualification BLOB NOT NULL DEFAULT x'';
""",
    """
ALTER TABLE outbox ADD COLUMN line TEXT NOT NULL DEFAULT '';
ALTER TABLE outbox ADD COLUMN line_taken INTEGER NOT NULL DEFAULT 0;
""",
    """
DROP INDEX unsent;
CREATE INDEX unsent ON messages (rank, level, id DESC, count) WHERE seq IS NULL;
""",
    """
CREATE TABLE qualification (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    number INTEGER NOT NULL DEFAULT 0,
    sha256 TEXT NOT NULL DEFAULT '',
    expires REAL NOT NULL DEFAULT 0,
    day INTEGER NOT NULL DEFAULT 0,
    seconds REAL NOT NULL DEFAULT 0
);
INSERT INTO qualification (id) VALUES (1);
CREATE TABLE candidates (place INTEGER PRIMARY KEY, target BLOB NOT NULL, starts INTEGER NOT NULL DEFAULT 0);
""",
)
"""What each schema version adds; a folder of an older agent takes the steps that it lacks."""

SCHEMA_VERSION: Final = len(STEPS)


FURTHEST_VERSION: Final = 1000
"""Schemas that a newer agent may be ahead; a number beyond them is no number that was written."""

LOG_PAGES: Final = 256
"""Pages of 4 KiB in the write-ahead log after which it is worked into the file: 1 MiB."""

log = logging.getLogger(__name__)


class Database:
    """One connection, used by one thread.

    Args:
        path: the file; created with mode 0600 if it is missing.
        read_only: for a look from another process; nothing is created.

    Raises:
        NewerDataError: a newer agent wrote the file.
        DamagedDatabaseError: the file is none of SQLite's, or is damaged where it was read.
        ConfigurationError: the file cannot be opened.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._depth = 0
        self._path = path
        self._in_memory = False
        try:
            if not read_only and not path.exists():
                path.touch(mode=0o600)
            self.connection = _connect(path, "mode=ro" if read_only else "mode=rw")
            try:
                _open(self.connection, read_only=read_only)
            except sqlite3.Error as error:
                self.connection.close()
                if read_only or not _takes_nothing(error):
                    raise
                self.connection, self._in_memory = _read_into_memory(path), True
                log.warning("The agent's database is read only: %s.", error)
        except (sqlite3.Error, OSError, UnicodeDecodeError) as error:
            kind = DamagedDatabaseError if is_damage(error) else ConfigurationError
            raise kind(f"The agent's database {path} cannot be opened: {error}.") from error

    def _leave_memory(self) -> None:
        """Go on with the file, which has not changed meanwhile."""
        connection = _connect(self._path, "mode=rw")
        try:
            _open(connection, read_only=False)
        except BaseException:
            connection.close()
            raise
        self.connection.close()
        self.connection, self._in_memory = connection, False

    def check(self) -> None:
        """Read all of it.

        Raises:
            DamagedDatabaseError: a page is not what SQLite wrote.
        """
        try:
            (found,) = self.connection.execute("PRAGMA quick_check(1)").fetchone()
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            raise DamagedDatabaseError(f"The agent's database cannot be read: {error}.") from error
        if found != "ok":
            raise DamagedDatabaseError(f"The agent's database is damaged: {found}.")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, durable when the outermost block is left.

        Raises:
            DamagedDatabaseError: the disk has damaged the file.
        StorageFullError: the file cannot be written; nothing of the outermost block is kept.
            MalformedMessageError: a number is larger than the file can hold; nothing is kept either.
        """
        self._depth += 1
        try:
            if self._depth == 1:
                if self._in_memory:
                    self._leave_memory()
                self.connection.execute("BEGIN IMMEDIATE")
            yield self.connection
            if self._depth == 1:
                self.connection.execute("COMMIT")
        except BaseException as error:
            # SQLite has rolled back by itself where the disk is full.
            if self._depth == 1 and self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            if (damage := damage_of(error)) is not None:
                raise damage from error
            if isinstance(error, sqlite3.OperationalError):
                raise StorageFullError(f"The agent's database cannot be written: {error}.") from error
            if isinstance(error, OverflowError):
                raise MalformedMessageError(f"A number cannot be remembered: {error}.") from error
            raise
        finally:
            self._depth -= 1

    def close(self) -> None:
        """Close the file."""
        self.connection.close()


def damage_of(error: BaseException) -> DamagedDatabaseError | None:
    """What ends an agent that runs: its file is not what SQLite wrote, and only a start mends that."""
    if isinstance(error, DamagedDatabaseError):
        return error
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return DamagedDatabaseError(f"The agent's database was damaged while it ran: {error}.")
    return None


def _connect(path: Path, how: str) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{path}?{how}", uri=True, isolation_level=None)


def _open(connection: sqlite3.Connection, *, read_only: bool) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if not 0 <= version <= SCHEMA_VERSION + FURTHEST_VERSION:
        raise DamagedDatabaseError(f"The agent's database says that it has schema {version}.")
    if version > SCHEMA_VERSION:
        raise NewerDataError(
            f"The data folder has schema {version}, this agent knows up to {SCHEMA_VERSION}."
        )
    if read_only:
        if version < SCHEMA_VERSION:
            raise ConfigurationError(
                f"The data folder has schema {version}, this agent reads {SCHEMA_VERSION}: start it once."
            )
        return
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA cache_size = -512")  # KiB; the tables are small, the agent is too
    for number, step in enumerate(STEPS[version:], start=version + 1):
        connection.executescript(f"BEGIN; {step} PRAGMA user_version = {number}; COMMIT;")
    connection.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _read_into_memory(path: Path) -> sqlite3.Connection:
    """What a file and its log hold, and nothing can be written to."""
    log_path = path.with_name(path.name + "-wal")
    has_log = log_path.exists() and log_path.stat().st_size > 0
    file = _connect(path, "mode=rw" if has_log else "mode=ro&immutable=1")
    try:
        file.execute("PRAGMA locking_mode = EXCLUSIVE")  # The log's index is in memory then (wal.html, 8).
        memory = sqlite3.connect(":memory:", isolation_level=None)
        file.backup(memory)
    finally:
        file.close()
    _open(memory, read_only=False)
    memory.execute("PRAGMA query_only = 1")
    return memory


def _takes_nothing(error: sqlite3.Error) -> bool:
    """Whether it is the disk that does not take what SQLite writes."""
    full = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in full


def is_damage(error: BaseException) -> bool:
    """Whether SQLite says that a file is none of its own, or not what it wrote.

    A plain error is one too: our own statements ask for no table that a whole file lacks. So is text in the
    schema, or in SQLite's message about it, that is none.
    """
    if isinstance(error, UnicodeDecodeError):
        return True
    damage = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in damage
