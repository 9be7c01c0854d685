"""Store and forward: reports, windows and samples, numbered without gaps, kept until the controller has them.

Rules:

- A message gets its number in the commit that stores it. It leaves the table when an ``Ack`` covers it.
- Messages go out in order, at most a window of them beyond the last acknowledgement. Without progress the
  window is sent again from its beginning, after a pause that doubles: the controller stores a number once.
- A ``Hello`` goes before each repetition: a controller that missed it can acknowledge nothing.
- Over the quota the oldest samples go first, then the oldest windows. A message in the middle cannot just
  vanish, the numbers would have a gap: a report ``Dropped`` of some hundred bytes takes its number. Only
  where that is not enough (months without a controller) the oldest messages are given up altogether; then
  ``oldest`` in the next ``Hello`` tells the controller not to wait for them.
"""

import logging
from typing import Any, Final, Literal

import msgspec

from edgewright.agent.database import Database
from edgewright.wire import messages, topics
from edgewright.wire.errors import MalformedMessageError
from edgewright.wire.messages import Ack, Report, Sample, Sequenced, Window

QUOTA_BYTES: Final = 64 * 1024 * 1024
WINDOW_MESSAGES: Final = 64
WINDOW_BYTES: Final = 1024 * 1024
RESEND_SECONDS: Final = 5.0
LONGEST_RESEND_SECONDS: Final = 60.0

_ROOM = 0.9
"""Share of the quota that remains filled when room is made, so that it is not made for each message."""

Kind = Literal["report", "window", "sample"]
_KINDS: Final[dict[type[Sequenced], Kind]] = {Report: "report", Window: "window", Sample: "sample"}

log = logging.getLogger(__name__)


