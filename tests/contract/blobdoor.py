"""A small HTTP door with blobs, on loopback in the clear, that can misbehave as servers and networks do."""

import contextlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_RANGE = re.compile(r"bytes=(\d+)-(\d+)")


class BlobDoor(ThreadingHTTPServer):
    """Blobs by digest.

    Attributes:
        blobs: what is there; a test may change it, as an attacker may.
        asked: every range that was asked for: digest, first and last byte.
        connections: how many were made.
        refusals: answered in the place of the next requests: status and headers.
        cut_after: bytes of a body after which the connection ends; None for never.
        stalls: whether answers never come.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.blobs: dict[str, bytes] = {}
        self.asked: list[tuple[str, int, int]] = []
        self.connections = 0
        self.refusals: list[tuple[int, dict[str, str]]] = []
        self.cut_after: int | None = None
        self.stalls = threading.Event()
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def close_request(self, request: object) -> None:
        """Count what has ended."""
        self.connections += 1
        super().close_request(request)  # type: ignore[arg-type]  # as the base class has it


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: BlobDoor

    def do_GET(self) -> None:
        """One range."""
        door, digest = self.server, self.path.rpartition("/")[2]
        if door.refusals:
            status, headers = door.refusals.pop(0)
            self._answer(status, headers, b"")
            return
        if self.path != f"/device/v1/blobs/{digest}" or digest not in door.blobs:
            self._answer(404, {}, b"none")
            return
        found = _RANGE.fullmatch(self.headers["Range"])
        assert found is not None
        first, last = int(found[1]), int(found[2])
        door.asked.append((digest, first, last))
        whole = door.blobs[digest]
        while door.stalls.is_set() and not door.closing.wait(0.02):
            pass
        body = whole[first : last + 1]
        if not body:
            self._answer(416, {"Content-Range": f"bytes */{len(whole)}"}, b"")
            return
        self._answer(206, {"Content-Range": f"bytes {first}-{last}/{len(whole)}"}, body)

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        cut = self.server.cut_after
        if cut is not None and cut < len(body):
            self.server.cut_after = None
            self.wfile.write(body[:cut])
            self.close_connection = True
            return
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""


@contextmanager
def blob_door() -> Iterator[BlobDoor]:
    """A door that answers; it has closed when the block is left."""
    door = BlobDoor()
    thread = threading.Thread(target=door.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield door
    finally:
        door.closing.set()
        door.shutdown()
        thread.join()
        door.server_close()
