"""Where HTTP is answered: on loopback in the clear, at the door with TLS. Only this file imports uvicorn.

Loopback is for the people and programs of this machine. The door is for everybody else: devices that enrol
and renew, and people elsewhere. Its clients see a certificate of the fleet's authority, and may show one: the
application finds it in the request's state as ``client_certificate`` (DER, empty where none was shown; on
loopback there is no such entry, so nobody can claim one there).
"""

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from edgewright.controller.errors import PortInUseError
from edgewright.controller.identity.tls import TlsContext, peer_certificate

LOOPBACK: Final = "127.0.0.1"
START_S: Final = 10.0
POLL_S: Final = 0.01
GRACE_S: Final = 2

Application = Callable[..., Any]


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; a request waits in it once it listens, and is not refused.

    Raises:
        PortInUseError: the port, or the address, cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise PortInUseError(f"Port {port} of {host} cannot be had: {error.strerror}.") from error
    return listener


def loopback_server(app: Application) -> uvicorn.Server:
    """The server of this machine's people and programs."""
    return uvicorn.Server(
        uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=GRACE_S)
    )


class Door:
    """The HTTPS server, on a thread of its own."""

    def __init__(self, app: Application, listener: socket.socket, context: TlsContext) -> None:
        self._listener = listener
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                http=_ShowingPeer,
                log_level="critical",  # a stranger's failed handshake is no news
                access_log=False,
                timeout_graceful_shutdown=GRACE_S,
                ssl_context_factory=lambda *_: context,
            )
        )
        self._thread = threading.Thread(target=self._run, name="door", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()
        deadline = time.monotonic() + START_S
        while not self._server.started and self._thread.is_alive() and time.monotonic() < deadline:
            time.sleep(POLL_S)

    def stop(self) -> None:
        """End; requests in progress get a moment."""
        self._server.should_exit = True
        self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        self._server.run(sockets=[self._listener])


class _ShowingPeer(H11Protocol):
    """HTTP that tells the application which certificate the client showed."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base
        super().connection_made(transport)
        shown = peer_certificate(transport.get_extra_info("ssl_object"))
        # Of this connection: the base class hands each request a copy.
        self.app_state = {**self.app_state, "client_certificate": shown}
