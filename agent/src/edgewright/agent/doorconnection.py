"""One HTTP/1.1 connection to the controller's door that can be called off at any moment.

``http.client`` blocks in each read, and a read that has timed out cannot be taken up again. So the socket is
read here, in slices of a fifth of a second. Only what the door speaks is understood: GET, a length that is
known, no chunked bodies, no folded header fields. Looking up the door's name is the one step that cannot be
called off.
"""

import contextlib
import select
import socket
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from edgewright.agent.addresses import Address
from edgewright.agent.tls import TlsContext
from edgewright.agent.transfer import SLICE_SECONDS
from edgewright.wire.errors import DoorUnreachableError

CONNECT_SECONDS: Final = 20.0
"""For the connection and for TLS's handshake, each: five round trips on the slowest satellite."""

MAX_HEAD_BYTES: Final = 16 * 1024
PIECE_BYTES: Final = 64 * 1024

Look = Callable[[], None]
"""Called in each slice; raises where the work is called off."""


class Head(NamedTuple):
    """The first lines of an answer; names of header fields in small letters."""

    status: int
    headers: dict[str, str]

    @property
    def length(self) -> int:
        """Bytes of the body; -1 where it does not say."""
        text = self.headers.get("content-length", "")
        return int(text) if text.isdecimal() and len(text) < 16 else -1


class Silent(Exception):  # noqa: N818 - an answer that does not come, which is asked for again
    """Nothing came for longer than allowed, or the other side has gone."""


class DoorConnection:
    """A connection; made by its construction.

    Args:
        address: the door's.
        context: what the device shows and trusts; not used in the clear.
        look: called in each slice of waiting.

    Attributes:
        received: bytes that it has brought.

    Raises:
        DoorUnreachableError: nobody answers there, or not as the pinned authority says.
    """

    def __init__(self, address: Address, context: Callable[[], TlsContext], look: Look) -> None:
        self._address, self.look = address, look
        self._early = b""
        self.received = 0
        try:
            self._socket = self._open(context)
        except OSError as error:
            raise DoorUnreachableError(
                f"The door at {address.host} port {address.port} did not answer: {error}."
            ) from error

    def ask(self, path: str, headers: dict[str, str], silence: float) -> Head:
        """Send a GET; the head of its answer.

        Raises:
            Silent: none came within ``silence`` seconds, or the connection had ended.
            DoorUnreachableError: what came is no HTTP.
        """
        lines = [f"GET {self._address.path}{path} HTTP/1.1", f"Host: {self._host()}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        try:
            self._socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("ascii"))
        except OSError as error:
            raise Silent from error
        raw, until = b"", time.monotonic() + silence
        while b"\r\n\r\n" not in raw:
            if len(raw) > MAX_HEAD_BYTES or time.monotonic() > until:
                raise Silent
            raw += self.read(PIECE_BYTES, silence)
        head, _, self._early = raw.partition(b"\r\n\r\n")
        return _parse_head(head)

    def read(self, most: int, silence: float) -> bytes:
        """The next bytes, at most so many and at least one.

        Raises:
            Silent: none came within ``silence`` seconds, or the connection has ended.
        """
        if self._early:
            data, self._early = self._early[:most], self._early[most:]
            return data
        until = time.monotonic() + silence
        while True:
            self.look()
            try:
                data = self._socket.recv(min(most, PIECE_BYTES))
            except TimeoutError as error:
                if time.monotonic() > until:
                    raise Silent from error
                continue
            except OSError as error:
                raise Silent from error
            if not data:
                raise Silent
            self.received += len(data)
            return data

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(OSError):
            self._socket.close()

    def _host(self) -> str:
        host = f"[{self._address.host}]" if ":" in self._address.host else self._address.host
        return f"{host}:{self._address.port}"

    def _open(self, context: Callable[[], TlsContext]) -> socket.socket:
        found = socket.getaddrinfo(self._address.host, self._address.port, type=socket.SOCK_STREAM)
        trouble: OSError = OSError("it has no address")
        for family, kind, protocol, _, where in found:
            opened = socket.socket(family, kind, protocol)
            try:
                self._connect(opened, where)
                opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return self._secured(opened, context()) if self._address.secure else opened
            except OSError as error:
                opened.close()
                trouble = error
            except BaseException:
                opened.close()
                raise
        raise trouble

    def _connect(self, opened: socket.socket, where: object) -> None:
        opened.setblocking(False)  # noqa: FBT003 - the library's name for it
        with contextlib.suppress(BlockingIOError):
            opened.connect(where)  # type: ignore[arg-type]  # as getaddrinfo has given it
        until = time.monotonic() + CONNECT_SECONDS
        while not select.select([], [opened], [], SLICE_SECONDS)[1]:
            self.look()
            if time.monotonic() > until:
                raise TimeoutError(f"no connection within {CONNECT_SECONDS:.0f} s")
        if code := opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(code, "the connection was refused or has no way")
        opened.settimeout(SLICE_SECONDS)

    def _secured(self, opened: socket.socket, context: TlsContext) -> socket.socket:
        secured = context.wrap_socket(
            opened, server_hostname=self._address.host, do_handshake_on_connect=False
        )
        until = time.monotonic() + CONNECT_SECONDS
        while True:
            try:
                secured.do_handshake()
            except TimeoutError:
                self.look()
                if time.monotonic() > until:
                    raise
            else:
                return secured


def _parse_head(raw: bytes) -> Head:
    line, _, rest = raw.partition(b"\r\n")
    version, _, code = line[:12].partition(b" ")
    if not version.startswith(b"HTTP/1.") or not code.isdigit():
        raise DoorUnreachableError("The door did not answer in HTTP.")
    fields = (field.partition(":") for field in rest.decode("latin-1").split("\r\n"))
    return Head(int(code), {name.strip().lower(): value.strip() for name, _, value in fields})
