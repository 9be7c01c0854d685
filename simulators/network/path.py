"""An IP path between two network namespaces of its own, made by TUN devices (Linux, needs CAP_SYS_ADMIN).

The namespaces have no names and no other interface: when this process ends, however it ends, they are gone.
What one kernel stack sends into its TUN device is read here, held or lost as the conditions say, and written
to the other's. Sockets belong to the namespace in which they were made, so ``socket_at`` is all that the rest
of a program has to know.
"""

import asyncio
import ctypes
import fcntl
import os
import socket
import struct
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Final

from simulators.network.conditions import Conditions, Passage

DEVICE_ADDRESS: Final = "10.77.0.1"
PLANT_ADDRESS: Final = "10.77.0.2"
DEVICE_END, PLANT_END = 0, 1
MTU_BYTES: Final = 1500

_CLONE_NEWNET: Final = 0x40000000
_TUNSETIFF: Final = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_SIOCSIFADDR, _SIOCSIFNETMASK, _SIOCSIFFLAGS = 0x8916, 0x891C, 0x8914
_IFF_UP, _IFF_RUNNING = 0x1, 0x40
_PACKETS_AT_ONCE: Final = 64
_libc = ctypes.CDLL(None, use_errno=True)


def is_possible() -> bool:
    """Whether this process may make namespaces and TUN devices."""
    try:
        with _returning():
            _check(_libc.unshare(_CLONE_NEWNET))
            os.close(_open_tun(DEVICE_ADDRESS))
    except OSError:
        return False
    return True


class Path:
    """Both namespaces and what lies between them; use it on a running event loop.

    Attributes:
        carried: bytes of IP packets that came out, by direction (up: from the device).
    """

    def __init__(self, conditions: Conditions, seed: int) -> None:
        self.carried = {"up": 0, "down": 0}
        self._spaces: list[int] = []
        tuns: list[int] = []
        for address in (DEVICE_ADDRESS, PLANT_ADDRESS):
            with _returning():
                _check(_libc.unshare(_CLONE_NEWNET))
                self._spaces.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY))
                tuns.append(_open_tun(address))
        device, plant = tuns
        self._ways = (
            _Way(device, plant, Passage(conditions, Random(seed)), self.carried, "up"),
            _Way(plant, device, Passage(conditions, Random(seed + 1)), self.carried, "down"),
        )

    def start(self) -> None:
        """Begin to move packets."""
        for way in self._ways:
            way.start()

    def change(self, conditions: Conditions) -> None:
        """From now on the network is like this."""
        for way in self._ways:
            way.passage.conditions = conditions

    def socket_at(self, end: int) -> socket.socket:
        """A TCP socket at ``DEVICE_END`` or ``PLANT_END``."""
        with _returning():
            _check(_libc.setns(self._spaces[end], _CLONE_NEWNET))
            made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.settimeout(0)
        return made


class _Way:
    """Packets of one direction."""

    def __init__(self, source: int, goal: int, passage: Passage, carried: dict[str, int], name: str) -> None:
        self.passage = passage
        self._source, self._goal = source, goal
        self._carried, self._name = carried, name
        self._held: deque[tuple[float, bytes]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to read."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._source, self._read)

    def _read(self) -> None:
        for _ in range(_PACKETS_AT_ONCE):
            try:
                packet = os.read(self._source, MTU_BYTES)
            except BlockingIOError:
                break
            arrives = self.passage.admit(len(packet), self._loop.time())
            if arrives is not None:
                self._held.append((arrives, packet))
        self._deliver()

    def _deliver(self) -> None:
        """Write what is due, in order: one path does not let packets overtake each other."""
        now = self._loop.time()
        while self._held and self._held[0][0] <= now:
            _, packet = self._held.popleft()
            self._carried[self._name] += len(packet)
            os.write(self._goal, packet)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._held[0][0], self._deliver) if self._held else None


@contextmanager
def _returning() -> Iterator[None]:
    """Come back into this thread's network namespace, whatever happens."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        yield
    finally:
        _check(_libc.setns(home, _CLONE_NEWNET))
        os.close(home)


def _open_tun(address: str) -> int:
    """A TUN device in this thread's namespace, up, with an address in 10.77.0.0/24."""
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH", b"path", _IFF_TUN | _IFF_NO_PI))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for request, value in ((_SIOCSIFADDR, address), (_SIOCSIFNETMASK, "255.255.255.0")):
            packed = struct.pack("16sH2s4s8x", b"path", socket.AF_INET, b"", socket.inet_aton(value))
            fcntl.ioctl(control, request, packed)
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH14x", b"path", _IFF_UP | _IFF_RUNNING))
    return tun


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
