"""The attacker knows where the door is, and nothing else: he connects and says nothing."""

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx

from edgewright.controller.guests import MOST_OF_AN_ADDRESS, Limits
from tests.controller.doors import OpenDoor, opened

HANG_S = 20.0
CACERTS = "/.well-known/est/cacerts"


def is_served(door: OpenDoor, source: str) -> bool:
    """Whether somebody at an address of this machine is answered."""
    trust = ssl.create_default_context(cadata=door.authority.root_pem)
    transport = httpx.HTTPTransport(verify=trust, local_address=source)
    try:
        with httpx.Client(base_url=door.url, transport=transport, timeout=HANG_S) as http:
            return http.get(CACERTS).status_code == 200
    except httpx.TransportError:
        return False


def has_ended(connection: socket.socket) -> bool:
    """Whether the other side has closed a connection by now."""
    connection.settimeout(0)
    try:
        return connection.recv(1) == b""
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True


def wait_until(count: int, connections: list[socket.socket]) -> None:
    """Until so many of them have ended; the deadline is a guard against hanging."""
    deadline = time.monotonic() + HANG_S
    while sum(map(has_ended, connections)) < count:
        assert time.monotonic() < deadline, sum(map(has_ended, connections))
        time.sleep(0.02)


@contextmanager
def silent(door: OpenDoor, many: int) -> Iterator[list[socket.socket]]:
    """Connections that say nothing."""
    port = int(door.url.rpartition(":")[2])
    with ExitStack() as stack:
        yield [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), HANG_S)) for _ in range(many)
        ]


def test_idle_connections_leave_room_for_others(tmp_path: Path) -> None:
    """Of a hundred connections of one address sixteen are kept, and another address is answered at once."""
    with opened(tmp_path, Limits(head_s=10 * HANG_S)) as door, silent(door, 100) as held:
        wait_until(len(held) - MOST_OF_AN_ADDRESS, held)
        assert is_served(door, "127.0.0.2")
        assert not is_served(door, "127.0.0.1")
        assert sum(map(has_ended, held)) == len(held) - MOST_OF_AN_ADDRESS
    assert MOST_OF_AN_ADDRESS == 16


def test_silent_connections_end(tmp_path: Path) -> None:
    """Without a handshake, a request, its whole head, or a second one: each ends, and its place is free."""
    anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    with opened(tmp_path, Limits(head_s=1.0)) as door, silent(door, MOST_OF_AN_ADDRESS) as held:
        shaken: list[socket.socket] = [anybody.wrap_socket(each) for each in held[:9]]
        for each in shaken[3:6]:
            each.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: ")
        for each in shaken[6:]:
            each.sendall(f"GET {CACERTS} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            assert each.recv(1)
            each.sendall(b"GET / HTT")
            each.settimeout(0)
        wait_until(MOST_OF_AN_ADDRESS - 3, [*shaken[:6], *held[9:]])
        assert is_served(door, "127.0.0.1")
