"""Where chunks come from: the seam of the second half of a transfer, and its form over the broker.

A ``ChunkReader`` brings pieces of a blob in any order, unverified; whoever stores them holds each against
its digest. Implementations: ``TopicChunks`` (retained topics, over MQTT or the simulators' memory) and
``RangeChunks`` (in ``rangechunks``: HTTPS byte ranges). Whatever it is, at most the transfer's window of
chunks is in memory, an interrupt is answered within a quarter of a second, and nothing is asked for that the
transfer does not admit.
"""

import contextlib
import queue
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple

from edgewright.agent.pacing import STALLED
from edgewright.agent.subscriber import Subscriber
from edgewright.agent.transfer import SLICE_SECONDS, Transfer
from edgewright.wire import topics
from edgewright.wire.manifest import CHUNK_BYTES, Blob


class Piece(NamedTuple):
    """A chunk of a blob: its digest, where it begins and how long it is, in bytes."""

    digest: str
    offset: int
    length: int


class Arrival(NamedTuple):
    """What came for a piece; None where nothing did."""

    piece: Piece
    data: bytes | None


def pieces_of(blob: Blob, missing: Sequence[str]) -> list[Piece]:
    """The chunks that lack, each once, in the order of the blob."""
    left = set(missing)
    found = []
    for index, digest in enumerate(blob.chunks):
        if digest in left:
            left.discard(digest)
            offset = index * CHUNK_BYTES
            found.append(Piece(digest, offset, min(CHUNK_BYTES, blob.length - offset)))
    return found


class ChunkReader(ABC):
    """Brings chunks."""

    republishes: bool
    """Whether asking the controller to publish a chunk again (``Want``) can help."""

    @property
    @abstractmethod
    def received(self) -> int:
        """Bytes that came from the network since ever; it only grows."""

    @abstractmethod
    def read(self, blob: str, pieces: Sequence[Piece], transfer: Transfer) -> Generator[Arrival, None, None]:
        """Ask once for each piece of a blob (its SHA-256) and bring what comes, in any order.

        Raises:
            Interrupted: the work was called off.
            Postponed: no more may be asked for now.
            TransferError: the transfer's bounds, or this transport, say that it ends.
        """


class _Answer(NamedTuple):
    digest: str
    data: bytes
    at: float
    received: int


class TopicChunks(ChunkReader):
    """Reads chunks by subscribing, at QoS 0: NATS delivers them five times slower at QoS 1."""

    republishes = True

    def __init__(self, link: Subscriber) -> None:
        self._link = link

    @property
    def received(self) -> int:
        """See ``ChunkReader``."""
        return self._link.received_bytes

    def read(self, blob: str, pieces: Sequence[Piece], transfer: Transfer) -> Generator[Arrival, None, None]:
        """See ``ChunkReader``."""
        del blob  # A chunk's topic is its digest, whatever blobs hold it.
        window = _TopicWindow(self._link, transfer)
        todo = deque(pieces)
        try:
            while todo or window.open:
                transfer.look(self.received, connected=self._link.connected)
                while todo and transfer.admits(todo[0].length):
                    window.ask(todo.popleft())
                yield from window.wait()
        finally:
            window.close()


class _TopicWindow:
    """The topics that are subscribed now."""

    def __init__(self, link: Subscriber, transfer: Transfer) -> None:
        self._link, self._transfer, self._pace = link, transfer, transfer.pace
        self._arrived: queue.SimpleQueue[_Answer] = queue.SimpleQueue()
        self._asked: dict[str, tuple[Piece, Callable[[bytes], None]]] = {}
        self._connection = link.connections

    @property
    def open(self) -> bool:
        """Whether a topic is subscribed."""
        return bool(self._asked)

    def ask(self, piece: Piece) -> None:
        """Subscribe to a chunk."""
        handler = self._handler(piece)
        self._asked[piece.digest] = piece, handler
        self._pace.asked(piece.digest, piece.length, self._transfer.now(), self._link.received_bytes)
        self._link.subscribe(topics.chunk(piece.digest), handler)

    def wait(self) -> list[Arrival]:
        """The next chunk, or the lost ones; nothing after a slice of time."""
        now, received = self._transfer.now(), self._link.received_bytes
        if not self._link.connected or self._link.connections != self._connection:
            # Silence of a broker that is away says nothing about a chunk: the link asks again by itself.
            self._connection = self._link.connections
            self._pace.begin_again(now, received)
        try:
            # As long as a silent connection gets: while it is away the pace begins again each time.
            longest = max(0.001, STALLED * self._transfer.patience)
            answer = self._arrived.get(timeout=min(SLICE_SECONDS, longest))
        except queue.Empty:
            lost = self._pace.lapsed(self._transfer.now(), self._link.received_bytes, self._transfer.patience)
            return [Arrival(self._drop(digest), None) for digest in lost]
        if answer.digest not in self._asked:
            return []
        self._pace.arrived(answer.digest, answer.at, answer.received)
        return [Arrival(self._drop(answer.digest), answer.data)]

    def close(self) -> None:
        """Subscribe to nothing any more."""
        self._transfer.forfeit(self._pace.bytes_on_their_way)
        for digest in list(self._asked):
            self._pace.dropped(digest)
            self._drop(digest)

    def _drop(self, digest: str) -> Piece:
        piece, handler = self._asked.pop(digest)
        self._link.unsubscribe(topics.chunk(digest), handler)
        return piece

    def _handler(self, piece: Piece) -> Callable[[bytes], None]:
        """Takes the first answer on the network thread, so that the queue holds at most the window.

        An answer that is too long is wrong whatever is in it, and is cut before it costs memory.
        """
        room = [True]

        def take(payload: bytes) -> None:
            if payload and room:
                with contextlib.suppress(IndexError):
                    room.pop()
                    now, received = self._transfer.now(), self._link.received_bytes
                    self._arrived.put(_Answer(piece.digest, payload[: CHUNK_BYTES + 1], now, received))

        return take
