"""The line's end of the control socket: one supervisor at a time, or none, and it never blocks.

While there is no supervisor, or it does not read, news are kept (``keeping``). Answers to the orders of a
supervisor that is gone are dropped: the next one is told what the slots hold instead.
"""

import logging
import os
import secrets
import socket
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from edgewright.agent.control import (
    INODE_VARIABLE,
    MAX_CONTROL_BYTES,
    SEND_BUFFER_BYTES,
    Down,
    Heartbeat,
    News,
    Ready,
    SampleReady,
    Taken,
    Up,
    decode_down,
    encode,
    peer_of,
)
from edgewright.agent.line.keeping import Keeping
from edgewright.agent.samplefiles import forget_handed_over, hand_over
from edgewright.wire.errors import MalformedMessageError

DATAGRAM_PICTURE_BYTES: Final = 180 * 1024
"""A datagram takes 200 KiB."""

FAREWELL_SECONDS: Final = 1.0
"""How long a line that ends waits for its supervisor to read."""

_log = logging.getLogger(__name__)


class ControlLink:
    """Listens for supervisors and sends in order.

    Args:
        listener: the listening socket; it is told again to listen, so that its credentials name this process.
        pictures: folder for pictures that no datagram takes; without one their samples are given up.

    Attributes:
        listener: readable when a supervisor connects.
        connection: readable when it says something; None without one.
        blocked: whether messages wait for a connected supervisor to read.
        line: name of this line, by which its numbers are told from another one's.
    """

    def __init__(self, listener: socket.socket, pictures: Path | None = None) -> None:
        listener.listen(1)
        listener.settimeout(0)
        self.listener = listener
        self.connection: socket.socket | None = None
        self.blocked = False
        self.line = secrets.token_hex(8)
        self._path = Path(os.fsdecode(listener.getsockname()))
        self._inode = int(os.environ.get(INODE_VARIABLE) or self._path.stat().st_ino)
        self._pictures = pictures
        self._answers: deque[bytes] = deque()
        self._keeping = Keeping()
        if pictures is not None:
            forget_handed_over(pictures)

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
        self._answers.appendleft(encode(ready))
        self.flush()

    def leave(self) -> None:
        """End the connection; what only its supervisor had to know is forgotten."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None
        self._answers.clear()
        self._keeping.begin_again()
        self.blocked = False

    def send(self, message: Up) -> None:
        """Send or keep a message; an answer without a supervisor is dropped."""
        if isinstance(message, News):
            self._keep(message)
        elif self.connection is not None and not (self._answers and isinstance(message, Heartbeat)):
            self._answers.append(encode(message))
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as the supervisor takes it."""
        while self.connection is not None:
            if self._answers:
                if not self._transmit(self._answers[0]):
                    return
                self._answers.popleft()
            elif (news := self._keeping.next()) is not None:
                if not self._transmit(encode(news)):
                    return
                self._keeping.told()
            else:
                self.blocked = False
                return

    def close(self) -> None:
        """Tell a connected supervisor everything that is kept, and end the connection."""
        if self.connection is None:
            return
        with suppress(OSError):
            self.connection.settimeout(FAREWELL_SECONDS)
            while (news := self._keeping.next(all_at_once=True)) is not None:
                self.connection.send(encode(news))
                self._keeping.told()
        self.leave()

    def _transmit(self, data: bytes) -> bool:
        """Hand a datagram to the kernel; whether it took it."""
        assert self.connection is not None, "only a connection transmits"
        try:
            self.connection.send(data)
        except BlockingIOError:
            self.blocked = True
            return False
        except OSError as error:
            _log.warning("the supervisor is gone: %s", error.strerror)
            self.leave()
            return False
        return True

    def _keep(self, message: News) -> None:
        try:
            carried = self._carried(message)
            encode(carried)  # What no datagram takes is given up here, before it has a number.
        except (MalformedMessageError, OSError) as error:  # The disk may be full.
            _log.warning("something cannot be told to the supervisor: %s", error)
            self._keeping.give_up(message)
            return
        self._forget_pictures(self._keeping.keep(carried))

    def _carried(self, message: News) -> News:
        """A message as a datagram takes it: a large picture is a file, which the message names."""
        if not isinstance(message, SampleReady) or self._pictures is None:
            return message
        image = message.sample.image
        if len(image) <= DATAGRAM_PICTURE_BYTES:
            return message
        named = hand_over(self._pictures, image)
        return SampleReady(
            msgspec.structs.replace(message.sample, image=b"", image_sha256=named, image_bytes=len(image))
        )

    def _forget_pictures(self, messages: Iterable[News]) -> None:
        """Delete the line's own files of pictures that the supervisor has, or that were given up."""
        named = [one.sample.image_sha256 for one in messages if isinstance(one, SampleReady)]
        for sha256 in filter(None, named):
            assert self._pictures is not None, "a picture is a file only with a folder"
            forget_handed_over(self._pictures, sha256)

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
                order = decode_down(data)
            except MalformedMessageError as error:
                _log.warning("%s", error)
                continue
            if isinstance(order, Taken):
                self._forget_pictures(self._keeping.taken(order.number))
                self.flush()
            else:
                orders.append(order)
        return orders
