"""The rows of the outbox: what waits, what is on its way, what was acknowledged and is still held.

A row has no number (``seq``) until it is first sent. Without one it may be merged with its neighbour or
given up; with one it is what it is, and stays until it is acknowledged. What changes something runs inside a
transaction of the caller.
"""

import json
import sqlite3
from enum import IntEnum
from typing import Any, Final, NamedTuple

import msgspec

from edgewright.agent.database import Database
from edgewright.wire import messages
from edgewright.wire.messages import Account, Lost, OutboxKind, Report, Sample, Sequenced, Window
from edgewright.wire.numbering import Received

WAITING: Final = """SELECT coalesce(sum(count), 0) FROM messages
    WHERE seq IS NULL OR seq > (SELECT through FROM outbox)"""
"""How many messages wait, for a look from another process; some of them may be acknowledged already."""


class Rank(IntEnum):
    """What is sent first; within a rank the newest."""

    ERROR = 0
    REPORT = 1
    LOST = 2
    WINDOW = 3
    TELLING = 4
    """Samples of hard cases."""
    SAMPLE = 5
    """Random samples, whatever their truth says: were the wrong ones kept when there is no room, they would
    be no audit any more."""


KINDS: Final[dict[Rank, OutboxKind]] = {
    Rank.ERROR: "report",
    Rank.REPORT: "report",
    Rank.WINDOW: "window",
    Rank.TELLING: "sample",
    Rank.SAMPLE: "sample",
}
"""What is counted as what; news of losses are not counted."""


BEGUN: Final = -1
"""Level of a picture one of whose pieces was sent: it goes before newer ones. A device that began many would
hold all of them, because what has a number is not given up."""


class Row(NamedTuple):
    """One message, with the columns of its table.

    Attributes:
        id: grows in the order of making; 0 for a row that is not stored yet.
        seq: its number, None before it is first sent.
        level: how often a window was merged, or stepped over for want of a neighbour; ``BEGUN``.
        mark: digest of a sample's picture in ``SampleFiles``; kind of what a ``Lost`` tells of.
        since, until: when what it tells of began and ended, seconds since the epoch.
        counted: windows that became this one; 0 for what is not counted.
        size: bytes that count against the quota.
    """

    id: int
    seq: int | None
    rank: Rank
    level: int
    mark: str
    since: float
    until: float
    counted: int
    frames: int
    size: int
    payload: bytes


def row_of(message: Sequenced) -> Row:
    """A message as a row without number.

    Raises:
        MalformedMessageError: it is larger than the contract allows.
    """
    payload = messages.encode(message)
    since, until, count, frames, mark, size = 0.0, 0.0, 1, 0, "", len(payload)
    match message:
        case Report():
            since = until = message.sent_at
        case Window():
            since, until = message.start, message.start + message.seconds
            count, frames = message.merged, message.frames
        case Sample():
            since = until = message.taken_at
            mark, size = message.image_sha256, size + message.image_bytes
        case Lost():
            since, until, count, mark = message.since, message.until, 0, message.what
        case _:
            count, mark = 0, message.sha256
    return Row(0, None, rank_of(message), 0, mark, since, until, count, frames, size, payload)


def rank_of(message: Sequenced) -> Rank:
    """Where a message stands in the order of sending; a piece stands where its sample does."""
    match message:
        case Report():
            return Rank.ERROR if message.error else Rank.REPORT
        case Window():
            return Rank.WINDOW
        case Sample():
            return Rank.SAMPLE if message.reason == "random" else Rank.TELLING
        case Lost():
            return Rank.LOST
        case _:
            return Rank.SAMPLE


