"""One contract for every reader of retained topics: in memory, over NATS and over mosquitto."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edgewright.agent.fetcher import Interrupted, Reader, TopicReader
from edgewright.agent.link import Link
from edgewright.wire import topics
from edgewright.wire.canonical import sha256_hex
from edgewright.wire.manifest import CHUNK_BYTES
from simulators.topics import MemoryTopics
from tests.contract.brokers import running

SECONDS = 20.0


class World(NamedTuple):
    """A reader and the hand that retains what it shall find."""

    reader: Reader
    retain: Callable[[str, bytes], None]


@pytest.fixture(params=["memory", "nats", pytest.param("mosquitto", marks=pytest.mark.mosquitto)])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """Each implementation in turn."""
    if request.param == "memory":
        memory = MemoryTopics()
        yield World(TopicReader(memory), memory.publish)
        return
    with running(request.param, tmp_path / "broker") as broker:
        publisher = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="publisher", protocol=mqtt.MQTTv311)
        publisher.connect(broker.host, broker.port)
        publisher.loop_start()

        def retain(topic: str, payload: bytes) -> None:
            publisher.publish(topic, payload, qos=1, retain=True).wait_for_publish(SECONDS)

        link = Link(broker.host, broker.port, "device.1")
        link.start()
        wait_for(lambda: link.connected)
        yield World(TopicReader(link), retain)
        link.stop()
        publisher.disconnect()
        publisher.loop_stop()


def wait_for(condition: Callable[[], bool]) -> None:
    """Poll a condition up to the hang guard."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.01)


def test_reads_what_is_retained(world: World) -> None:
    """A retained payload of any bytes comes back as it is."""
    payload = bytes(range(256)) * 512
    world.retain(topics.metadata("1.root.json"), payload)
    assert world.reader.read(topics.metadata("1.root.json"), SECONDS) == payload


def test_reads_again_while_another_subscription_of_the_topic_stands(world: World) -> None:
    """Reading a topic twice, the second time nested in the first, finds the retained payload both times."""
    topic = topics.timestamp()
    world.retain(topic, b"first")
    with closing(world.reader.read_many([topic, topics.chunk("0" * 64)], 2, SECONDS)) as many:
        assert next(many) == (topic, b"first")
        assert world.reader.read(topic, SECONDS) == b"first"
    world.retain(topic, b"second")
    assert world.reader.read(topic, SECONDS) == b"second"


def test_silence_is_none(world: World) -> None:
    """A topic that nothing is retained on answers None when the time is over."""
    assert world.reader.read(topics.metadata("9.root.json"), 0.3) is None


def test_a_deleted_message_is_silence(world: World) -> None:
    """An empty retained payload, MQTT's way to delete, is not an answer."""
    topic = topics.assignment("device.1")
    world.retain(topic, b"old")
    world.retain(topic, b"")
    assert world.reader.read(topic, 0.3) is None


def test_reads_many_through_a_window(world: World) -> None:
    """Forty chunks through a window of eight all arrive with their own bytes."""
    chunks = {topics.chunk(sha256_hex(data)): data for data in (bytes([i]) * CHUNK_BYTES for i in range(40))}
    for topic, data in chunks.items():
        world.retain(topic, data)
    assert dict(world.reader.read_many(chunks, 8, SECONDS)) == chunks


def test_many_names_the_missing(world: World) -> None:
    """Topics without a payload come as None beside the ones that are there."""
    here, gone = topics.chunk("a" * 64), topics.chunk("b" * 64)
    world.retain(here, b"x")
    assert dict(world.reader.read_many([here, gone], 8, 0.4)) == {here: b"x", gone: None}


def test_many_ends_when_it_is_called_off(world: World) -> None:
    """An interrupt ends the wait long before the deadline of the chunks."""
    with pytest.raises(Interrupted):
        list(world.reader.read_many([topics.chunk("c" * 64)], 8, 3600.0, interrupt=lambda: True))
