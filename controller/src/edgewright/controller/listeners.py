"""Where HTTP is answered: on loopback in the clear, at the door with TLS. Only this file imports uvicorn.

Loopback is for the people and programs of this machine. The door is for everybody else: devices that enrol
and renew, and people elsewhere. Its clients see a certificate of the fleet's authority, and may show one: the
application finds it in the request's state as ``client_certificate`` (DER, empty where none was shown; on
loopback there is no such entry, so nobody can claim one there). How many connections there may be, and for
how long one may say nothing, is in ``guests``.
"""

import asyncio
import functools
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from edgewright.controller.errors import PortInUseError
from edgewright.controller.guests import Limits, Listener
from edgewright.controller.identity.tls import TlsContext, peer_certificate

LOOPBACK: Final = "127.0.0.1"
START_S: Final = 10.0
POLL_S: Final = 0.01
GRACE_S: Final = 2
ON_LOOPBACK: Final = Limits(most=128, most_of_an_address=128)
"""In the clear all come from one address, and all have an account on this machine."""

Application = Callable[..., Any]


def listen(host: str, port: int, limits: Limits = Limits()) -> Listener:  # noqa: B008 - it cannot change
    """A bound socket; a request waits in it once it listens, and is not refused.

    Raises:
        PortInUseError: the port, or the address, cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = Listener(family, limits)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise PortInUseError(f"Port {port} of {host} cannot be had: {error.strerror}.") from error
    return listener


def loopback_server(app: Application, listener: Listener) -> uvicorn.Server:
    """The server of this machine's people and programs."""
    return uvicorn.Server(_configuration(app, _Timed, listener, log_level="warning"))


class Door:
    """The HTTPS server, on a thread of its own."""

    def __init__(self, app: Application, listener: Listener, context: TlsContext) -> None:
        self._listener = listener
        self._server = uvicorn.Server(
            _configuration(
                app,
                _ShowingPeer,
                listener,
                log_level="critical",  # a stranger's failed handshake is no news
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


class _Timed(H11Protocol):
    """HTTP that tells its listener when the head of a request has come."""

    def __init__(self, *args: Any, listener: Listener, **named: Any) -> None:
        super().__init__(*args, **named)
        self._listener = listener
        self._descriptor = -1

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base
        super().connection_made(transport)
        self._descriptor = transport.get_extra_info("socket").fileno()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not getattr(self.cycle, "response_complete", True):  # there is none before the first head
            self._listener.has_asked(self._descriptor)

    def on_response_complete(self) -> None:
        answered = self.cycle
        super().on_response_complete()
        if self.cycle is answered and not self.transport.is_closing():  # no other request had come behind it
            self._listener.expect_head(self._descriptor)


class _ShowingPeer(_Timed):
    """HTTP that tells the application which certificate the client showed."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base
        super().connection_made(transport)
        shown = peer_certificate(transport.get_extra_info("ssl_object"))
        # Of this connection: the base class hands each request a copy.
        self.app_state = {**self.app_state, "client_certificate": shown}


def _configuration(
    app: Application, protocol: type[_Timed], listener: Listener, **more: Any
) -> uvicorn.Config:
    http: Any = functools.partial(protocol, listener=listener)  # called like the class
    return uvicorn.Config(
        app,
        http=http,
        loop="asyncio",  # the one that calls Listener.accept
        access_log=False,
        timeout_graceful_shutdown=GRACE_S,
        **more,
    )
