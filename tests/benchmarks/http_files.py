"""A web server over a dictionary, in a thread, that counts what it gives: the peer's side of a benchmark."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class HttpFiles:
    """Files by name.

    Attributes:
        files: what is served.
        delivered: payload bytes of the answers so far.
        requests: answers so far, "not found" included.
        address: URL without a slash at its end.
    """

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.delivered, self.requests = 0, 0
        self.address = ""

    def take(self, name: str) -> bytes | None:
        """A file, counted."""
        self.requests += 1
        content = self.files.get(name)
        self.delivered += len(content or b"")
        return content


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[HttpFiles]:
    """Serve on a free loopback port until the block is left."""
    served = HttpFiles(files)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            """Answer from the dictionary."""
            content = served.take(self.path.removeprefix("/"))
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    served.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
