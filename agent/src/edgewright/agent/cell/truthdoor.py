"""Truths over HTTP, from a program on this machine.

Example::

    POST /truths HTTP/1.1
    Authorization: Bearer <content of labels.token>
    Content-Type: application/json

    [{"item": "7", "truth": "Bag"}, {"item": "8", "truth": "Boot", "source": "weighing", "probability": 0.1}]

Only loopback is listened on, and every request needs the token, because other users' programs and a browser
on this machine reach loopback too. The answer counts what was taken and names what was not by its place; 503
means that nothing was taken, because the line does not take truths now: send it again later.
"""

import contextlib
import hmac
import http.server
import logging
import secrets
import socket
import stat
import threading
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import msgspec

from edgewright.agent.cell.truths import MAX_BYTES, Truths, outcomes_of_json
from edgewright.agent.privatefiles import write_private
from edgewright.wire.errors import ConfigurationError, MalformedTruthError

HOST: Final = "127.0.0.1"
PATH: Final = "/truths"
TOKEN_FILE: Final = "labels.token"  # noqa: S105  # the name of a file, no token
REQUEST_S: Final = 5.0
"""A caller that takes longer to send its request is let go."""

CALLERS: Final = 8
"""At a time; one more is let go at once."""

_TOKEN_BYTES: Final = 32
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_log = logging.getLogger(__name__)


def token_at(path: Path) -> bytes:
    """The token in a file of mode 0600, which is made where it is missing.

    Raises:
        ConfigurationError: others can read it, or it is no token.
    """
    try:
        if not path.exists():
            write_private(path, secrets.token_urlsafe(_TOKEN_BYTES).encode() + b"\n")
        if path.stat().st_mode & _OTHERS:
            raise ConfigurationError(f"Others can read {path}; delete it, and a new token is made.")
        token = path.read_bytes().strip()
    except OSError as error:
        raise ConfigurationError(f"The token {path} cannot be read: {error.strerror}.") from error
    if len(token) < _TOKEN_BYTES:
        raise ConfigurationError(f"The token {path} is too short; delete it, and a new one is made.")
    return token


class TruthDoor(http.server.ThreadingHTTPServer):
    """Listens on loopback from ``start`` to ``stop``.

    Args:
        port: 0 takes any that is free.
        token: what callers have to show.
        truths: takes theirs.

    Raises:
        ConfigurationError: the port is not free.
    """

    daemon_threads = True
    request_queue_size = CALLERS

    def __init__(self, port: int, token: bytes, truths: Truths) -> None:
        self.token, self.truths = token, truths
        self._callers = threading.BoundedSemaphore(CALLERS)
        try:
            super().__init__((HOST, port), _Caller)
        except OSError as error:
            raise ConfigurationError(f"Nobody can listen at port {port}: {error.strerror}.") from error
        self._thread = threading.Thread(target=self.serve_forever, name="truth door", daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])

    def start(self) -> None:
        """Answer callers, on a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Answer nobody any more."""
        self.shutdown()
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        """One thread a caller, up to a number."""
        if not self._callers.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """On the caller's thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._callers.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that goes away is no news."""
        del request, client_address
        _log.info("a caller at the truth door has gone")


class _Caller(http.server.BaseHTTPRequestHandler):
    """One request, then the connection ends."""

    server: TruthDoor
    server_version = "edgewright-agent"
    sys_version = ""

    def setup(self) -> None:
        """The whole request has so much time, however it drips in."""
        super().setup()
        self._end = threading.Timer(REQUEST_S, self._let_go)
        self._end.daemon = True
        self._end.start()

    def finish(self) -> None:
        """It is over."""
        self._end.cancel()
        super().finish()

    def do_POST(self) -> None:
        """Take truths."""
        status, answer = self._answer()
        body = msgspec.json.encode(answer)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if status is HTTPStatus.SERVICE_UNAVAILABLE:
            self.send_header("Retry-After", "5")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library names it so
        """Requests are counted, not logged."""

    def _answer(self) -> tuple[HTTPStatus, dict[str, Any]]:
        shown = self.headers.get("Authorization", "").encode()
        if not hmac.compare_digest(shown, b"Bearer " + self.server.token):
            said = f"The token in {TOKEN_FILE} of the data folder is needed."
            return HTTPStatus.UNAUTHORIZED, {"error": said}
        if self.path != PATH:
            return HTTPStatus.NOT_FOUND, {"error": f"Truths are posted to {PATH}."}
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdecimal()) or len(length) > len(str(MAX_BYTES)):
            return HTTPStatus.LENGTH_REQUIRED, {"error": "The request needs a Content-Length."}
        if int(length) > MAX_BYTES:
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"error": f"At most {MAX_BYTES} bytes at once."}
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            return HTTPStatus.REQUEST_TIMEOUT, {"error": "The request did not come in time."}
        return self._take(body)

    def _let_go(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _take(self, body: bytes) -> tuple[HTTPStatus, dict[str, Any]]:
        try:
            right, wrong = outcomes_of_json(body)
        except MalformedTruthError as error:
            self.server.truths.complain("HTTP", 1, error.sentence)
            return HTTPStatus.BAD_REQUEST, {"error": error.sentence}
        if not self.server.truths.offer(right):
            return HTTPStatus.SERVICE_UNAVAILABLE, {"error": "The line takes no truths now; try again later."}
        if wrong:
            self.server.truths.complain("HTTP", len(wrong), wrong[0][1])
        refused = [{"place": place, "why": why} for place, why in wrong]
        return HTTPStatus.OK, {"taken": len(right), "refused": refused}
