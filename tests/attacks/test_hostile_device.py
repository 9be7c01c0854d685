"""The attacker has taken a device of the fleet over: its certificate is valid and its key is his."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewright.agent.link import Link
from edgewright.controller.broker.probe import accepts_connect
from edgewright.controller.link import BrokerLink
from edgewright.wire import topics
from edgewright.wire.manifest import split_blob
from simulators.device import DeviceStub
from tests.attacks.stage import PATHS, TWO, assert_lives_on, assert_resisted, assert_runs_one
from tests.contract.secured import Secured, answers, secured
from tests.contract.test_broker_identity import Heard, controller, eventually
from tests.contract.test_broker_identity import device as connected

HOSTILE, OTHER = "robot-1", "robot-2"
CHUNK, BYTES = topics.chunk(split_blob(TWO)[0].chunks[0]), split_blob(TWO)[1][0]
RETAINED = {CHUNK: BYTES, topics.assignment(OTHER): b"signed"}
"""What the controller has published; it hears that itself, early or late."""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Secured]:
    """The embedded broker as the controller configures it, with what it retains."""
    with secured("nats", tmp_path) as started:
        eventually(lambda: answers(started), "the broker")
        with controller(started) as link:
            link.publish_paced(RETAINED.items())
        yield started


@pytest.fixture
def link(broker: Secured) -> Iterator[BrokerLink]:
    """The controller, connected."""
    with controller(broker) as opened:
        yield opened


@pytest.fixture
def hostile(broker: Secured, link: BrokerLink) -> Iterator[Link]:
    """The taken device, connected; what it says for itself is delivered."""
    with connected(broker, broker.enrol(HOSTILE)) as up:
        heard = Heard(link, up, HOSTILE)
        up.publish(topics.up(HOSTILE, "report"), b"mine")
        heard.settle()
        assert _foreign(heard) == [(topics.up(HOSTILE, "report"), b"mine")]
        yield up


def _foreign(heard: Heard) -> list[tuple[str, bytes]]:
    return [message for message in heard.others() if message not in RETAINED.items()]


def _attack(link: BrokerLink, hostile: Link, topic: str, payload: bytes) -> list[tuple[str, bytes]]:
    """Publish, retained and not; everything that reached the controller because of it."""
    heard = Heard(link, hostile, HOSTILE)
    for retain in (True, False):
        hostile.publish(topic, payload, retain=retain)
    heard.settle()
    return _foreign(heard)


def _read_by(broker: Secured, *wanted: str) -> list[bytes]:
    """What another device reads on these topics."""
    found: dict[str, bytes] = {}
    with connected(broker, broker.enrol(OTHER)) as other:
        for topic in wanted:
            other.subscribe(topic, lambda payload, topic=topic: found.update({topic: payload}))  # type: ignore[misc]  # bound in the loop
        eventually(lambda: len(found) == len(wanted), "what is retained")
    return [found[topic] for topic in wanted]


def test_chunk_poisoned_by_a_device(broker: Secured, link: BrokerLink, hostile: Link) -> None:
    """A device with valid credentials cannot replace a chunk: it reaches nobody, the retained one stays."""
    assert _attack(link, hostile, CHUNK, b"poison") == []
    assert _read_by(broker, CHUNK) == [BYTES]


def test_poisoned_chunk_where_the_broker_has_no_rules(device: DeviceStub) -> None:
    """On a broker without rules the poison is refused by its digest, and the right chunk is wanted."""
    device.simulator.topics.publish(CHUNK, b"poison")
    device.simulator.assign(PATHS[2])
    device.read_topics()
    assert_resisted(device, "TamperedArtifact")
    assert topics.parse_chunk(CHUNK) in device.wanted
    device.simulator.topics.publish(CHUNK, BYTES)
    assert_lives_on(device)


def test_retained_topics_deleted_by_a_device(broker: Secured, link: BrokerLink, hostile: Link) -> None:
    """A device with valid credentials cannot delete what is retained for others."""
    for topic in (CHUNK, topics.assignment(OTHER)):
        assert _attack(link, hostile, topic, b"") == []
    assert _read_by(broker, CHUNK, topics.assignment(OTHER)) == [BYTES, b"signed"]


def test_retained_topics_deleted_where_the_broker_has_no_rules(device: DeviceStub) -> None:
    """With everything deleted a device goes on running, asks for what lacks, and takes it when it is back."""
    saved = dict(device.simulator.topics.retained)
    # Without the hint a device waits some seconds of silence for each root; the test need not.
    del saved[topics.head()]
    document = device.simulator.sign_assignment(PATHS[2])
    for topic in saved:
        device.simulator.topics.publish(topic, b"")
    device.read_topics()
    assert_runs_one(device)
    device.simulator.topics.publish(topics.assignment(device.device), document)
    device.read_topics()
    assert_resisted(device, "BlobTimeout")
    for topic, payload in saved.items():
        device.simulator.topics.publish(topic, payload)
    assert_lives_on(device)


def test_device_speaks_as_another(link: BrokerLink, hostile: Link) -> None:
    """What one device publishes in another's name, or in the controller's, is delivered to nobody."""
    for topic in (
        topics.up(OTHER, "report"),
        topics.assignment(OTHER),
        topics.timestamp(),
        topics.ack(OTHER),
    ):
        assert _attack(link, hostile, topic, b"forged") == []


def test_device_fills_the_brokers_disk(link: BrokerLink, hostile: Link) -> None:
    """Below its own six topics a device has no others, so it cannot retain one message after the other."""
    own = topics.up(HOSTILE, "report")
    for number in range(5):
        for topic in (f"{own}/{number}", own.replace("/report", f"/x{number}")):
            assert _attack(link, hostile, topic, bytes(1000)) == []


def test_device_reads_anothers_topics(broker: Secured, link: BrokerLink, hostile: Link) -> None:
    """A subscription to another's topics delivers nothing, whatever the broker answers to it."""
    heard: list[bytes] = []
    own: list[bytes] = []
    for topic in (topics.assignment(OTHER), topics.up(OTHER, "report")):
        hostile.subscribe(topic, heard.append, qos=1)
    hostile.subscribe(topics.assignment(HOSTILE), own.append, qos=1)
    with connected(broker, broker.enrol(OTHER)) as other:
        other.publish(topics.up(OTHER, "report"), b"private")
        link.publish_paced([(topics.assignment(OTHER), b"secret"), (topics.assignment(HOSTILE), b"last")])
        eventually(lambda: own == [b"last"], "its own assignment")
    assert heard == []


def test_revoked_device(broker: Secured, hostile: Link) -> None:
    """A revoked device's connection ends, and it does not come back; the others stay."""
    taken = broker.enrol(OTHER)
    assert accepts_connect(broker.address, taken.tls_context())
    broker.revoke(HOSTILE)
    eventually(lambda: not hostile.connected, "the end of the revoked connection")
    assert accepts_connect(broker.address, taken.tls_context())
