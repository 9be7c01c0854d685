"""A network that slows down to a drip: a proxy before a broker, and a web server."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

DRIP_BYTES_PER_SECOND = 1.0


class Drip:
    """A proxy to one address.

    Attributes:
        port: where it listens, on loopback.
        dripping: whether what comes from the far side is passed on at one byte a second.
    """

    def __init__(self, host: str, port: int) -> None:
        self.dripping = threading.Event()
        self._far, self._ended = (host, port), threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """End every connection."""
        self._ended.set()
        self._listener.close()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(self._far)
            threading.Thread(target=self._pass, args=(near, far, False), daemon=True).start()
            threading.Thread(target=self._pass, args=(far, near, True), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, may_drip: bool) -> None:
        with source, sink, contextlib.suppress(OSError):
            while not self._ended.is_set() and (data := source.recv(65536)):
                while may_drip and data and self.dripping.is_set():
                    self._ended.wait(1 / DRIP_BYTES_PER_SECOND)
                    sink.sendall(data[:1])
                    data = data[1:]
                sink.sendall(data)


@contextmanager
def drip_before(host: str, port: int) -> Iterator[Drip]:
    """A proxy that has ended when the block is left."""
    drip = Drip(host, port)
    try:
        yield drip
    finally:
        drip.close()


@contextmanager
def dripping_server(length: int) -> Iterator[str]:
    """A web server that promises ``length`` bytes and sends one a second; its address."""
    ended = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            near, _ = listener.accept()
            with near:
                near.recv(65536)
                near.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length)
                while not ended.is_set():
                    near.sendall(b"x")
                    ended.wait(1 / DRIP_BYTES_PER_SECOND)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        ended.set()
        # A listener that nobody called would keep its thread waiting.
        with contextlib.suppress(OSError):
            socket.create_connection(listener.getsockname(), timeout=1).close()
        thread.join()
        listener.close()