class Outbox:
    """The table of waiting messages, and what of it is on its way.

    Attributes:
        stream: id of this outbox, made with its database.
        given_up: how many messages were given up without a placeholder; a change needs a new ``Hello``.
    """

    def __init__(self, database: Database, device: str, quota_bytes: int = QUOTA_BYTES) -> None:
        self._database, self._device, self._quota_bytes = database, device, quota_bytes
        self.stream: str = self._value("SELECT stream FROM outbox")
        self.given_up = 0
        self._sent_through = self.oldest - 1
        self._pause = RESEND_SECONDS
        self._resend_at = 0.0

    @property
    def oldest(self) -> int:
        """Smallest number that waits; the next one where nothing does."""
        return int(self._value("SELECT coalesce(min(seq), (SELECT next_seq FROM outbox)) FROM messages"))

    @property
    def waiting(self) -> int:
        """How many messages wait."""
        return int(self._value("SELECT count(*) FROM messages"))

    def put(self, message: Sequenced, now: float) -> None:
        """Number a message and keep it; one that the contract cannot carry is logged and not kept."""
        kind = _KINDS[type(message)]
        with self._database.transaction() as connection:
            seq = self._value("SELECT next_seq FROM outbox")
            numbered = msgspec.structs.replace(message, device=self._device, stream=self.stream, seq=seq)
            try:
                payload = messages.encode(numbered)
            except MalformedMessageError as error:
                log.warning("A message was not kept. %s", error)
                return
            connection.execute("INSERT INTO messages VALUES (?, ?, ?)", (seq, kind, payload))
            connection.execute("UPDATE outbox SET next_seq = ?, bytes = bytes + ?", (seq + 1, len(payload)))
            if self._bytes > self._quota_bytes:
                self._make_room(now, seq)

    def acknowledge(self, ack: Ack, now: float) -> None:
        """Forget what the controller has; another stream's acknowledgement says nothing."""
        if ack.stream != self.stream or ack.through < self.oldest:
            return
        with self._database.transaction():
            self._remove(ack.through)
        self._sent_through = max(self._sent_through, ack.through)
        self._pause = RESEND_SECONDS
        self._resend_at = now + self._pause

    def restart(self) -> None:
        """Send everything again from the beginning: a new connection, whose past is unknown."""
        self._sent_through = self.oldest - 1
        self._pause = RESEND_SECONDS

    def overdue(self, now: float) -> bool:
        """Whether what is on its way waits too long, so that ``due`` sends it again."""
        return self._sent_through >= self.oldest and now >= self._resend_at

    def due(self, now: float) -> list[tuple[str, bytes]]:
        """Topics and payloads to publish now, in order; ``now`` is a monotonic time in seconds."""
        oldest = self.oldest
        outstanding = self._sent_through >= oldest
        if self.overdue(now):
            outstanding = False
            self._sent_through = oldest - 1
            self._pause = min(2 * self._pause, LONGEST_RESEND_SECONDS)
        # After an acknowledgement or a drop the window may begin beyond what was sent.
        self._sent_through = max(self._sent_through, oldest - 1)
        room = WINDOW_MESSAGES - (self._sent_through - oldest + 1)
        rows = self._database.connection.execute(
            "SELECT seq, kind, payload FROM messages WHERE seq > ? ORDER BY seq LIMIT ?",
            (self._sent_through, max(0, room)),
        ).fetchall()
        batch: list[tuple[str, bytes]] = []
        size = 0
        for seq, kind, payload in rows:
            size += len(payload)
            if batch and size > WINDOW_BYTES:
                break
            batch.append((topics.up(self._device, kind), payload))
            self._sent_through = seq
        if batch and not outstanding:
            # Counted from the oldest message on its way: new ones must not put the repetition off.
            self._resend_at = now + self._pause
        return batch

    @property
    def _bytes(self) -> int:
        """Payload bytes of all that waits; counted in the table, so that a rollback takes it along."""
        return int(self._value("SELECT bytes FROM outbox"))

    def _make_room(self, now: float, newest: int) -> None:
        limit = int(self._quota_bytes * _ROOM)
        for kind in ("sample", "window"):
            self._replace(kind, limit, now)
        given_up = 0
        while self._bytes > limit and self.oldest < newest:
            given_up += self._remove(min(self.oldest + 99, newest - 1))
        self.given_up += given_up
        log.warning("The outbox was full: samples and windows were dropped, %d numbers given up.", given_up)

    def _replace(self, kind: str, limit: int, now: float) -> None:
        """Put placeholders in the place of the oldest messages of a kind until the limit holds."""
        rows = self._database.connection.execute(
            "SELECT seq, length(payload) FROM messages WHERE kind = ? ORDER BY seq", (kind,)
        ).fetchall()
        excess = self._bytes - limit
        for seq, size in rows:
            if excess <= 0:
                return
            placeholder = messages.encode(self._placeholder(seq, kind, now))
            self._database.connection.execute(
                "UPDATE messages SET kind = 'report', payload = ? WHERE seq = ?", (placeholder, seq)
            )
            self._database.connection.execute(
                "UPDATE outbox SET bytes = bytes + ?", (len(placeholder) - size,)
            )
            excess -= size - len(placeholder)

    def _placeholder(self, seq: int, kind: str, now: float) -> Report:
        return Report(
            device=self._device,
            stream=self.stream,
            seq=seq,
            sent_at=now,
            name="Dropped",
            detail=f"A {kind} was dropped: the outbox was full.",
        )

    def _remove(self, through: int) -> int:
        """Delete the oldest messages inside a transaction; how many."""
        size = self._value("SELECT coalesce(sum(length(payload)), 0) FROM messages WHERE seq <= ?", through)
        self._database.connection.execute("UPDATE outbox SET bytes = bytes - ?", (size,))
        return self._database.connection.execute("DELETE FROM messages WHERE seq <= ?", (through,)).rowcount

    def _value(self, query: str, *parameters: int) -> Any:
        (value,) = self._database.connection.execute(query, parameters).fetchone()
        return value
