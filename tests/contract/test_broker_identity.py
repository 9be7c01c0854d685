"""Who may do what on a broker, told by what is delivered: a SUBACK or a PUBACK promises nothing."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from edgewright.agent.identity import Identity
from edgewright.agent.link import Link
from edgewright.agent.tls import trusting
from edgewright.controller.broker.probe import accepts_connect
from edgewright.controller.identity.authority import CertificateAuthority
from edgewright.controller.identity.tls import client_context
from edgewright.controller.link import BrokerLink
from edgewright.wire import topics
from tests.contract.secured import HANG_S, Secured, SecuredMosquitto, answers, secured

A, B = "press.left-1", "press.right-2"
CHUNK = topics.chunk("9f" * 32)
MARK = b"mark"


def eventually(condition: Callable[[], bool], what: str = "the condition") -> None:
    """Wait for a condition; fails after a time that only a hang takes."""
    deadline = time.monotonic() + HANG_S
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.01)


@pytest.fixture(params=["nats", pytest.param("mosquitto", marks=pytest.mark.mosquitto)])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Secured]:
    """Each broker in turn, as the controller configures it."""
    with secured(request.param, tmp_path) as started:
        eventually(lambda: answers(started), "the broker")
        yield started


@contextmanager
def controller(broker: Secured) -> Iterator[BrokerLink]:
    """The controller, connected."""
    link = broker.controller()
    link.start()
    try:
        link.wait_connected(HANG_S)
        yield link
    finally:
        link.stop()


@contextmanager
def device(broker: Secured, identity: Identity) -> Iterator[Link]:
    """A device, connected."""
    link = broker.link(identity)
    link.start()
    try:
        eventually(lambda: link.connected, f"the connection of {identity.device}")
        yield link
    finally:
        link.stop()


class Heard:
    """What the controller hears of everything below the contract's root."""

    def __init__(self, link: BrokerLink, device: Link, name: str) -> None:
        self._device, self._mark = device, topics.up(name, "want")
        self.messages: list[tuple[str, bytes]] = []
        link.subscribe(f"{topics.ROOT}/#", lambda topic, payload: self.messages.append((topic, payload)))
        self.settle()
        self.messages.clear()

    def settle(self) -> None:
        """Wait until what the device published before has been heard, or never will be."""
        before = self._count()
        eventually(lambda: self._device.publish(self._mark, MARK) and self._count() > before)

    def _count(self) -> int:
        return sum(message == (self._mark, MARK) for message in self.messages)

    def others(self) -> list[tuple[str, bytes]]:
        """Everything but the marks."""
        return [message for message in self.messages if message != (self._mark, MARK)]


def test_a_certificate_is_required(broker: Secured, tmp_path: Path) -> None:
    """Without TLS, without a certificate, or with one of another authority nobody gets in; the fleet does."""
    stranger = CertificateAuthority(tmp_path / "other")
    stranger.ensure()
    assert not accepts_connect(broker.address, None)
    assert not accepts_connect(broker.address, trusting(broker.authority.root_pem))
    assert not accepts_connect(broker.address, client_context(broker.authority.bundle, stranger.controller))
    with device(broker, broker.enrol(A)) as link:
        assert link.connected


def test_an_expired_certificate_is_refused(broker: Secured) -> None:
    """A device whose certificate expired yesterday does not get in."""
    identity = broker.enrol(A, age=timedelta(days=91))
    assert not accepts_connect(broker.address, identity.tls_context())
    assert accepts_connect(broker.address, broker.enrol(B, age=timedelta(days=89)).tls_context())


def test_a_device_speaks_for_itself_only(broker: Secured) -> None:
    """What A publishes as B, or where only the controller publishes, reaches nobody; its own messages do."""
    forbidden = [
        f"{topics.up(A, 'report')}/more",
        topics.up(A, "report").replace("/report", "/other"),
        topics.up(A, "report").removesuffix("/report"),
        topics.up(B, "report"),
        topics.timestamp(),
        topics.head(),
        topics.director_root(1),
        CHUNK,
        topics.assignment(A),
        topics.assignment(B),
        topics.ack(B),
    ]
    with controller(broker) as link, device(broker, broker.enrol(A)) as up:
        heard = Heard(link, up, A)
        for topic in forbidden:
            up.publish(topic, b"forged", qos=1)
            up.publish(topic, b"forged", qos=0)
        up.publish(topics.up(A, "report"), b"mine")
        heard.settle()
        assert heard.others() == [(topics.up(A, "report"), b"mine")]


def test_retained_topics_cannot_be_poisoned_or_deleted(broker: Secured) -> None:
    """What the controller retained is still there, as it was, after a valid device tried to change it."""
    retained = dict.fromkeys((topics.timestamp(), CHUNK, topics.assignment(B)), b"as it was")
    a, b = broker.enrol(A), broker.enrol(B)
    with controller(broker) as link:
        link.publish_paced(retained.items())
        with device(broker, a) as up:
            heard = Heard(link, up, A)
            for topic in retained:
                up.publish(topic, b"", retain=True)
                up.publish(topic, b"poison", retain=True)
            heard.settle()
    read: dict[str, bytes] = {}
    with device(broker, b) as down:
        for topic in retained:
            down.subscribe(topic, lambda payload, topic=topic: read.update({topic: payload}))  # type: ignore[misc]  # bound in the loop
        eventually(lambda: len(read) == len(retained))
    assert read == retained


