"""Transfers over a network that fails: a real broker, connection and downloader, and bare TCP beside them."""

import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from edgewright.agent.chunks import TopicChunks
from edgewright.agent.downloader import Downloader, Hooks
from edgewright.agent.link import Link
from edgewright.agent.store import Store
from edgewright.agent.transfer import Limits
from edgewright.agent.transfer import Transfer as Bounds
from edgewright.wire import topics
from edgewright.wire.manifest import Blob, split_blob
from simulators.network.link import NetworkLink
from tests.contract.brokers import Broker

PUBLISH_S: Final = 60.0
PIECE_BYTES: Final = 64 * 1024


class Transfer(NamedTuple):
    """What one transfer took.

    Attributes:
        seconds: from the first question to the complete blob.
        carried: bytes that came out of the network, both ways, headers and repetitions included.
        fetched: payload bytes that the downloader took.
    """

    seconds: float
    carried: int
    fetched: int


def publish(broker: Broker, length: int) -> Blob:
    """Retain a blob of random bytes on a broker."""
    blob, chunks = split_blob(random.Random(length).randbytes(length))
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="publisher", protocol=mqtt.MQTTv311)
    client.connect(broker.host, broker.port)
    client.loop_start()
    for digest, chunk in zip(blob.chunks, chunks, strict=True):
        client.publish(topics.chunk(digest), chunk, qos=1, retain=True).wait_for_publish(PUBLISH_S)
    client.disconnect()
    client.loop_stop()
    return blob


def transfer(network: NetworkLink, blob: Blob, folder: Path) -> Transfer:
    """Fetch a blob as a device does, over a network."""
    link = Link(network.host, network.port, "device.1")
    link.start()
    store = Store(folder)
    downloader = Downloader(TopicChunks(link), store, Hooks(), Bounds(Limits()))
    try:
        while not link.connected:
            time.sleep(0.01)
        before, began = network.carried(), time.monotonic()
        downloader.fetch(blob)
        took = time.monotonic() - began
        return Transfer(took, network.carried() - before, downloader.fetched_bytes)
    finally:
        link.stop()


def bare_seconds(network: NetworkLink, length: int) -> float:
    """How long the same bytes take as one TCP stream: what the network allows."""
    began = time.monotonic()
    with socket.create_connection((network.host, network.port)) as stream:
        stream.sendall(length.to_bytes(8))
        left = length
        while left:
            data = stream.recv(PIECE_BYTES)
            assert data, "the stream ended early"
            left -= len(data)
    return time.monotonic() - began


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
