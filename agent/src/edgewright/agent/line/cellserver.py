"""The line's end of the cell socket: one machine at a time, and a newer connection replaces it."""

import logging
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final

from edgewright.wire.cell import CellMessage, Decision, Inbox, encode
from edgewright.wire.errors import MalformedMessageError

_READ_BYTES: Final = 256 * 1024
_log = logging.getLogger(__name__)


class CellServer:
    """Listens at a path (mode 0600) and holds the one connection.

    Attributes:
        listener: readable when a machine connects.
        connection: readable when it says something; None while no machine is connected.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.listener = self._listen()
        self._inode = path.stat().st_ino
        self.connection: socket.socket | None = None
        self._inbox = Inbox()

    def keep_place(self) -> None:
        """Listen anew where the path leads to another socket or nowhere; the connection stays."""
        if not self._has_place():
            _log.warning("the path of the cell's socket led elsewhere; the line listens there again")
            with suppress(OSError):  # On a disk that takes no name: the next time.
                listener = self._listen()
                self.listener.close()
                self.listener, self._inode = listener, self._path.stat().st_ino

    def accept(self) -> None:
        """Take a new connection in the place of the old one."""
        try:
            connection, _ = self.listener.accept()
        except (BlockingIOError, ConnectionError):
            return
        self._disconnect()
        connection.settimeout(0)
        self.connection = connection
        self._inbox = Inbox()

    def read(self) -> list[CellMessage]:
        """Messages that are complete now; a stream that ends or is not of the contract is closed."""
        if self.connection is None:
            return []
        try:
            data = self.connection.recv(_READ_BYTES)
            messages = self._inbox.feed(data)
        except BlockingIOError:
            return []
        except (ConnectionError, MalformedMessageError) as error:
            _log.warning("the cell's connection is closed: %s", error)
            data, messages = b"", []
        if not data:
            self._disconnect()
        return messages

    def send(self, decision: Decision) -> None:
        """Send a decision; a machine that does not read its decisions is disconnected."""
        if self.connection is None:
            return
        data = encode(decision)
        try:
            complete = self.connection.send(data) == len(data)
        except (BlockingIOError, ConnectionError):
            complete = False
        if not complete:
            _log.warning("the cell does not read its decisions; its connection is closed")
            self._disconnect()

    def close(self) -> None:
        """Close everything and remove the path, unless it is another line's by now."""
        self._disconnect()
        self.listener.close()
        if self._has_place():
            self._path.unlink(missing_ok=True)

    def _listen(self) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._path.unlink(missing_ok=True)
            listener.bind(str(self._path))
            self._path.chmod(0o600)
            listener.listen(1)
            listener.settimeout(0)
        except OSError:
            listener.close()
            raise
        return listener

    def _has_place(self) -> bool:
        try:
            return self._path.stat().st_ino == self._inode
        except FileNotFoundError:
            return False

    def _disconnect(self) -> None:
        if self.connection is not None:
            with suppress(OSError):
                self.connection.close()
            self.connection = None
