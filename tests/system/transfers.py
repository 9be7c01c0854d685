"""Transfers over a network that fails: the agent's own connection and downloader, and bare TCP beside them.

Both run at the same time, each over a network of its own with the same conditions and the same cuts. Bare TCP
is what the link allows: one stream of the same bytes, the kernel's, the median of some.
"""

import random
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from edgewright.agent.chunks import ChunkReader, TopicChunks
from edgewright.agent.downloader import Downloader, Hooks
from edgewright.agent.link import Link
from edgewright.agent.rangechunks import RangeChunks
from edgewright.agent.store import Store
from edgewright.agent.tls import TlsContext
from edgewright.agent.transfer import Limits
from edgewright.agent.transfer import Transfer as Bounds
from edgewright.wire import topics
from edgewright.wire.errors import TransferError
from edgewright.wire.manifest import Blob, split_blob
from simulators.network.conditions import Conditions
from simulators.network.link import NetworkLink
from tests.contract.brokers import Broker

PUBLISH_S: Final = 60.0
CONNECT_S: Final = 20.0
PIECE_BYTES: Final = 64 * 1024
STREAMS: Final = 3
"""Bare ones; what a few lost packets cost one of them is chance."""

Reader = Callable[[NetworkLink, ExitStack], ChunkReader]
Trouble = Callable[[list[NetworkLink], threading.Event], None]
"""Does something to the networks until the event is set."""


class Transfer(NamedTuple):
    """What one transfer took.

    Attributes:
        seconds: from the first question to the complete blob.
        carried: bytes that came out of the network, both ways, headers and repetitions included.
        fetched: payload bytes that the downloader took.
        tries: that ended early, and one.
    """

    seconds: float
    carried: int
    fetched: int
    tries: int


class Compared(NamedTuple):
    """A transfer beside bare TCP.

    Attributes:
        kind: of the network, ``path`` or ``proxy``.
        length: bytes of the blob.
        took: by the agent.
        bare: seconds of each bare stream.
    """

    kind: str
    length: int
    took: Transfer
    bare: tuple[float, ...]

    @property
    def allowed_s(self) -> float:
        """What the link allows."""
        return statistics.median(self.bare)

    @property
    def time_ratio(self) -> float:
        """Over bare TCP."""
        return self.took.seconds / self.allowed_s

    @property
    def bytes_ratio(self) -> float:
        """Bytes on the wire over the blob's."""
        return self.took.carried / self.length


def random_blob(length: int) -> tuple[Blob, bytes]:
    """A blob that no compressor makes smaller."""
    data = random.Random(length).randbytes(length)
    return split_blob(data)[0], data


def publish(broker: Broker, data: bytes) -> None:
    """Retain a blob's chunks on a broker."""
    blob, chunks = split_blob(data)
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="publisher", protocol=mqtt.MQTTv311)
    client.connect(broker.host, broker.port)
    client.loop_start()
    for digest, chunk in zip(blob.chunks, chunks, strict=True):
        client.publish(topics.chunk(digest), chunk, qos=1, retain=True).wait_for_publish(PUBLISH_S)
    client.disconnect()
    client.loop_stop()


def over_broker(network: NetworkLink, stack: ExitStack) -> ChunkReader:
    """A device's connection to a broker."""
    link = Link(network.host, network.port, "device.1")
    link.start()
    stack.callback(link.stop)
    deadline = time.monotonic() + CONNECT_S
    while not link.connected:
        assert time.monotonic() < deadline, "no connection"
        time.sleep(0.01)
    return TopicChunks(link)


def over_door(context: TlsContext) -> Reader:
    """A device's requests at a door."""

    def read(network: NetworkLink, _stack: ExitStack) -> ChunkReader:
        return RangeChunks(f"https://{network.host}:{network.port}", lambda: context)

    return read


def compare(
    goal: tuple[str, int],
    read: Reader,
    blob: Blob,
    conditions: Conditions,
    folder: Path,
    trouble: Trouble | None = None,
    seed: int = 1,
    streams: int = STREAMS,
) -> Compared:
    """Fetch a blob as a device does, and the same bytes bare, over networks that are alike.

    Args:
        goal: where the broker or the door is.
        read: see ``over_broker``.
        blob: what is there.
        conditions: of the networks.
        folder: of the store.
        trouble: happens meanwhile, in a thread of its own.
        seed: of what gets lost.
        streams: bare ones.
    """
    with ExitStack() as stack:
        server = stack.enter_context(streaming())
        ours = stack.enter_context(NetworkLink(*goal, conditions, seed=seed))
        bare = [
            stack.enter_context(NetworkLink(*server, conditions, seed=seed + 10 + number))
            for number in range(streams)
        ]
        reader, over = read(ours, stack), threading.Event()
        pool = stack.enter_context(ThreadPoolExecutor(streams + 1))
        stack.callback(over.set)
        works = [pool.submit(bare_seconds, network, blob.length) for network in bare]
        if trouble is not None:
            pool.submit(trouble, [ours, *bare], over)
        took = transfer(ours, reader, blob, folder)
        return Compared(ours.kind, blob.length, took, tuple(work.result() for work in works))


def transfer(network: NetworkLink, reader: ChunkReader, blob: Blob, folder: Path) -> Transfer:
    """Fetch a blob, however many tries it takes."""
    before, began, fetched, tries = network.carried(), time.monotonic(), 0, 0
    store = Store(folder)
    while not store.has(blob.sha256):
        downloader = Downloader(reader, store, Hooks(), Bounds(Limits()))
        tries += 1
        try:
            downloader.fetch(blob)
        except TransferError:
            time.sleep(1.0)
        fetched += downloader.fetched_bytes
    took = time.monotonic() - began
    return Transfer(took, network.carried() - before, fetched, tries)


def bare_seconds(network: NetworkLink, length: int) -> float:
    """How long the same bytes take as one TCP stream."""
    with socket.create_connection((network.host, network.port)) as stream:
        began = time.monotonic()
        stream.sendall(length.to_bytes(8))
        left = length
        while left:
            data = stream.recv(PIECE_BYTES)
            assert data, "the stream ended early"
            left -= len(data)
    return time.monotonic() - began


def partitions(seed: int, shortest_s: float, longest_s: float) -> Trouble:
    """Cut the networks for times of random length, with times between that are two to four times as long.

    Cuts that come faster than TCP's own pauses grow measure nothing but its luck.
    """

    def cut(networks: list[NetworkLink], over: threading.Event) -> None:
        draw = random.Random(seed)
        while not over.wait(draw.uniform(2, 4) * draw.uniform(shortest_s, longest_s)):
            for network in networks:
                network.cut()
            over.wait(draw.uniform(shortest_s, longest_s))
            for network in networks:
                network.heal()

    return cut


def restarts(broker: Broker, every_s: float) -> Trouble:
    """Kill the broker, and start it again, every so many seconds."""

    def restart(_networks: list[NetworkLink], over: threading.Event) -> None:
        while not over.wait(every_s):
            broker.crash()
            broker.start()

    return restart


@contextmanager
def streaming() -> Iterator[tuple[str, int]]:
    """A server that answers a number with so many bytes; where it listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_accept, args=(server,), daemon=True).start()
        yield server.getsockname()


def _accept(server: socket.socket) -> None:
    while True:
        try:
            stream, _ = server.accept()
        except OSError:  # closed: the test is over
            return
        threading.Thread(target=_answer, args=(stream,), daemon=True).start()


def _answer(stream: socket.socket) -> None:
    with stream:
        length = int.from_bytes(stream.recv(8))
        stream.sendall(random.Random(1).randbytes(length))
