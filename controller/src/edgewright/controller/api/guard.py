"""What every request passes: the host check, the limit of its body, the security headers, and the last catch
for defects.

The controller answers for loopback and for the names that it was started with, so a request for another host
name is a rebinding attack or a mistake. Everything that a page needs comes from the controller itself, which
the content policy says.
"""

import logging
import re
from collections.abc import Sequence
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgewright.controller.api.answers import answer_problem
from edgewright.controller.api.problems import UnexpectedError
from edgewright.controller.errors import InvalidRequestError

logger = logging.getLogger(__name__)

HOSTS: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})

MAX_BODY_BYTES: Final = 1 << 20
"""Of everything but blobs and files of labels, which have bounds of their own and are not kept in memory."""
BLOBS: Final = "/api/v1/blobs/"
LABEL_FILES: Final = re.compile(r"/api/v1/models/[^/]+/labels\.csv")

SECURITY_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
    ),
    # Not "no-referrer": with that a browser sends "Origin: null" with our own forms too.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


class Guard:
    """ASGI middleware; the outermost one."""

    def __init__(self, app: ASGIApp, names: Sequence[str] = ()) -> None:
        self._app = app
        self._hosts = HOSTS.union(names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, received = False, 0

        async def receive_bounded() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > MAX_BODY_BYTES and not _is_streamed(scope["path"]):
                raise InvalidRequestError(f"A request may have {MAX_BODY_BYTES >> 10} KiB at most.")
            return message

        async def send_guarded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message).update(SECURITY_HEADERS)
            await send(message)

        host = Headers(scope=scope).get("host", "")
        if _host_name(host) not in self._hosts:
            refusal = InvalidRequestError(f"This controller does not answer for the host {host!r}.")
            await answer_problem(scope, refusal)(scope, receive, send_guarded)
            return
        try:
            await self._app(scope, receive_bounded, send_guarded)
        except Exception:  # top of a request: a defect must not show its traceback to a user
            logger.exception("%s %s failed", scope["method"], scope["path"])
            if not started:
                defect = UnexpectedError("The controller could not answer because of a defect of its own.")
                await answer_problem(scope, defect)(scope, receive, send_guarded)


def _is_streamed(path: str) -> bool:
    return path.startswith(BLOBS) or LABEL_FILES.fullmatch(path) is not None


def _host_name(host: str) -> str:
    name, _, port = host.rpartition(":")
    return name if port.isdigit() else host
