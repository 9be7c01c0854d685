"""Is it an address? Pure looks at what people write: hosts, the door, addresses of cameras, MQTT topics.

What passes here opens a connection or fails as an ``OSError``; it raises nothing that nobody expects later.
"""

import ipaddress
import re
import urllib.parse
from typing import Final, NamedTuple

from edgewright.wire.errors import DoorUnreachableError

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})

MAX_TOPIC_BYTES: Final = 65535
"""A string's length has two bytes (MQTT 3.1.1, section 1.5.3)."""

_NOT_IN_HOSTS: Final = re.compile(r"[\s/@\\\[\]?#]")


class Address(NamedTuple):
    """Where a door is."""

    secure: bool
    host: str
    port: int
    path: str


def parse_door(door: str) -> Address:
    """Read a door's address.

    Raises:
        DoorUnreachableError: it is none; in the clear only this machine is spoken to.

    >>> parse_door("https://plant.example:8443/")
    Address(secure=True, host='plant.example', port=8443, path='')
    """
    try:
        parts = urllib.parse.urlsplit(door)
        host, secure = parts.hostname or "", parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
        check_host(host)
    except ValueError as error:
        raise DoorUnreachableError(f"{door[:200]!r} is no address: {error}.") from error
    if not (secure or (parts.scheme == "http" and host in LOOPBACK)):
        raise DoorUnreachableError(f"{door[:200]!r} is no HTTPS address.")
    return Address(secure, host, port, parts.path.rstrip("/"))


def check_host(host: str) -> None:
    """Refuse what can be no host's name and no address.

    Raises:
        ValueError: it is none.

    >>> check_host("plant.example"), check_host("fe80::1%eth0")
    (None, None)
    >>> check_host("plant..example")
    Traceback (most recent call last):
        ...
    ValueError: 'plant..example' is no host
    """
    try:
        if ":" in host:
            ipaddress.IPv6Address(host)
        elif not host or _NOT_IN_HOSTS.search(host):
            raise ValueError
        else:
            host.encode("idna")  # What every connection does with it.
    except ValueError as error:  # UnicodeError is one
        raise ValueError(f"{host[:200]!r} is no host") from error


def check_topic(topic: str) -> None:
    """Refuse what is not one exact topic (MQTT 3.1.1, section 4.7).

    Raises:
        ValueError: it is none.

    >>> check_topic("cell/#")
    Traceback (most recent call last):
        ...
    ValueError: 'cell/#' is no exact topic
    """
    if not topic or set(topic) & {"#", "+", "\0"} or len(topic.encode()) > MAX_TOPIC_BYTES:
        raise ValueError(f"{topic[:200]!r} is no exact topic")


def without_password(address: str) -> str:
    """An address that may stand in a log.

    >>> without_password("rtsp://user:secret@camera.example:554/stream?token=1")
    'rtsp://camera.example:554/stream'
    >>> without_password("user:secret@camera.example/stream")
    'camera.example/stream'
    >>> without_password("/dev/video0")
    '/dev/video0'
    """
    if "://" not in address:
        return address if address.startswith("/") else address.rpartition("@")[2]
    try:
        parts = urllib.parse.urlsplit(address)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return address.partition("://")[0] + "://..."
    return f"{parts.scheme}://{host}{parts.path}"
