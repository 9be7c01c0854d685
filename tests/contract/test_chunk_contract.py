"""One contract for every way that chunks come: topics in memory, over NATS and mosquitto, and byte ranges."""

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edgewright.agent.chunks import ChunkReader, Piece, TopicChunks, pieces_of
from edgewright.agent.fetcher import Interrupted
from edgewright.agent.link import Link
from edgewright.agent.rangechunks import RangeChunks
from edgewright.agent.tls import TlsContext
from edgewright.agent.transfer import Limits, Postponed, Transfer
from edgewright.wire import topics
from edgewright.wire.errors import BlobTimeoutError, ByteBudgetError
from edgewright.wire.manifest import CHUNK_BYTES, Blob, split_blob
from simulators.topics import MemoryTopics
from tests.contract.blobdoor import blob_door
from tests.contract.brokers import running

SECONDS = 20.0
DATA = random.Random(6).randbytes(40 * CHUNK_BYTES + 77)
BLOB, CHUNKS = split_blob(DATA)


class World(NamedTuple):
    """A reader, and the hand that publishes chunks of a blob by their numbers."""

    chunks: ChunkReader
    publish: Callable[[list[int]], None]


def _no_context() -> TlsContext:
    raise AssertionError("this door speaks in the clear")


def _behind_a_door() -> Iterator[World]:
    with blob_door() as door:

        def publish(numbers: list[int]) -> None:
            """A door has a blob whole or not at all."""
            if len(numbers) == len(CHUNKS):
                door.blobs[BLOB.sha256] = DATA

        yield World(RangeChunks(door.url, _no_context), publish)


def _on_a_broker(name: str, folder: Path) -> Iterator[World]:
    with running(name, folder) as broker:
        publisher = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="publisher", protocol=mqtt.MQTTv311)
        publisher.connect(broker.host, broker.port)
        publisher.loop_start()

        def publish(numbers: list[int]) -> None:
            sent = [
                publisher.publish(topics.chunk(BLOB.chunks[number]), CHUNKS[number], qos=1, retain=True)
                for number in numbers
            ]
            for message in sent:
                message.wait_for_publish(SECONDS)

        link = Link(broker.host, broker.port, "device.1")
        link.start()
        deadline = time.monotonic() + SECONDS
        while not link.connected:
            assert time.monotonic() < deadline, "the device did not connect"
            time.sleep(0.01)
        yield World(TopicChunks(link), publish)
        link.stop()
        publisher.disconnect()
        publisher.loop_stop()


def _in_memory() -> Iterator[World]:
    memory = MemoryTopics()

    def publish(numbers: list[int]) -> None:
        for number in numbers:
            memory.publish(topics.chunk(BLOB.chunks[number]), CHUNKS[number])

    yield World(TopicChunks(memory), publish)


@pytest.fixture(params=["memory", "nats", pytest.param("mosquitto", marks=pytest.mark.mosquitto), "https"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """Each implementation in turn."""
    if request.param == "memory":
        yield from _in_memory()
    elif request.param == "https":
        yield from _behind_a_door()
    else:
        yield from _on_a_broker(request.param, tmp_path / "broker")


def pieces(numbers: list[int]) -> list[Piece]:
    """Chunks of the blob by their numbers."""
    return pieces_of(BLOB, [BLOB.chunks[number] for number in numbers])


def patient() -> Transfer:
    """Bounds that no test comes near."""
    return Transfer(Limits(patience=(SECONDS,)))


def test_brings_every_piece_with_its_bytes(world: World) -> None:
    """Forty-one chunks, the last one short, all arrive once with their own bytes."""
    world.publish(list(range(len(CHUNKS))))
    arrivals = list(world.chunks.read(BLOB.sha256, pieces_of(BLOB, BLOB.chunks), patient()))
    assert {arrival.piece.digest: arrival.data for arrival in arrivals} == dict(
        zip(BLOB.chunks, CHUNKS, strict=True)
    )
    assert len(arrivals) == len(CHUNKS)


def test_brings_only_what_was_asked_for(world: World) -> None:
    """Pieces with gaps between them come, and no byte of the others is taken from the network."""
    world.publish(list(range(len(CHUNKS))))
    before = world.chunks.received
    wanted = pieces([0, 1, 5, 40])
    arrivals = list(world.chunks.read(BLOB.sha256, wanted, patient()))
    assert {arrival.piece for arrival in arrivals} == set(wanted)
    assert [arrival.data for arrival in sorted(arrivals, key=lambda each: each.piece.offset)] == [
        CHUNKS[number] for number in (0, 1, 5, 40)
    ]
    taken, length = world.chunks.received - before, sum(piece.length for piece in wanted)
    assert length <= taken < length + 4096


def test_names_the_missing(world: World) -> None:
    """A piece that is not there comes as None, or the transport says at once that it has no such blob."""
    transfer = Transfer(Limits(patience=(0.3,)))
    try:
        arrivals = list(world.chunks.read(BLOB.sha256, pieces([3]), transfer))
    except BlobTimeoutError:
        return
    assert arrivals == [(pieces([3])[0], None)]


def test_ends_when_it_is_called_off(world: World) -> None:
    """An interrupt ends the wait long before the patience does."""
    transfer = Transfer(Limits(patience=(3600.0,)), interrupt=lambda: True)
    with pytest.raises(Interrupted):
        list(world.chunks.read(BLOB.sha256, pieces([3]), transfer))


def test_asks_for_nothing_that_is_not_admitted(world: World) -> None:
    """With room for three chunks, three come, then the transfer is postponed; no other byte was taken."""
    world.publish(list(range(len(CHUNKS))))
    spent = [0]

    def fits(length: int) -> None:
        if spent[0] + length > 3 * CHUNK_BYTES + 3000:
            raise Postponed(ByteBudgetError("no room"), 1.0)

    def spend(taken: int) -> None:
        spent[0] += taken

    transfer = Transfer(Limits(patience=(SECONDS,)), fits=fits, spend=spend)
    with pytest.raises(Postponed):
        list(_each(world.chunks, transfer))
    transfer.account(world.chunks.received)
    assert spent[0] <= 3 * CHUNK_BYTES + 3000
    assert spent[0] >= 3 * CHUNK_BYTES


def _each(chunks: ChunkReader, transfer: Transfer) -> Iterator[Piece]:
    for arrival in chunks.read(BLOB.sha256, pieces_of(BLOB, BLOB.chunks), transfer):
        assert arrival.data is not None
        yield arrival.piece


def test_pieces_of_a_blob_that_repeats() -> None:
    """A chunk that a blob holds twice is asked for once, where it stands first."""
    blob = Blob("0" * 64, 3 * CHUNK_BYTES, ("a", "b", "a"))
    assert pieces_of(blob, ["a", "b"]) == [Piece("a", 0, CHUNK_BYTES), Piece("b", CHUNK_BYTES, CHUNK_BYTES)]
