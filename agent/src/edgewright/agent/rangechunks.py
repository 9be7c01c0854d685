"""Chunks by HTTPS byte ranges, from the controller's door: for sites whose broker refuses large messages.

``GET {door}/device/v1/blobs/<sha256>`` with ``Range`` (RFC 9110, section 14), by the device's certificate, on
a connection that stays open. Chunks that lack and follow each other are one request; each is handed on as it
comes, and held against its signed digest like one of the broker's. A request asks for about four seconds of
what the link brings, so that a window that closes or a newer version is obeyed soon even where bytes are
slow.
"""

import random
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Final

from edgewright.agent.addresses import parse_door
from edgewright.agent.chunks import Arrival, ChunkReader, Piece
from edgewright.agent.doorconnection import DoorConnection, Head, Silent
from edgewright.agent.tls import TlsContext
from edgewright.agent.transfer import Postponed, Transfer
from edgewright.wire.errors import BlobTimeoutError, DoorUnreachableError
from edgewright.wire.manifest import CHUNK_BYTES

RUN_SECONDS: Final = 4.0
FIRST_RUN_CHUNKS: Final = 8
LONGEST_RUN_CHUNKS: Final = 128
LONGEST_BUSY_SECONDS: Final = 3600
USUAL_BUSY_SECONDS: Final = 30
"""How long a door that is busy, and does not say how long, is left alone."""

_GONE: Final = frozenset({404, 410})
_BUSY: Final = frozenset({429, 503})


def first_run(pieces: Sequence[Piece], most: int) -> list[Piece]:
    """Pieces from the first on that follow each other, at most so many.

    >>> pieces = [Piece("a", 0, 10), Piece("b", 10, 10), Piece("d", 30, 10)]
    >>> [piece.digest for piece in first_run(pieces, 8)]
    ['a', 'b']
    """
    run = list(pieces[:1])
    for piece in pieces[1:most]:
        if piece.offset != run[-1].offset + run[-1].length:
            break
        run.append(piece)
    return run


class RangeChunks(ChunkReader):
    """Reads chunks from a door.

    Args:
        door: its address.
        context: what the device shows and trusts, read with each connection.
    """

    republishes = False

    def __init__(self, door: str, context: Callable[[], TlsContext]) -> None:
        self._door, self._context = door, context
        self._connection: DoorConnection | None = None
        self._ended = 0
        self._asked_through = 0
        self._rate = FIRST_RUN_CHUNKS * CHUNK_BYTES / RUN_SECONDS

    @property
    def received(self) -> int:
        """See ``ChunkReader``; heads included, TLS's own bytes not."""
        return self._ended + (self._connection.received if self._connection else 0)

    def read(self, blob: str, pieces: Sequence[Piece], transfer: Transfer) -> Generator[Arrival, None, None]:
        """See ``ChunkReader``."""
        todo = list(pieces)
        complete = False
        try:
            while todo:
                transfer.look(self.received, connected=self._connection is not None)
                most = int(self._rate * RUN_SECONDS / CHUNK_BYTES)
                run = _admitted(first_run(todo, min(max(1, most), LONGEST_RUN_CHUNKS)), transfer)
                del todo[: len(run)]
                came = 0
                for arrival in self._read_run(blob, run, transfer):
                    came += arrival.data is not None
                    yield arrival
                if came < len(run):
                    self._hang_up()
            complete = True
        finally:
            if not complete and self._connection is not None:
                transfer.forfeit(max(0, self._asked_through - self.received))
                self._hang_up()  # What was asked for and is on its way belongs to nobody.

    def _read_run(self, blob: str, run: list[Piece], transfer: Transfer) -> Iterator[Arrival]:
        """What comes for one request; None for what does not."""
        begun, had = time.monotonic(), self.received
        left = iter(run)
        piece = next(left)
        try:
            connection = self._ask(blob, run, transfer)
            while True:
                data = self._read_piece(connection, piece, transfer, begun, had)
                elapsed = max(time.monotonic() - begun, 1e-6)
                self._rate = (self.received - had) / elapsed
                yield Arrival(piece, data)
                following = next(left, None)
                if following is None:
                    return
                piece = following
        except Silent:
            yield from (Arrival(lost, None) for lost in (piece, *left))

    def _ask(self, blob: str, run: list[Piece], transfer: Transfer) -> DoorConnection:
        """Send the request; the connection stands before the first byte of the range."""
        first, last = run[0].offset, run[-1].offset + run[-1].length - 1
        headers = {"Range": f"bytes={first}-{last}", "Accept-Encoding": "identity"}
        self._asked_through = self.received + last + 1 - first
        path, reused = f"/device/v1/blobs/{blob}", self._connection is not None
        connection = self._connected(transfer)
        try:
            head = connection.ask(path, headers, transfer.patience)
        except Silent:
            self._hang_up()
            if not reused:
                raise
            # A server may end an idle connection at any time (RFC 9112, section 9.5).
            connection = self._connected(transfer)
            head = connection.ask(path, headers, transfer.patience)
        if head.status != 206:
            self._hang_up()
            raise _refusal(head, blob)
        if head.length != last - first + 1 or not _is_range(head, first, last):
            self._hang_up()
            raise DoorUnreachableError("The door answered with another range than it was asked for.")
        return connection

    def _read_piece(
        self, connection: DoorConnection, piece: Piece, transfer: Transfer, begun: float, had: int
    ) -> bytes:
        data = bytearray()
        while len(data) < piece.length:
            data += connection.read(piece.length - len(data), transfer.patience)
            waited = time.monotonic() - begun - transfer.patience
            if self.received - had < waited * transfer.limits.slowest:
                raise Silent  # It drips: each byte in time, the chunk never.
        return bytes(data)

    def _connected(self, transfer: Transfer) -> DoorConnection:
        def look() -> None:
            standing = self._connection is not None
            transfer.look(self.received, connected=standing)

        if self._connection is None:
            self._connection = DoorConnection(parse_door(self._door), self._context, look)
        else:
            self._connection.look = look
        return self._connection

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._ended += self._connection.received
            self._connection.close()
            self._connection = None


def _admitted(run: list[Piece], transfer: Transfer) -> list[Piece]:
    """As much of a run as may be asked for, at least one piece.

    Raises:
        Postponed: not even one may.
    """
    while True:
        try:
            transfer.admits(sum(piece.length for piece in run))
        except Postponed:
            if len(run) == 1:
                raise
            run = run[: len(run) // 2]
        else:
            return run


def _is_range(head: Head, first: int, last: int) -> bool:
    return head.headers.get("content-range", "").startswith(f"bytes {first}-{last}/")


def _refusal(head: Head, blob: str) -> Exception:
    """What an answer other than a range means."""
    said = f"The door answered {head.status} for the blob {blob[:12]}"
    if head.status in _GONE:
        return BlobTimeoutError(f"{said}: it is not there.")
    if head.status == 416:
        return DoorUnreachableError(f"{said}: it is shorter there than was signed.")
    if head.status in (401, 403):
        return DoorUnreachableError(f"{said}: is this device revoked?")
    if head.status in _BUSY:
        text = head.headers.get("retry-after", "")
        seconds = int(text) if text.isdecimal() and len(text) < 8 else USUAL_BUSY_SECONDS
        # Up to half as long again: devices that were told the same do not come back in step.
        jitter = random.uniform(1.0, 1.5)  # noqa: S311 - jitter is no secret
        return Postponed(
            DoorUnreachableError(f"{said}: it is busy."), min(seconds, LONGEST_BUSY_SECONDS) * jitter
        )
    return DoorUnreachableError(f"{said}.")
