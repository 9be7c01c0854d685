"""One contract for every reader of retained topics: in memory, over NATS and over mosquitto.

Chunks have a contract of their own, in ``test_chunk_contract``.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edgewright.agent.fetcher import Reader, TopicReader
from edgewright.agent.link import Link
from edgewright.agent.subscriber import Subscriber
from edgewright.wire import topics
from simulators.topics import MemoryTopics
from tests.contract.brokers import running

SECONDS = 20.0


class World(NamedTuple):
    """A reader and the hand that retains what it shall find."""

    reader: Reader
    link: Subscriber
    retain: Callable[[str, bytes], None]


@pytest.fixture(params=["memory", "nats", pytest.param("mosquitto", marks=pytest.mark.mosquitto)])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """Each implementation in turn."""
    if request.param == "memory":
        memory = MemoryTopics()
        yield World(TopicReader(memory), memory, memory.publish)
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
        yield World(TopicReader(link), link, retain)
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
    heard: list[bytes] = []
    world.link.subscribe(topic, heard.append)
    wait_for(lambda: bool(heard))
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
