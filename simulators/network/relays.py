"""The two kinds of link: over an IP path of its own, and as a proxy. Both serve the same contract."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from contextlib import suppress
from random import Random
from typing import Any, ClassVar, Final

from simulators.network.conditions import Conditions, Passage
from simulators.network.path import DEVICE_END, PLANT_ADDRESS, PLANT_END, Path

LOOPBACK: Final = "127.0.0.1"
PLANT_PORT: Final = 1883
CONNECT_S: Final = 60.0
PIECE_BYTES: Final = 16 * 1024
SEGMENT_BYTES: Final = 1460
HEADER_BYTES: Final = 40
"""IPv4 and TCP without options."""

RETRANSMISSION_S: Final = 0.2
"""Linux's shortest retransmission timeout: what a lost segment costs a proxy's stream."""

SEGMENTS_HELD: Final = 64


class Relay(ABC):
    """Listens on loopback and leads to an address.

    Attributes:
        kind: ``path`` or ``proxy``.
        carried: bytes that came out, headers included, by direction.
    """

    kind: ClassVar[str]
    carried: dict[str, int]

    def __init__(self, host: str, port: int) -> None:
        self._goal = (host, port)
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> int:
        """Begin; the port where it listens."""
        self._server = await asyncio.start_server(self._accept, LOOPBACK, 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @abstractmethod
    def change(self, conditions: Conditions) -> None:
        """From now on the network is like this."""

    def reset(self) -> None:
        """End all connections, as a router that restarts does."""
        for writer in self._writers:
            writer.transport.abort()

    @abstractmethod
    async def _lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection until it ends."""

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            # Cancelled is what a link becomes that ends while it carries something.
            with suppress(OSError, TimeoutError, asyncio.CancelledError):
                await self._lead(reader, writer)
        finally:
            self._writers.discard(writer)
            writer.close()


class PathRelay(Relay):
    """Over two network namespaces: what gets lost are packets, and TCP is the kernel's."""

    kind = "path"

    def __init__(self, host: str, port: int, seed: int) -> None:
        super().__init__(host, port)
        self._path = Path(Conditions(), seed)
        self.carried = self._path.carried

    async def start(self) -> int:
        """See ``Relay``."""
        self._path.start()
        plant = self._path.socket_at(PLANT_END)
        plant.bind((PLANT_ADDRESS, PLANT_PORT))
        self._plant = await asyncio.start_server(self._arrive, sock=plant)
        return await super().start()

    def change(self, conditions: Conditions) -> None:
        """See ``Relay``."""
        self._path.change(conditions)

    async def _lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        way = self._path.socket_at(DEVICE_END)
        connecting = asyncio.get_running_loop().sock_connect(way, (PLANT_ADDRESS, PLANT_PORT))
        await asyncio.wait_for(connecting, CONNECT_S)
        await _join(reader, writer, *await asyncio.open_connection(sock=way))

    async def _arrive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """At the plant's end of the path."""
        try:
            with suppress(OSError, asyncio.CancelledError):
                await _join(reader, writer, *await asyncio.open_connection(*self._goal))
        finally:
            writer.close()


class ProxyRelay(Relay):
    """Without an IP path: a stream's segments wait, and a lost one waits for its repetition."""

    kind = "proxy"

    def __init__(self, host: str, port: int, seed: int) -> None:
        super().__init__(host, port)
        self.carried = {"up": 0, "down": 0}
        self._up = Passage(Conditions(), Random(seed))
        self._down = Passage(Conditions(), Random(seed + 1))

    def change(self, conditions: Conditions) -> None:
        """See ``Relay``."""
        self._up.conditions = self._down.conditions = conditions

    async def _lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self._goal)
        try:
            await _first(
                self._shape(reader, back, self._up, "up"), self._shape(there, writer, self._down, "down")
            )
        finally:
            back.close()

    async def _shape(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passage: Passage, name: str
    ) -> None:
        held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(SEGMENTS_HELD)

        async def take() -> None:
            now = asyncio.get_running_loop().time
            while data := await reader.read(SEGMENT_BYTES):
                while (arrives := passage.admit(len(data) + HEADER_BYTES, now())) is None:
                    await asyncio.sleep(RETRANSMISSION_S)
                await held.put((arrives, data))
            await held.put((now(), b""))

        async def deliver() -> None:
            now = asyncio.get_running_loop().time
            while (waiting := await held.get())[1]:
                arrives, data = waiting
                await asyncio.sleep(max(0.0, arrives - now()))
                self.carried[name] += len(data) + HEADER_BYTES
                writer.write(data)
                await writer.drain()

        taking = asyncio.ensure_future(take())
        try:
            await deliver()
        finally:
            taking.cancel()


async def _join(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    other_reader: asyncio.StreamReader,
    other_writer: asyncio.StreamWriter,
) -> None:
    try:
        await _first(_copy(reader, other_writer), _copy(other_reader, writer))
    finally:
        other_writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(PIECE_BYTES):
        writer.write(data)
        await writer.drain()


async def _first(*works: Coroutine[Any, Any, None]) -> None:
    """Until the first ends; the others end with it."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
