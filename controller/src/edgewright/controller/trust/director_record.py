"""The director's own memory: which document each device got last.

The controller may forget, be restored from a backup or be made to lie; this record is what keeps the director
from signing two documents of one version. A row is on disk before its document leaves the process. The same
order again gets the same bytes, so that whoever did not hear an answer asks once more.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from edgewright.controller.errors import DataFolderDamagedError, DirectorUnavailableError
from edgewright.controller.trust.director_seam import Order, Trials
from edgewright.wire.canonical import sha256_hex

_ORDERS: Final = "/qualify"
"""After a device's id, which has no slash: under that its last order to measure candidates stands."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS last (
    device TEXT PRIMARY KEY, version INTEGER NOT NULL, asked TEXT NOT NULL, document BLOB NOT NULL
) WITHOUT ROWID
"""


_T = TypeVar("_T", Order, Trials)


class Record:
    """One SQLite file; used by one thread.

    Raises:
        DataFolderDamagedError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode=WAL")
            # A power cut must not take back what was signed: each batch is synchronised.
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.execute(_SCHEMA)
            path.chmod(0o600)
        except (sqlite3.Error, OSError) as error:
            raise DataFolderDamagedError(f"The record {path} cannot be opened: {error}.") from error

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def devices(self) -> int:
        """How many devices have a document."""
        count: int = self._connection.execute(
            "SELECT count(*) FROM last WHERE device NOT LIKE '%/%'"
        ).fetchone()[0]
        return count

    def last(self, devices: Sequence[str]) -> list[int]:
        """Version of each device's last document, 0 for none."""
        return [found[0] if (found := self._row(device)) else 0 for device in devices]

    def last_trials(self, device: str) -> int:
        """Number of a device's last order to measure candidates, 0 for none."""
        return self.last([f"{device}{_ORDERS}"])[0]

    def sign(self, orders: Sequence[Order], make: Callable[[Order], bytes]) -> list[bytes]:
        """The documents of orders, made and recorded, or recorded before; all in one transaction.

        Raises:
            DirectorUnavailableError: a version does not grow, or stood over other content; nothing is kept.
            DataFolderDamagedError: the record cannot be written; nothing is kept.
        """
        with self._transaction():
            return [self._one(order.orders.device, order, make) for order in orders]

    def sign_trials(self, trials: Trials, make: Callable[[Trials], bytes]) -> bytes:
        """The same of an order to measure candidates; its numbers are counted apart."""
        with self._transaction():
            return self._one(f"{trials.orders.device}{_ORDERS}", trials, make)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise DataFolderDamagedError(f"The director's record cannot be written: {error}.") from error

    def _one(self, device: str, order: _T, make: Callable[[_T], bytes]) -> bytes:
        asked = sha256_hex(msgspec.json.encode(order))
        known = self._row(device)
        if known is not None:
            version, before, document = known
            if order.version == version and asked == before:
                return document
            if order.version == version:
                raise DirectorUnavailableError(
                    f"The director has signed another document {version} for {device} already."
                )
            if order.version < version:
                raise DirectorUnavailableError(
                    f"The director has signed {version} for {device}; it signs no {order.version} any more."
                )
        document = make(order)
        self._connection.execute(
            "INSERT OR REPLACE INTO last VALUES (?, ?, ?, ?)", (device, order.version, asked, document)
        )
        return document

    def _row(self, device: str) -> tuple[int, str, bytes] | None:
        row: tuple[int, str, bytes] | None = self._connection.execute(
            "SELECT version, asked, document FROM last WHERE device = ?", (device,)
        ).fetchone()
        return row
