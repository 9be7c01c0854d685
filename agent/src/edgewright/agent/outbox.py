"""Store and forward: reports, windows and samples are kept until the controller has them, for months too.

Rules:

- A message is stored in one commit. It gets its number when it is first sent, in a commit before that, and
  is what it is from then on: a number never names two messages. The newest message is numbered in the very
  commit that stores it while the connection has room, so a quiet day costs one commit a window.
- After an outage the newest and most telling go first: reports of errors, other reports, windows, samples;
  each newest first. So the controller hears what happens now, then what went wrong, then the past backwards.
- What was sent goes again until an ``Ack`` has it (``flight``); the controller stores a number once.
- Over the quota ``thinning`` makes room. What has a number is never touched.
- What was acknowledged is held for some time: a controller that was restored from a backup says so in its
  answer to the hello, and hears it again. Acknowledgements cost no commit of their own.
"""

import logging
from typing import Final

import msgspec

from edgewright.agent.control import GivenUp
from edgewright.agent.database import Database
from edgewright.agent.flight import LONGEST_RESEND_SECONDS, RESEND_SECONDS, Flight
from edgewright.agent.outboxtable import KINDS, OutboxTable, Rank, Row, accounts, message_of, row_of
from edgewright.agent.samplefiles import SampleFiles
from edgewright.agent.thinning import Thinning
from edgewright.wire import messages, topics
from edgewright.wire.errors import MalformedMessageError
from edgewright.wire.messages import (
    MAX_IMAGE_BYTES,
    PIECE_BYTES,
    Account,
    Ack,
    Lost,
    OutboxKind,
    Piece,
    Report,
    Sample,
    Window,
)
from edgewright.wire.numbering import AHEAD, Received

QUOTA_BYTES: Final = 64 * 1024 * 1024

SPAN: Final[dict[Rank, int]] = {
    Rank.ERROR: AHEAD,
    Rank.REPORT: AHEAD,
    Rank.LOST: 96,
    Rank.WINDOW: 64,
    Rank.TELLING: 48,
    Rank.SAMPLE: 48,
}
"""How far beyond the first unacknowledged number a message of a rank may be numbered: what is more telling
always finds room."""

NEWEST_WINDOW_SPAN: Final = 96
SAMPLES_ON_THEIR_WAY: Final = 4
"""With their pieces; 128 KiB, so that a model's own traffic and reports soon get through."""

HELD_MESSAGES: Final = 20_000
"""Acknowledged numbers that are held; at a window in five seconds, a day."""

PICTURES: Final = 8
"""So many of the largest pictures are the quota: those on their way, which are kept, are half of it."""

LOST_SECONDS: Final = 60.0
"""Between two messages that tell of losses: more of them become one."""

_FORGET_EVERY: Final = 64
_ROOM_BYTES: Final = 64 * 1024
"""What is freed beyond the quota, so that room is not made for each message; at most a tenth of the quota."""

_TOPICS: Final[dict[Rank, topics.UpKind]] = {Rank.LOST: "report", **KINDS}

log = logging.getLogger(__name__)