def test_a_device_reads_what_is_meant_for_it_only(broker: Secured) -> None:
    """A gets metadata, chunks and its own assignment, and nothing that is published for B or that B says."""
    public = [topics.timestamp(), topics.metadata("1.root.json"), topics.director_root(1), CHUNK]
    own, foreign = topics.assignment(A), [topics.assignment(B), topics.ack(B), topics.up(B, "report")]
    read: list[str] = []
    a, b = broker.enrol(A), broker.enrol(B)
    with controller(broker) as link, device(broker, a) as down, device(broker, b) as other:
        link.publish_paced([(topic, b"x") for topic in (*public, own, topics.assignment(B))])
        for topic in (*foreign, f"{topics.ROOT}/d/+/assignment", f"{topics.ROOT}/#", "#", *public, own):
            down.subscribe(topic, lambda _, topic=topic: read.append(topic), qos=1)  # type: ignore[misc]  # bound in the loop
        eventually(lambda: set(read) >= {*public, own})
        link.publish(topics.ack(B), b"x")
        other.publish(topics.up(B, "report"), b"x")
        # Its own topic, said last, comes last on the same connection.
        link.publish_paced([(own, b"again")])
        eventually(lambda: read.count(own) > 1)
        assert not set(read) & set(foreign)


def test_a_last_will_is_held_to_the_same_rules(broker: Secured) -> None:
    """A device that is lost leaves its own goodbye behind, and none that it wrote for another."""
    a, b = broker.enrol(A), broker.enrol(B)
    with controller(broker) as link, device(broker, b) as up:
        heard = Heard(link, up, B)
        for wanted, identity in ((topics.assignment(B), a), (topics.up(A, "goodbye"), a)):
            lost = broker.link(identity, will=lambda wanted=wanted: (wanted, b"will"))  # type: ignore[misc]  # bound in the loop
            lost.start()
            # A broker may refuse the connection because of such a will, or drop the will.
            deadline = time.monotonic() + (HANG_S if wanted != topics.assignment(B) else 1.0)
            while not lost.connected and time.monotonic() < deadline:
                time.sleep(0.01)
            cut(lost)
        eventually(lambda: (topics.up(A, "goodbye"), b"will") in heard.messages)
        heard.settle()
        assert heard.others() == [(topics.up(A, "goodbye"), b"will")]


def cut(link: Link) -> None:
    """End a connection as a pulled cable does."""
    client = link._client
    link._stopping.set()
    opened = client.socket() if client else None
    if opened is not None:
        opened.close()
    link._thread.join(HANG_S)


class Thief(Identity):
    """A device with a certificate of its own that names itself as another on MQTT."""

    wanted = ""

    @property
    def client_id(self) -> str:
        """The other's, as far as a thief can know it."""
        return self.wanted


def test_a_stolen_client_id_kicks_nobody(broker: Secured) -> None:
    """B connects under A's client id, as far as it can know it, and A stays connected and is still heard.

    mosquitto binds the id to the certificate. NATS cannot: there it ends in a digest of A's key.
    """
    a, b = broker.enrol(A), broker.enrol(B)
    thief = Thief(b.device, b.key, 0.0, 0.0, b.folder)
    knows_all = isinstance(broker, SecuredMosquitto)
    Thief.wanted = a.client_id if knows_all else f"{a.client_id[:-32]}{'0' * 32}"
    lost: list[None] = []
    with controller(broker) as link:
        victim = broker.link(a, on_lost=lambda: lost.append(None))
        victim.start()
        eventually(lambda: victim.connected)
        heard = Heard(link, victim, A)
        with device(broker, thief):
            heard.settle()
        heard.settle()
        assert not lost
        victim.stop()


def test_a_revoked_device_is_out_and_stays_out(broker: Secured) -> None:
    """The live connection of a revoked device ends, it cannot come back, and the others notice nothing."""
    a, b = broker.enrol(A), broker.enrol(B)
    lost: list[str] = []
    with controller(broker) as link:
        links = {
            identity.device: broker.link(identity, on_lost=lambda name=identity.device: lost.append(name))  # type: ignore[misc]  # bound in the loop
            for identity in (a, b)
        }
        for each in links.values():
            each.start()
        eventually(lambda: all(each.connected for each in links.values()))
        heard = Heard(link, links[B], B)
        broker.revoke(A)
        eventually(lambda: lost == [A])
        heard.settle()
        for _ in range(5):
            assert not accepts_connect(broker.address, a.tls_context())
        assert not links[A].connected
        assert lost == [A]
        for each in links.values():
            each.stop()


def test_admitting_others_disturbs_nobody(broker: Secured) -> None:
    """While twenty devices are enrolled and connect at once, one that was connected before stays so."""
    lost: list[None] = []
    first = broker.link(broker.enrol(A), on_lost=lambda: lost.append(None))
    first.start()
    eventually(lambda: first.connected)
    for number in range(20):
        assert accepts_connect(broker.address, broker.enrol(f"robot-{number}").tls_context())
    assert first.connected
    assert not lost
    first.stop()