class OutboxTable:
    """SQL over the table and its counters."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.stream: str = self._value("SELECT stream FROM outbox")

    @property
    def _connection(self) -> sqlite3.Connection:
        return self._database.connection

    @property
    def next_seq(self) -> int:
        """Number of the next message that is sent."""
        return int(self._value("SELECT next_seq FROM outbox"))

    @property
    def through(self) -> int:
        """Up to where everything was acknowledged, as of the last commit that changed something else."""
        return int(self._value("SELECT through FROM outbox"))

    @property
    def bytes(self) -> int:
        """What everything counts against the quota; in the table, so that a rollback takes it along."""
        return int(self._value("SELECT bytes FROM outbox"))

    @property
    def oldest(self) -> int:
        """Smallest number that is held; the next one where none is."""
        found = "SELECT coalesce(min(seq), (SELECT next_seq FROM outbox)) FROM messages WHERE seq IS NOT NULL"
        return int(self._value(found))

    @property
    def line_taken(self) -> tuple[str, int]:
        """A line, and the number up to which its news were taken."""
        line, number = self._connection.execute("SELECT line, line_taken FROM outbox").fetchone()
        return str(line), int(number)

    def set_line_taken(self, line: str, number: int) -> None:
        """Remember how far a line's news were taken."""
        self._connection.execute("UPDATE outbox SET line = ?, line_taken = ?", (line, number))

    def next_id(self) -> int:
        """The place of one more message among all that were made."""
        count = "UPDATE outbox SET next_id = next_id + 1 RETURNING next_id"
        return int(self._value(count)) - 1

    def next_number(self) -> int:
        """One more number."""
        count = "UPDATE outbox SET next_seq = next_seq + 1 RETURNING next_seq"
        return int(self._value(count)) - 1

    def insert(self, row: Row) -> None:
        """Keep a row."""
        self._connection.execute("INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        self._connection.execute("UPDATE outbox SET bytes = bytes + ?", (row.size,))

    def replace(self, old: Row, new: Row) -> None:
        """Put a row in the place of another one."""
        self.delete(old)
        self.insert(new._replace(id=old.id))

    def delete(self, row: Row) -> None:
        """Forget a row."""
        self._connection.execute("DELETE FROM messages WHERE id = ?", (row.id,))
        self._connection.execute("UPDATE outbox SET bytes = bytes - ?", (row.size,))

    def give_number(self, row: Row) -> Row:
        """The row with its number."""
        seq = self.next_number()
        self._connection.execute("UPDATE messages SET seq = ? WHERE id = ?", (seq, row.id))
        if row.rank >= Rank.TELLING and row.mark:
            begin = "UPDATE messages SET level = ? WHERE mark != '' AND mark = ? AND seq IS NULL"
            self._connection.execute(begin, (BEGUN, row.mark))
        return row._replace(seq=seq)

    def set_level(self, row: Row, level: int) -> None:
        """Let a window be looked at with those of another level."""
        self._connection.execute("UPDATE messages SET level = ? WHERE id = ?", (level, row.id))

    def set_through(self, through: int) -> None:
        """Remember what was acknowledged."""
        self._connection.execute("UPDATE outbox SET through = ?", (through,))

    def numbered(self, after: int, up_to: int) -> list[Row]:
        """Rows whose number lies in between, the most telling and newest first."""
        where = "seq > ? AND seq <= ? ORDER BY rank, id DESC"
        return self._rows(where, after, up_to)

    def numbers(self, after: int) -> set[int]:
        """Numbers beyond one that are held."""
        found = self._connection.execute("SELECT seq FROM messages WHERE seq > ?", (after,))
        return {seq for (seq,) in found}

    def unsent(self, rank: Rank, limit: int, *, oldest: bool = False, level: int | None = None) -> list[Row]:
        """Rows of a rank without number, newest first; or the oldest that may be given up, so no pieces.

        Each order is one of the index ``unsent``, forwards or backwards: a month waits in it.
        """
        if level is not None:
            return self._rows(
                "seq IS NULL AND rank = ? AND level = ? ORDER BY id LIMIT ?", rank, level, limit
            )
        which = "count > 0 ORDER BY level DESC, id" if oldest else "true ORDER BY level, id DESC"
        return self._rows(f"seq IS NULL AND rank = ? AND {which} LIMIT ?", rank, limit)

    def waits(self, rank: Rank) -> bool:
        """Whether a rank has a row without number."""
        found = "SELECT 1 FROM messages WHERE seq IS NULL AND rank = ? LIMIT 1"
        return self._connection.execute(found, (rank,)).fetchone() is not None

    def marked(self, mark: str) -> list[Row]:
        """All rows of a mark."""
        return self._rows("mark != '' AND mark = ?", mark)

    def pictures(self) -> set[str]:
        """Digests of the pictures that rows name."""
        found = "SELECT DISTINCT mark FROM messages WHERE mark != '' AND rank >= ?"
        return {mark for (mark,) in self._connection.execute(found, (Rank.TELLING,))}

    def waiting(self, received: Received) -> dict[Rank, int]:
        """Sum of ``count`` by rank of what has no number, or one that has not arrived."""
        found = """SELECT 0, rank, sum(count) FROM messages WHERE seq IS NULL GROUP BY rank
            UNION ALL SELECT seq, rank, count FROM messages WHERE seq > ?"""
        sums: dict[Rank, int] = {}
        for seq, rank, count in self._connection.execute(found, (received.through,)):
            if not (seq and received.has(seq)):
                sums[Rank(rank)] = sums.get(Rank(rank), 0) + count
        return sums

    def count_made(self, kind: OutboxKind, count: int) -> None:
        """Add to what was ever made of a kind."""
        totals = self.made
        totals[kind] = totals.get(kind, 0) + count
        self._connection.execute("UPDATE outbox SET made = ?", (json.dumps(totals),))

    def count_given_up(self, kind: OutboxKind, count: int) -> None:
        """Add to what was ever given up of a kind."""
        totals = self.given_up
        totals[kind] = totals.get(kind, 0) + count
        self._connection.execute("UPDATE outbox SET given_up = ?", (json.dumps(totals),))

    @property
    def made(self) -> dict[OutboxKind, int]:
        """What was ever made, by kind."""
        totals: dict[OutboxKind, int] = json.loads(self._value("SELECT made FROM outbox"))
        return totals

    @property
    def given_up(self) -> dict[OutboxKind, int]:
        """What was ever given up, by kind."""
        totals: dict[OutboxKind, int] = json.loads(self._value("SELECT given_up FROM outbox"))
        return totals

    def _rows(self, where: str, *parameters: Any) -> list[Row]:
        # Conditions are literals of this file; what stands for a value is bound.
        query = f"SELECT * FROM messages WHERE {where}"  # noqa: S608  # no value stands in it
        found = self._connection.execute(query, parameters)
        return [Row._make(row)._replace(rank=Rank(row[2])) for row in found]

    def _value(self, query: str) -> Any:
        (value,) = self._connection.execute(query).fetchone()
        return value


def accounts(table: OutboxTable, received: Received) -> dict[OutboxKind, Account]:
    """See ``Hello.accounts``."""
    made, given_up = table.made, table.given_up
    waiting: dict[OutboxKind, int] = {}
    for rank, count in table.waiting(received).items():
        if kind := KINDS.get(rank):
            waiting[kind] = waiting.get(kind, 0) + count
    return {kind: Account(made[kind], waiting.get(kind, 0), given_up.get(kind, 0)) for kind in sorted(made)}


def message_of(row: Row, *, device: str, stream: str) -> Sequenced:
    """The message in a row, with its number."""
    message = messages.decode_up(row.payload)
    assert isinstance(message, Report | Window | Sample | messages.Piece | Lost), "only those are kept"
    return msgspec.structs.replace(message, device=device, stream=stream, seq=row.seq or 0)
