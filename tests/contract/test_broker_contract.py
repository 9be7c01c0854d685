"""What Edgewright needs of a broker, on every broker that it supports.

The controller's side is the real link, the device's side the real reader: so this is at once the contract
between the two.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edgewright.agent.chunks import Piece, TopicChunks
from edgewright.agent.fetcher import TopicReader
from edgewright.agent.link import Link
from edgewright.agent.transfer import Limits, Transfer
from edgewright.controller.link import BrokerLink
from edgewright.wire import topics
from edgewright.wire.canonical import sha256_hex
from edgewright.wire.manifest import CHUNK_BYTES
from tests.contract.brokers import Broker, NatsBroker

HANG_S = 30.0


def eventually(condition: Callable[[], bool]) -> None:
    """Wait for a condition; fails after a time that only a hang takes."""
    deadline = time.monotonic() + HANG_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def controller(broker: Broker, name: str = "controller") -> Iterator[BrokerLink]:
    """A connected controller."""
    link = BrokerLink(broker.host, broker.port, name)
    link.start()
    try:
        link.wait_connected(HANG_S)
        yield link
    finally:
        link.stop()


@contextmanager
def device(broker: Broker, name: str = "r1") -> Iterator[Link]:
    """A connected device."""
    link = Link(broker.host, broker.port, name)
    link.start()
    try:
        eventually(lambda: link.connected)
        yield link
    finally:
        link.stop()


def chunks(count: int, length: int = CHUNK_BYTES) -> dict[str, bytes]:
    """Random chunks by their topics; seeded."""
    draw = random.Random(7)
    made = (draw.randbytes(length) for _ in range(count))
    return {topics.chunk(sha256_hex(data)): data for data in made}


def pull(broker: Broker, wanted: list[str]) -> dict[str, bytes | None]:
    """Read retained topics as a device does: a window of eight."""
    with device(broker) as link:
        pieces = [Piece(topics.parse_chunk(topic), 0, CHUNK_BYTES) for topic in wanted if "/chunk/" in topic]
        arrivals = TopicChunks(link).read("", pieces, Transfer(Limits(patience=(HANG_S,))))
        came = {topics.chunk(arrival.piece.digest): arrival.data for arrival in arrivals}
        reader = TopicReader(link)
        return came | {topic: reader.read(topic, HANG_S) for topic in wanted if topic not in came}


def restart(broker: Broker) -> None:
    """The worst restart that the broker is meant to survive with its retained messages."""
    if isinstance(broker, NatsBroker):
        broker.crash()
    else:
        broker.stop()
    broker.start()


def test_two_hundred_full_chunks_are_pulled_whole(broker: Broker) -> None:
    """200 retained chunks of 128 KiB are published with a bounded window and read back with another."""
    published = chunks(200)
    with controller(broker) as link:
        link.publish_paced(published.items())
    assert pull(broker, list(published)) == published


def test_retained_messages_survive_a_restart(broker: Broker) -> None:
    """Chunks, metadata with dots in its name and an assignment are there after a restart."""
    published = chunks(40) | {
        topics.metadata("1.root.json"): b"root",
        topics.timestamp(): b"timestamp",
        topics.assignment("line-1.robot_2"): b"assignment",
    }
    with controller(broker) as link:
        link.publish_paced(published.items())
    restart(broker)
    assert pull(broker, list(published)) == published


def test_the_newest_retained_message_counts(broker: Broker) -> None:
    """Of two messages retained on a topic a later reader gets the second, also after a restart."""
    topic = topics.assignment("r1")
    with controller(broker) as link:
        link.publish_paced([(topic, b"first"), (topic, b"second")])
    assert pull(broker, [topic]) == {topic: b"second"}
    restart(broker)
    assert pull(broker, [topic]) == {topic: b"second"}


def test_an_empty_retained_message_deletes(broker: Broker) -> None:
    """A topic that was cleared answers with silence, and stays silent after a clean restart.

    After a crash it may be back on NATS, which writes deletions down at a clean end only.
    """
    (kept, content), (cleared, gone) = chunks(2).items()
    with controller(broker) as link:
        link.publish_paced([(kept, content), (cleared, gone)])
        link.publish_paced([(cleared, b"")])
    for _ in range(2):
        with device(broker) as down:
            reader = TopicReader(down)
            # The other topic answers on the same connection, so a short silence is an answer.
            assert reader.read(cleared, 0.5) is None
            assert reader.read(kept, HANG_S) == content
        broker.stop()
        broker.start()


def test_a_subscriber_hears_of_a_new_retained_message(broker: Broker) -> None:
    """A device that is subscribed to the timestamp gets the next one by push."""
    heard: list[bytes] = []
    with controller(broker) as link, device(broker) as down:
        link.publish_paced([(topics.timestamp(), b"1")])
        down.subscribe(topics.timestamp(), heard.append)
        eventually(lambda: heard == [b"1"])
        link.publish_paced([(topics.timestamp(), b"2")])
        eventually(lambda: heard == [b"1", b"2"])


def test_the_controller_hears_upward_messages_after_a_restart(broker: Broker) -> None:
    """QoS 1 messages of devices reach the controller's wildcard subscription before and after a restart."""
    heard: list[tuple[str, bytes]] = []
    connections = threading.Semaphore(0)
    with controller(broker) as link, device(broker) as up:
        link.on_connected(connections.release)
        link.subscribe(topics.up_filter(), lambda topic, payload: heard.append((topic, payload)))
        topic = topics.up("r1", "report")
        # The link does not wait for the subscription's acknowledgement: send until one is heard.
        eventually(lambda: up.publish(topic, b"before") and (topic, b"before") in heard)
        restart(broker)
        assert connections.acquire(timeout=HANG_S)
        eventually(lambda: up.publish(topic, b"after") and (topic, b"after") in heard)


def test_messages_published_while_away_arrive(broker: Broker) -> None:
    """What the controller publishes while the broker is away is retained once it is back."""
    with controller(broker) as link:
        broker.stop()
        eventually(lambda: not link.connected)
        published = {topics.assignment(f"r{number}"): b"%d" % number for number in range(50)}
        for topic, payload in published.items():
            link.publish(topic, payload, retain=True)
        broker.start()
        assert link.drain(HANG_S)
        assert pull(broker, list(published)) == published


def test_a_burst_of_acknowledged_messages_all_arrives(broker: Broker) -> None:
    """A burst above the brokers' default queues, sent without a pause, arrives without a gap."""
    count = 5_000
    heard: set[bytes] = set()
    topic = topics.up("r1", "window")
    with controller(broker) as link, controller(broker, "sender") as sender:
        link.subscribe(topics.up_filter("window"), lambda _, payload: heard.add(payload))
        eventually(lambda: sender.publish(topic, b"probe") is not None and b"probe" in heard)
        for number in range(count):
            sender.publish(topic, b"%d" % number)
        assert sender.drain(HANG_S)
        eventually(lambda: len(heard) == count + 1)
