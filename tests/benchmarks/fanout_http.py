"""The peer of the fan-out figure, a static file server: ``python -m tests.benchmarks.fanout_http FILE``.

The standard library's threading server, each answer by ``sendfile(2)``: the file goes from the page cache to
the socket inside the kernel, without the interpreter's lock. Prints its port, then serves until its standard
input is closed.
"""

import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class StaticFile(BaseHTTPRequestHandler):
    """Answers every GET with the one file."""

    protocol_version = "HTTP/1.1"
    path_served: Path

    def do_GET(self) -> None:
        """Send the file."""
        with self.path_served.open("rb") as file:
            self.send_response(200)
            self.send_header("Content-Length", str(self.path_served.stat().st_size))
            self.end_headers()
            self.wfile.flush()
            self.connection.sendfile(file)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's own name
        """Say nothing: a line for each request would cost the peer time."""


class Server(ThreadingHTTPServer):
    """With a backlog that takes all clients at once."""

    request_queue_size = 256
    daemon_threads = True

    def get_request(self) -> tuple[socket.socket, object]:
        """Accept a connection without Nagle's algorithm."""
        accepted, address = super().get_request()
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return accepted, address


def main() -> None:
    """Serve until standard input ends."""
    StaticFile.path_served = Path(sys.argv[1])
    server = Server(("127.0.0.1", 0), StaticFile)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