class Outbox:
    """The waiting messages, and what of them is on its way.

    Args:
        database: where they are.
        device: whose they are.
        samples: pictures that are too large for the database.
        quota_bytes: what all of it may take.

    Attributes:
        stream: id of this outbox, made with its database.
    """

    def __init__(
        self, database: Database, device: str, samples: SampleFiles, quota_bytes: int = QUOTA_BYTES
    ) -> None:
        self._database, self._device, self._quota_bytes = database, device, quota_bytes
        self._samples = samples
        self._table = OutboxTable(database)
        self._thinning = Thinning(self._table, device)
        self.stream = self._table.stream
        self._received = Received(self._table.through)
        self._remembered = self._received.through
        self._flight = Flight()
        self._open = False
        self._asked, self._hello_at, self._hello_pause = 0, 0.0, RESEND_SECONDS
        self._lost_at = -LOST_SECONDS
        samples.sweep(self._table.pictures())

    @property
    def oldest(self) -> int:
        """Smallest number that is held; the next one where none is."""
        return self._table.oldest

    @property
    def waiting(self) -> int:
        """How many messages wait, sent or not."""
        return sum(account.waiting for account in self.accounts.values())

    @property
    def accounts(self) -> dict[OutboxKind, Account]:
        """See ``Hello.accounts``."""
        return accounts(self._table, self._received)

    def put(self, message: Report | Window | Sample, now: float) -> None:
        """Keep a message; one that the contract cannot carry is logged and not kept.

        Args:
            message: without number.
            now: seconds since the epoch.
        """
        pieces: list[Row] = []
        if isinstance(message, Sample) and (message.image_sha256 or len(message.image) > PIECE_BYTES):
            message, pieces = self._on_disk(message)
            self._thinning.unlinked.add(message.image_sha256)  # it is looked at whether a row names it
            if not message.image_bytes:
                log.warning("The picture of a sample is gone or too large; the sample was not kept.")
                at, why = message.taken_at, "Its picture was gone or too large."
                self.lost(GivenUp(what="sample", since=at, until=at, messages=1), why)
                self._unlink()
                return
        with self._database.transaction():
            made = self._table.next_id()
            if isinstance(message, Report):
                message = msgspec.structs.replace(message, ordinal=made)
            try:
                row = row_of(msgspec.structs.replace(message, device=self._device, stream=self.stream))
            except MalformedMessageError as error:
                log.warning("A message was not kept. %s", error)
                return
            self._table.insert(row._replace(id=made, seq=self._number_at_once(row.rank)))
            for piece in pieces:
                self._table.insert(piece._replace(id=self._table.next_id(), rank=row.rank))
            self._table.count_made(KINDS[row.rank], row.counted)
            self._forget_held()
            if self._table.bytes > self._quota_bytes:
                self._make_room(now)
        self._unlink()

    def lost(self, loss: GivenUp, why: str = "The line had no room.") -> None:
        """Something was given up before it came here; ``why`` is one sentence."""
        with self._database.transaction():
            self._table.count_made(loss.what, loss.messages)
            self._table.count_given_up(loss.what, loss.messages)
            self._thinning.tell(
                Lost(
                    device=self._device,
                    stream="",
                    seq=0,
                    what=loss.what,
                    since=loss.since,
                    until=loss.until,
                    messages=loss.messages,
                    frames=loss.frames,
                    why=why,
                )
            )

    def taken_of(self, line: str) -> int:
        """Number up to which a line's news were written down; 0 for a line that is new."""
        known, number = self._table.line_taken
        return number if known == line else 0

    def note_taken(self, line: str, number: int) -> None:
        """Remember that a line's news were written down, in the commit that does that."""
        with self._database.transaction():
            self._table.set_line_taken(line, number)

    def acknowledge(self, ack: Ack, now: float) -> None:
        """Take note of what the controller has; another stream's acknowledgement says nothing."""
        received = Received.of(ack.through, ack.beyond)
        newest = received.through + received.beyond.bit_length()
        if ack.stream != self.stream or newest >= self._table.next_seq:
            return  # what was never sent cannot have come
        answer = bool(self._asked) and ack.hello == self._asked
        if answer:
            self._asked, self._hello_pause = 0, RESEND_SECONDS
        if received.through < self._received.through:
            if answer:
                self._go_back(received)
            return
        if received.through == self._received.through:
            received = Received(received.through, received.beyond | self._received.beyond)
        self._received = received
        self._flight.acknowledged(received, now)
        if received.through - self._remembered >= _FORGET_EVERY:
            with self._database.transaction():
                self._forget_held()
            self._unlink()

    def restart(self) -> None:
        """A new connection, whose past is unknown: what has no acknowledgement is sent again."""
        self._flight.restart()
        self._asked, self._hello_pause = 0, RESEND_SECONDS

    def lost_connection(self) -> None:
        """From now on nothing is numbered."""
        self._open = False

    def greeted(self, counter: int, now: float) -> None:
        """A hello went out; ``counter`` is ``Hello.counter``. It has to be repeated until it is answered."""
        self._asked, self._hello_at = counter, now + self._hello_pause
        self._hello_pause = min(2 * self._hello_pause, LONGEST_RESEND_SECONDS)

    def hello_due(self, now: float) -> bool:
        """Whether nobody answered the hello, or what was sent: a controller that missed it takes nothing."""
        return (bool(self._asked) and now >= self._hello_at) or self._flight.overdue(now)

    def due(self, now: float, *, samples: bool = True) -> list[tuple[str, bytes]]:
        """Topics and payloads to publish now, the most telling first.

        Args:
            now: monotonic seconds.
            samples: whether samples may go; not while the model's own traffic needs the link.
        """
        self._open = True
        if self._flight.overdue(now):
            self._flight.give_up_waiting()
        self._number(now, samples=samples)
        batch: list[tuple[str, bytes]] = []
        for row in self._table.numbered(self._received.through, self._received.through + AHEAD):
            assert row.seq is not None, "it has a number"
            if row.seq in self._flight or self._received.has(row.seq):
                continue
            if not self._flight.free and row.rank >= Rank.WINDOW:
                break
            self._flight.sent(row.seq, now)
            batch.append((topics.up(self._device, _TOPICS[row.rank]), self._payload(row)))
        return batch

    # Numbers

    def _number_at_once(self, rank: Rank) -> int | None:
        """A number for a message that is stored, where it can go out now."""
        span = NEWEST_WINDOW_SPAN if rank is Rank.WINDOW else SPAN[rank]
        if not self._open or rank > Rank.WINDOW or self._span >= span:
            return None
        return self._table.next_number()

    @property
    def _span(self) -> int:
        return self._table.next_seq - 1 - self._received.through

    def _number(self, now: float, *, samples: bool) -> None:
        """Give numbers to what waits, as far as there is room."""
        ranks = [rank for rank in Rank if self._table.waits(rank) and (samples or rank < Rank.TELLING)]
        for rank in ranks:
            room = SPAN[rank] - self._span
            if rank >= Rank.WINDOW:
                room = min(room, self._flight.free)
            if rank is Rank.LOST and now - self._lost_at < LOST_SECONDS:
                continue
            if rank >= Rank.TELLING:
                room = min(room, SAMPLES_ON_THEIR_WAY - self._samples_on_their_way())
            if room > 0 and (rows := self._ready(self._table.unsent(rank, room))):
                with self._database.transaction():
                    for row in rows:
                        self._table.give_number(row)
                if rank is Rank.LOST:
                    self._lost_at = now

    def _ready(self, rows: list[Row]) -> list[Row]:
        """Those of the rows that may go: a sample goes when its pieces have arrived."""
        picture = {row.mark for row in rows if row.rank >= Rank.TELLING and row.mark and row.counted}
        waits = {mark for mark in picture if self._pieces_wait(mark)}
        return [row for row in rows if not (row.counted and row.mark in waits)]

    def _samples_on_their_way(self) -> int:
        rows = self._table.numbered(self._received.through, self._received.through + AHEAD)
        return sum(row.rank >= Rank.TELLING and not self._received.has(row.seq or 0) for row in rows)

    def _pieces_wait(self, mark: str) -> bool:
        """Whether a piece of a picture has no acknowledgement yet: its sample goes after it."""
        rows = [row for row in self._table.marked(mark) if not row.counted]
        return any(row.seq is None or not self._received.has(row.seq) for row in rows)

    def _payload(self, row: Row) -> bytes:
        message = message_of(row, device=self._device, stream=self.stream)
        if isinstance(message, Piece):
            data = self._samples.read_piece(message.sha256, message.offset)
            message = msgspec.structs.replace(message, data=data)
        return messages.encode(message)

    # Acknowledged

    def _forget_held(self) -> None:
        """In a transaction: remember what was acknowledged, and forget what need not be held any longer."""
        through = self._received.through
        if through - self._remembered < _FORGET_EVERY:
            return
        for row in self._table.numbered(self._remembered, through):
            if row.rank >= Rank.TELLING:
                self._table.delete(row)
                if row.mark:
                    self._thinning.unlinked.add(row.mark)
        oldest = self._table.oldest
        for row in self._table.numbered(oldest - 1, through - HELD_MESSAGES):
            self._table.delete(row)
        self._table.set_through(through)
        self._remembered = through

    def _go_back(self, received: Received) -> None:
        """The controller has less than it had: send what is held again, and fill what is not."""
        log.warning("The controller went back: what it had acknowledged is sent again.")
        received = received.from_oldest(self.oldest)
        with self._database.transaction():
            held = self._table.numbers(received.through)
            for number in range(received.through + 1, self._table.next_seq):
                if number not in held and not received.has(number):
                    row = row_of(self._filler())
                    self._table.insert(row._replace(id=self._table.next_id(), seq=number, mark=""))
            self._table.set_through(received.through)
        self._received, self._remembered = received, received.through
        self._flight.restart()

    def _filler(self) -> Lost:
        return Lost(
            device=self._device,
            stream=self.stream,
            seq=0,
            what="sample",
            since=0.0,
            until=0.0,
            messages=0,
            frames=0,
            why="It was acknowledged before.",
        )

    # Room

    def _make_room(self, now: float) -> None:
        limit = self._quota_bytes - min(_ROOM_BYTES, self._quota_bytes // 10)
        self._table.set_through(self._received.through)
        self._thinning.make_room(limit, self._received.through, now)
        if self._table.bytes > self._quota_bytes:
            log.warning("The outbox is over its quota: %d bytes are on their way.", self._table.bytes)

    def _on_disk(self, sample: Sample) -> tuple[Sample, list[Row]]:
        """A sample whose picture is a file, and the rows of its pieces; no bytes where it cannot be kept."""
        sha256 = sample.image_sha256
        limit = min(MAX_IMAGE_BYTES, self._quota_bytes // PICTURES)
        if len(sample.image) > limit:
            return msgspec.structs.replace(sample, image=b"", image_bytes=0), []
        if not sha256:
            sha256, size = self._samples.keep(sample.image), len(sample.image)
        else:
            size = self._samples.adopt(sha256)
            size = size if size <= limit else 0
        sample = msgspec.structs.replace(sample, image=b"", image_sha256=sha256, image_bytes=size)
        piece = Piece(device=self._device, stream=self.stream, seq=0, sha256=sha256, offset=0, data=b"")
        shared = any(row.seq is None and not row.counted for row in self._table.marked(sha256))
        offsets = range(0, 0 if shared else size, PIECE_BYTES)
        return sample, [row_of(msgspec.structs.replace(piece, offset=offset)) for offset in offsets]

    def _unlink(self) -> None:
        """After a commit: delete the pictures that no row names any more. Inside a larger one: later."""
        if self._thinning.unlinked and not self._database.connection.in_transaction:
            for mark in self._thinning.unlinked:
                if not self._table.marked(mark):
                    self._samples.forget(mark)
            self._thinning.unlinked.clear()
