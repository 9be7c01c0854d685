"""Opening the database: SQLite in WAL mode, or PostgreSQL by its URL.

SQLite has one writer. A writing session therefore takes the write lock when it begins: one that read
first and asked for the lock later could be told "locked" at once, with its reading out of date.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import JSON, Boolean, Column, Connection, Engine, Float, Integer, LargeBinary, event, inspect
from sqlalchemy.exc import DatabaseError
from sqlmodel import Session, SQLModel, create_engine

from edgewright.controller.database import evidencetables as _evidencetables  # noqa: F401  # likewise
from edgewright.controller.database import tables as _tables  # noqa: F401  # registers the tables
from edgewright.controller.database import versiontables as _versiontables  # noqa: F401  # likewise
from edgewright.controller.errors import DataFolderDamagedError

BUSY_TIMEOUT_MS = 10_000

# "INSERT OR REPLACE" takes a row away without the trigger for that, so a new row has to be the next one.
APPEND_ONLY = (
    """CREATE TRIGGER IF NOT EXISTS audit_keeps_rows BEFORE UPDATE ON auditentry
       BEGIN SELECT RAISE(ABORT, 'the audit log is append only'); END""",
    """CREATE TRIGGER IF NOT EXISTS audit_keeps_all_rows BEFORE DELETE ON auditentry
       BEGIN SELECT RAISE(ABORT, 'the audit log is append only'); END""",
    """CREATE TRIGGER IF NOT EXISTS audit_adds_at_the_end BEFORE INSERT ON auditentry
       WHEN NEW.seq != (SELECT coalesce(max(seq), 0) + 1 FROM auditentry)
       BEGIN SELECT RAISE(ABORT, 'the audit log is append only'); END""",
)
"""Guards against mistakes of our own and of whoever uses a database shell; an attacker who may write the file
is found by the chain of digests."""


class Database:
    """Sessions on one database; safe to use from several threads, one session each.

    Attributes:
        engine: for modules of this folder only.
    """

    def __init__(self, url: str) -> None:
        self.engine: Engine = create_engine(url)
        if self.engine.dialect.name == "sqlite":
            event.listen(self.engine, "connect", _set_pragmas)
            event.listen(self.engine, "begin", _begin)
        self._writing = self.engine.execution_options(writes=True)

    @classmethod
    def in_folder(cls, data: Path) -> "Database":
        """The default: ``edgewright.db`` in the data folder."""
        return cls(f"sqlite:///{data / 'edgewright.db'}")

    def create(self) -> None:
        """Create the tables, columns and indexes that are missing: a folder may be older than they are."""
        SQLModel.metadata.create_all(self.engine)
        self._add_columns()
        for table in SQLModel.metadata.tables.values():
            for index in table.indexes:
                index.create(self.engine, checkfirst=True)
        if self.engine.dialect.name == "sqlite":
            with self.engine.begin() as connection:
                for statement in APPEND_ONLY:
                    connection.exec_driver_sql(statement)

    def _add_columns(self) -> None:
        """A column that came later is added with the empty value of its type: none, 0, or an empty list."""
        known = inspect(self.engine)
        with self.engine.begin() as connection:
            for table in SQLModel.metadata.sorted_tables:
                there = {column["name"] for column in known.get_columns(table.name)}
                for column in table.columns:
                    if column.name not in there:
                        kind = column.type.compile(self.engine.dialect)
                        connection.exec_driver_sql(
                            f"ALTER TABLE {table.name} ADD COLUMN {column.name} {kind} "
                            f"DEFAULT {_empty(column)} NOT NULL"
                        )

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A transaction: committed at the end of the block, rolled back when it raises."""
        with Session(self._writing, expire_on_commit=False) as session:
            yield session
            session.commit()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A consistent view to read from; what is changed in it is not kept."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


class Archive(Database):
    """The database of a data folder that another process may own; nothing is written to it."""

    def __init__(self, data: Path) -> None:
        path = data / "edgewright.db"
        if not path.is_file():
            raise DataFolderDamagedError(f"{data} is no data folder: it has no edgewright.db.")
        super().__init__(f"sqlite:///file:{quote(str(path.resolve()))}?mode=ro&uri=true")

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A consistent view.

        Raises:
            DataFolderDamagedError: the file is no database, or lacks a table.
        """
        try:
            with super().reading() as session:
                yield session
        except DatabaseError as error:
            raise DataFolderDamagedError(f"The database cannot be read: {error.orig}.") from error


def _empty(column: Column[Any]) -> str:
    """SQL of a new column's value in rows that are already there."""
    if isinstance(column.type, JSON):
        return f"'{column.info['empty']}'"
    if isinstance(column.type, LargeBinary):
        return "x''"
    return "0" if isinstance(column.type, (Float, Integer, Boolean)) else "''"


def _set_pragmas(connection: Any, _record: Any) -> None:
    # NORMAL in WAL mode survives a killed process; a power cut may lose the last commits, which devices send
    # again because their acknowledgement is published after the commit and the outbox keeps a day of them.
    connection.isolation_level = None  # transactions are begun by _begin, not by the driver
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
