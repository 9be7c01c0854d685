"""The camera's server: as much of RTSP (RFC 2326) as a client needs to play one stream over its connection.

What a real camera does wrong can be ordered: it falls silent with its connection open, or it drops everybody.
"""

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from simulators.camera.jpeg import CLOCK_HZ, packets, parse

Render = Callable[[int], NDArray[np.uint8]]
_SESSION = "12345678"
_SOURCE = 0x45444745


class RtspCamera:
    """Serves ``rtsp://127.0.0.1:port/stream`` until it is closed.

    Attributes:
        port: where it listens; the same after ``unplug`` and ``plug_in``.
        silent: whether it holds its connections open and sends nothing.
        sent: pictures.

    Args:
        render: makes the picture of a number (height x width x 3, BGR, sides multiples of 16).
        rate: pictures a second.
    """

    def __init__(self, render: Render, rate: float) -> None:
        self._render, self._rate = render, rate
        self.port = 0
        self.silent = False
        self.sent = 0
        self._connections: list[socket.socket] = []
        self._listener: socket.socket | None = None
        self.plug_in()

    @property
    def address(self) -> str:
        """What a client opens."""
        return f"rtsp://127.0.0.1:{self.port}/stream"

    def plug_in(self) -> None:
        """Begin to listen."""
        listener = socket.create_server(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def unplug(self) -> None:
        """Drop everybody and stop listening."""
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._connections.clear()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                self._connections.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        buffer = b""
        with contextlib.suppress(OSError):
            while data := connection.recv(4096):
                buffer += data
                while b"\r\n\r\n" in buffer and not buffer.startswith(b"$"):
                    request, _, buffer = buffer.partition(b"\r\n\r\n")
                    self._answer(connection, request.decode())
                if buffer.startswith(b"$"):  # Receiver reports; the last part of one may still be missing.
                    buffer = buffer[4 + int.from_bytes(buffer[2:4], "big") :]

    def _answer(self, connection: socket.socket, request: str) -> None:
        method = request.partition(" ")[0]
        number = re.search(r"CSeq: *(\d+)", request)
        lines = ["RTSP/1.0 200 OK", f"CSeq: {number[1] if number else 0}", f"Session: {_SESSION}"]
        body = ""
        if method == "OPTIONS":
            lines.append("Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER")
        elif method == "DESCRIBE":
            body = f"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\na=framerate:{self._rate}\r\n"
            body += "m=video 0 RTP/AVP 26\r\nc=IN IP4 0.0.0.0\r\na=control:video\r\n"
            lines += ["Content-Type: application/sdp", f"Content-Length: {len(body)}"]
        elif method == "SETUP":
            lines.append("Transport: RTP/AVP/TCP;unicast;interleaved=0-1")
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n" + body).encode())
        if method == "PLAY":
            threading.Thread(target=self._play, args=(connection,), daemon=True).start()

    def _play(self, connection: socket.socket) -> None:
        began, sequence, number = time.monotonic(), 0, 0
        with contextlib.suppress(OSError):
            while True:
                number += 1
                time.sleep(max(0.0, began + number / self._rate - time.monotonic()))
                if self.silent:
                    continue
                _, jpeg = cv2.imencode(".jpg", self._render(number))
                timestamp = int(number / self._rate * CLOCK_HZ) & 0xFFFFFFFF
                for packet in packets(parse(jpeg.tobytes()), timestamp, sequence, _SOURCE):
                    connection.sendall(b"$\0" + len(packet).to_bytes(2, "big") + packet)
                    sequence += 1
                self.sent += 1
