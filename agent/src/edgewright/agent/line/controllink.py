"""The line's end of the control socket: it never blocks, and keeps what the supervisor cannot take yet."""

import logging
import socket
from collections import deque
from typing import Final

from edgewright.agent.control import (
    MAX_CONTROL_BYTES,
    SEND_BUFFER_BYTES,
    Down,
    SampleReady,
    Up,
    decode_down,
    encode,
)
from edgewright.wire.errors import MalformedMessageError

_MAX_WAITING: Final = 10_000
"""Messages; at a window in ten seconds more than a day. Then the supervisor is not coming back."""

_log = logging.getLogger(__name__)


class ControlLink:
    """Sends in order; while messages wait, samples are dropped.

    Attributes:
        socket: readable when the supervisor says something.
        dropped: samples that were dropped.
    """

    def __init__(self, fd: int) -> None:
        self.socket = socket.socket(fileno=fd)
        self.socket.settimeout(0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self._waiting: deque[bytes] = deque(maxlen=_MAX_WAITING)
        self.dropped = 0

    @property
    def blocked(self) -> bool:
        """Whether messages wait for the supervisor to read."""
        return bool(self._waiting)

    def send(self, message: Up) -> None:
        """Send or keep a message.

        Raises:
            ConnectionError: the supervisor is gone.
        """
        sample = isinstance(message, SampleReady)
        try:
            data = encode(message)
        except MalformedMessageError:
            self.dropped += 1
            return
        if sample and self._waiting:
            self.dropped += 1
            return
        self._waiting.append(data)
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as the supervisor takes it.

        Raises:
            ConnectionError: the supervisor is gone.
        """
        while self._waiting:
            try:
                self.socket.send(self._waiting[0])
            except BlockingIOError:
                return
            self._waiting.popleft()

    def receive(self) -> list[Down]:
        """Orders that have come.

        Raises:
            ConnectionError: the supervisor is gone.
        """
        orders: list[Down] = []
        while True:
            try:
                data = self.socket.recv(MAX_CONTROL_BYTES)
            except BlockingIOError:
                return orders
            if not data:
                raise ConnectionResetError("the supervisor closed the control socket")
            try:
                orders.append(decode_down(data))
            except MalformedMessageError as error:
                _log.warning("%s", error)
