"""A slow wire between a device and its broker that counts, by digest, the bytes of chunks which pass."""

import contextlib
import socket
import threading
import time
from collections import Counter
from typing import Final, NamedTuple

from edgewright.wire import topics
from edgewright.wire.errors import UnknownTopicError

BYTES_PER_S: Final = 1_500_000
PIECE_BYTES: Final = 8 * 1024
HELD_BYTES: Final = 32 * 1024
"""Of a socket's buffer to the device: what passed was read by it, but for this."""

_PUBLISH: Final = 3
_LENGTH_BYTES: Final = 4
_LOOPBACK: Final = "127.0.0.1"


class _Body(NamedTuple):
    """What comes after a packet's head: whose bytes, and how many."""

    digest: str
    length: int


class ChunkMeter:
    """Listens on loopback and leads to a broker; one direction of MQTT 3.1.1 is read as it passes.

    Args:
        host, port: of the broker, which may restart.

    Attributes:
        port: where it listens.
        passed: bytes of each chunk that went to the device, whole or not, each time that they did.
    """

    def __init__(self, host: str, port: int) -> None:
        self._goal = (host, port)
        self._server = socket.create_server((_LOOPBACK, 0))
        self.port: int = self._server.getsockname()[1]
        self.passed: Counter[str] = Counter()
        threading.Thread(target=self._accept, name="meter", daemon=True).start()

    def close(self) -> None:
        """Listen no more."""
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                device, _ = self._server.accept()
                broker = socket.create_connection(self._goal)
            except OSError:
                if self._server.fileno() < 0:
                    return
                continue
            device.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, HELD_BYTES)
            ways = ((self._up, device, broker), (self._down, broker, device))
            for way, source, goal in ways:
                threading.Thread(target=way, args=(source, goal), daemon=True).start()

    def _up(self, source: socket.socket, goal: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(PIECE_BYTES):
                goal.sendall(data)
        _end(source, goal)

    def _down(self, source: socket.socket, goal: socket.socket) -> None:
        reading = PacketReader(self.passed)
        with contextlib.suppress(OSError):
            while data := source.recv(PIECE_BYTES):
                goal.sendall(data)
                reading.feed(data)
                time.sleep(len(data) / BYTES_PER_S)
        _end(source, goal)


class PacketReader:
    """Follows the packets of one direction and counts the payload bytes of chunks.

    >>> passed = Counter()
    >>> reader = PacketReader(passed)
    >>> topic = topics.chunk("ab" * 32).encode()
    >>> reader.feed(bytes([0x30, 2 + len(topic) + 5, 0, len(topic)]) + topic + b"hel")
    >>> reader.feed(b"lo" + bytes([0xD0, 0]))
    >>> passed["ab" * 32]
    5
    """

    def __init__(self, passed: Counter[str]) -> None:
        self._passed = passed
        self._head = b""
        self._body = _Body("", 0)

    def feed(self, data: bytes) -> None:
        """The next bytes of the stream."""
        while data:
            if self._body.length:
                taken = min(self._body.length, len(data))
                if self._body.digest:
                    self._passed[self._body.digest] += taken
                self._body = self._body._replace(length=self._body.length - taken)
                data = data[taken:]
            else:
                self._head, data = self._head + data[:1], data[1:]
                if body := _parse_head(self._head):
                    self._head, self._body = b"", body


def _parse_head(head: bytes) -> _Body | None:
    """What follows a packet's head, topic included; None while more of it has to come (MQTT 3.1.1, 2.2)."""
    digits = head[1 : 1 + _LENGTH_BYTES]
    end = next((index for index, digit in enumerate(digits) if digit < 0x80), None)
    if end is None:
        return None
    length = sum((digit & 0x7F) << 7 * index for index, digit in enumerate(digits[: end + 1]))
    if head[0] >> 4 != _PUBLISH:
        return _Body("", length)
    rest = head[2 + end :]
    if len(rest) < 2 or len(rest) < 2 + int.from_bytes(rest[:2]):
        return None
    try:
        digest = topics.parse_chunk(rest[2:].decode())
    except UnknownTopicError:
        digest = ""
    return _Body(digest, length - len(rest))


def _end(*sockets: socket.socket) -> None:
    for one in sockets:
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()
