"""The line's end of the control socket: one supervisor at a time, or none, and it never blocks.

While there is no supervisor, or it does not read, what it has to know is kept: windows and what befell
runners. Samples are dropped then, because a long absence would fill the memory with pictures. Answers to the
orders of a supervisor that is gone are dropped too: the next one is told what the slots hold instead.
"""

import logging
import os
import socket
from collections import deque
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from edgewright.agent.control import (
    MAX_CONTROL_BYTES,
    SEND_BUFFER_BYTES,
    Down,
    Ready,
    RunnerReplaced,
    SampleReady,
    Trouble,
    Up,
    WindowReady,
    decode_down,
    encode,
    peer_of,
)
from edgewright.agent.samplefiles import write_picture
from edgewright.wire.errors import MalformedMessageError

DATAGRAM_PICTURE_BYTES: Final = 180 * 1024
"""A datagram takes 200 KiB."""

_MAX_WAITING: Final = 2_000
"""Messages; at a window in five seconds nearly three hours. The oldest gives way."""

_LASTING: Final = (WindowReady, RunnerReplaced, Trouble)
"""What the next supervisor is told although the one before did not hear it."""

_log = logging.getLogger(__name__)


class _Waiting(NamedTuple):
    """A message that was not sent yet, and whether it outlives a connection."""

    data: bytes
    lasting: bool


class ControlLink:
    """Listens for supervisors and sends in order.

    Args:
        listener: the listening socket; it is told again to listen, so that its credentials name this process.
        pictures: folder for pictures that no datagram takes; without one their samples are dropped.

    Attributes:
        listener: readable when a supervisor connects.
        connection: readable when it says something; None without one.
        dropped: messages that nobody will hear.
    """

    def __init__(self, listener: socket.socket, pictures: Path | None = None) -> None:
        listener.listen(1)
        listener.settimeout(0)
        self.listener = listener
        self.connection: socket.socket | None = None
        self.dropped = 0
        self._path = Path(os.fsdecode(listener.getsockname()))
        self._inode = self._path.stat().st_ino
        self._pictures = pictures
        self._waiting: deque[_Waiting] = deque()

    @property
    def blocked(self) -> bool:
        """Whether messages wait for a connected supervisor to read."""
        return self.connection is not None and bool(self._waiting)

    @property
    def replaced(self) -> bool:
        """Whether the path leads to another line by now, or nowhere: no supervisor will come any more."""
        try:
            return self._path.stat().st_ino != self._inode
        except FileNotFoundError:
            return True

    def accept(self) -> bool:
        """Take a new connection in the place of the old one; whether there is one."""
        try:
            connection, _ = self.listener.accept()
        except (BlockingIOError, ConnectionError):
            return False
        if peer_of(connection)[1] not in {0, os.geteuid()}:
            _log.warning("a stranger's connection to the control socket is refused")
            connection.close()
            return False
        self.leave()
        connection.settimeout(0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self.connection = connection
        return True

    def greet(self, ready: Ready) -> None:
        """Say what the line holds, before everything that waits."""
        self._waiting.appendleft(_Waiting(encode(ready), lasting=False))
        self.flush()

    def leave(self) -> None:
        """End the connection; what only its supervisor had to know is forgotten."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None
        lasting = [waiting for waiting in self._waiting if waiting.lasting]
        self._waiting = deque(lasting)

    def send(self, message: Up) -> None:
        """Send, keep or drop a message."""
        sample, lasting = isinstance(message, SampleReady), isinstance(message, _LASTING)
        alone = self.connection is None
        if (alone and not lasting) or (sample and self._waiting):
            self.dropped += sample
            return
        try:
            self._waiting.append(_Waiting(encode(self._carried(message)), lasting))
        except (MalformedMessageError, OSError):  # The disk may be full.
            self.dropped += 1
            return
        if len(self._waiting) > _MAX_WAITING:
            self._waiting.popleft()
            self.dropped += 1
        self.flush()

    def _carried(self, message: Up) -> Up:
        """A message as a datagram takes it: a large picture is a file, which the message names."""
        if not isinstance(message, SampleReady) or self._pictures is None:
            return message
        image = message.sample.image
        if len(image) <= DATAGRAM_PICTURE_BYTES:
            return message
        named = write_picture(self._pictures, image)
        return SampleReady(
            msgspec.structs.replace(message.sample, image=b"", image_sha256=named, image_bytes=len(image))
        )

    def flush(self) -> None:
        """Send what waits, as far as the supervisor takes it."""
        while self.connection is not None and self._waiting:
            try:
                self.connection.send(self._waiting[0].data)
            except BlockingIOError:
                return
            except OSError as error:
                _log.warning("the supervisor is gone: %s", error.strerror)
                self.leave()
                return
            self._waiting.popleft()

    def receive(self) -> list[Down]:
        """Orders that have come; the end of the connection ends it here too."""
        orders: list[Down] = []
        while self.connection is not None:
            try:
                data = self.connection.recv(MAX_CONTROL_BYTES)
            except BlockingIOError:
                return orders
            except OSError:
                data = b""
            if not data:
                _log.warning("the supervisor is gone; the line goes on with what it holds")
                self.leave()
                return orders
            try:
                orders.append(decode_down(data))
            except MalformedMessageError as error:
                _log.warning("%s", error)
        return orders
