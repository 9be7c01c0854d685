"""How many may hold a connection, and for how long without asking anything.

Who connects costs this process a descriptor before anything is known of him. So a listening socket takes a
bounded number, a smaller one from each address, and one that has not sent the head of a request within
``HEAD_S`` ends; the handshake of TLS counts into that. The bounds stay far below 1024 descriptors, the most
that ``select`` of the link to the broker can wait for.
"""

import asyncio
import contextlib
import resource
import socket
from collections import Counter
from typing import Any, Final, NamedTuple

HEAD_S: Final = 10.0
MOST: Final = 256
MOST_OF_AN_ADDRESS: Final = 16
DESCRIPTORS: Final = 4096
"""What the process asks for; many systems give 1024."""


class Limits(NamedTuple):
    """Of one listening socket: connections in all, and of one address; seconds for the head of a request."""

    most: int = MOST
    most_of_an_address: int = MOST_OF_AN_ADDRESS
    head_s: float = HEAD_S


class Listener(socket.socket):
    """A listening socket that keeps the limits; it accepts on an event loop only.

    Attributes:
        limits: what it keeps.
    """

    def __init__(self, family: int, limits: Limits) -> None:
        super().__init__(family, socket.SOCK_STREAM)
        self.limits = limits
        self._guests: dict[int, _Guest] = {}
        self._of_address: Counter[str] = Counter()

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection.

        Raises:
            ConnectionAbortedError: it was one too many, and is closed; the event loop goes on.
        """
        accepted, address = super().accept()
        host = str(address[0])
        full = len(self._guests) >= self.limits.most
        if full or self._of_address[host] >= self.limits.most_of_an_address:
            accepted.close()
            raise ConnectionAbortedError("Too many connections.")
        guest = _Guest(self, host, accepted.detach())
        self._guests[guest.fileno()] = guest
        self._of_address[host] += 1
        self.expect_head(guest.fileno())
        return guest, address

    def expect_head(self, descriptor: int) -> None:
        """From now on a connection has a while to send the head of a request."""
        if (guest := self._guests.get(descriptor)) is not None:
            guest.expect_head(self.limits.head_s)

    def has_asked(self, descriptor: int) -> None:
        """The head has come."""
        if (guest := self._guests.get(descriptor)) is not None:
            guest.has_asked()

    def leave(self, descriptor: int, host: str) -> None:
        """A connection has closed."""
        if self._guests.pop(descriptor, None) is not None:
            self._of_address[host] -= 1
            self._of_address += Counter()  # drops the zeros


class _Guest(socket.socket):
    """A connection that tells its listener when it closes."""

    def __init__(self, listener: Listener, host: str, descriptor: int) -> None:
        super().__init__(fileno=descriptor)
        self._listener = listener
        self._host = host
        self._late: asyncio.TimerHandle | None = None

    def expect_head(self, seconds: float) -> None:
        self.has_asked()
        self._late = asyncio.get_running_loop().call_later(seconds, self._end)

    def has_asked(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def close(self) -> None:
        self.has_asked()
        self._listener.leave(self.fileno(), self._host)
        super().close()

    def _end(self) -> None:
        with contextlib.suppress(OSError):  # it has gone by itself
            self.shutdown(socket.SHUT_RDWR)


def allow_descriptors() -> None:
    """Let this process have as many descriptors as the limits may need, where the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
