"""The cell's end of the cell socket: a frame out, its decision in; connects again when the line restarts."""

import contextlib
import socket
import time
from pathlib import Path
from typing import Final

from edgewright.wire.cell import Decision, Frame, Inbox, Outcome, encode
from edgewright.wire.errors import MalformedMessageError

GRACE_S: Final = 1.0
"""A line that has not answered so long after a deadline is taken for gone."""

RETRY_S: Final = 0.1
"""Between two attempts to connect; a line starts in about a second."""

_READ_BYTES: Final = 64 * 1024


class LineClient:
    """Asks the line that listens at a path."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._socket: socket.socket | None = None
        self._inbox = Inbox()
        self._retry_at = 0.0

    def ask(self, frame: Frame) -> Decision | None:
        """The line's decision; None where there is no line, or it has gone without an answer.

        A late answer ends the connection, so that it cannot be taken for the next one's.
        """
        until = time.monotonic() + frame.deadline_ms / 1000 + GRACE_S
        if not self._connected():
            return None
        try:
            return self._exchange(frame, until)
        except (OSError, MalformedMessageError):
            self.close()
            return None

    def tell(self, outcome: Outcome) -> bool:
        """Pass the truth of an item on; False where there is no line."""
        if not self._connected():
            return False
        assert self._socket is not None
        try:
            self._socket.settimeout(GRACE_S)
            self._socket.sendall(encode(outcome))
        except OSError:
            self.close()
            return False
        return True

    def close(self) -> None:
        """End the connection."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.close()
            self._socket = None

    def _connected(self) -> bool:
        if self._socket is not None:
            return True
        if time.monotonic() < self._retry_at:
            return False
        self._retry_at = time.monotonic() + RETRY_S
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        opened.settimeout(GRACE_S)
        try:
            opened.connect(str(self._path))
        except OSError:
            opened.close()
            return False
        self._socket, self._inbox = opened, Inbox()
        return True

    def _exchange(self, frame: Frame, until: float) -> Decision:
        assert self._socket is not None
        self._socket.settimeout(max(0.001, until - time.monotonic()))
        self._socket.sendall(encode(frame))
        while (left := until - time.monotonic()) > 0:
            self._socket.settimeout(left)
            data = self._socket.recv(_READ_BYTES)
            if not data:
                break
            for message in self._inbox.feed(data):
                if isinstance(message, Decision) and message.item == frame.item:
                    return message
        raise TimeoutError
