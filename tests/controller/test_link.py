"""The controller's connection: reconnects, kept messages, bounded queues, failing callbacks."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from edgewright.controller import link as link_module
from edgewright.controller.link import PACED_WINDOW, BrokerLink
from edgewright.wire.errors import BrokerUnreachableError
from simulators.network.conditions import Conditions
from simulators.network.link import NetworkLink
from tests.contract.brokers import Broker, free_port, running

HANG_S = 30.0


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[Broker]:
    """A running NATS server."""
    with running("nats", tmp_path / "broker") as started:
        yield started


@contextmanager
def linked(broker: Broker, name: str = "controller") -> Iterator[BrokerLink]:
    """A connected link."""
    link = BrokerLink(broker.host, broker.port, name)
    link.start()
    try:
        link.wait_connected(HANG_S)
        yield link
    finally:
        link.stop()


def eventually(condition: Callable[[], bool]) -> None:
    """Wait for a condition; fails after a time that only a hang takes."""
    deadline = time.monotonic() + HANG_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_absent_broker_is_a_clear_error_and_is_waited_for(tmp_path: Path) -> None:
    """Without a broker the wait ends with E030 and its address; the link connects once there is one."""
    with running("nats", tmp_path / "broker") as broker:
        broker.stop()
        link = BrokerLink(broker.host, broker.port, "controller")
        link.start()
        try:
            with pytest.raises(BrokerUnreachableError, match=rf"E030 .*{broker.port}"):
                link.wait_connected(0.1)
            assert not link.connected
            broker.start()
            link.wait_connected(HANG_S)
        finally:
            link.stop()
        assert not link.connected


def test_subscriptions_come_back_with_the_connection(nats: Broker) -> None:
    """After a crash of the broker on_connected is called again, and a subscription hears what comes then."""
    heard: list[bytes] = []
    connections: list[int] = []
    with linked(nats) as link, linked(nats, "other") as other:
        link.on_connected(lambda: connections.append(1))
        link.subscribe("ew/1/up/+/+/want", lambda _, payload: heard.append(payload))
        nats.crash()
        eventually(lambda: not link.connected and not other.connected)
        nats.start()
        other.wait_connected(HANG_S)
        eventually(lambda: len(connections) == 1)
        numbers = count()

        def asked() -> bool:
            other.publish("ew/1/up/00/r1/want", b"%d" % next(numbers))
            return bool(heard)

        eventually(asked)


def test_a_failing_callback_does_not_deafen_the_link(nats: Broker, caplog: pytest.LogCaptureFixture) -> None:
    """A callback that raises is logged, and the next message is still heard."""
    heard: list[bytes] = []

    def fail_once(_topic: str, payload: bytes) -> None:
        heard.append(payload)
        if len(heard) == 1:
            raise ValueError("a defect of the listener")

    with linked(nats) as link:
        link.publish_paced([("ew/1/tuf/head", b"first")])
        link.subscribe("ew/1/tuf/head", fail_once)
        eventually(lambda: heard == [b"first"])
        link.publish("ew/1/tuf/head", b"second")
        eventually(lambda: heard == [b"first", b"second"])
    assert "a defect of the listener" in caplog.text


def test_a_callback_may_publish(nats: Broker) -> None:
    """A callback on the network thread publishes an answer, and it arrives."""
    answered = threading.Event()
    with linked(nats) as link:

        def answer(_topic: str, payload: bytes) -> None:
            link.publish("ew/1/d/r1/ack", payload)

        link.subscribe("ew/1/d/r1/ack", lambda _topic, _payload: answered.set())
        link.subscribe("ew/1/tuf/head", answer)
        link.publish_paced([("ew/1/tuf/head", b"x")])
        assert answered.wait(HANG_S)


def test_paced_publishing_keeps_its_window(nats: Broker) -> None:
    """No more than the window's messages are unacknowledged while a large set is published."""
    with linked(nats) as link:
        unanswered: list[int] = []

        def messages() -> Iterator[tuple[str, bytes]]:
            for number in range(200):
                with link._lock:
                    unanswered.append(sum(not delivery.done for delivery in link._pending))
                yield f"ew/1/tuf/{number}.x.json", bytes(20_000)

        link.publish_paced(messages())
        assert max(unanswered) <= PACED_WINDOW
        assert link.drain(0.0)


def test_paced_publishing_gives_up_with_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a broker paced publishing ends with E030 instead of waiting for ever."""
    monkeypatch.setattr(link_module, "PACED_PATIENCE_S", 0.3)
    link = BrokerLink("127.0.0.1", free_port(), "controller")
    link.start()
    try:
        with pytest.raises(BrokerUnreachableError, match=r"E030 .*did not acknowledge"):
            link.publish_paced([("ew/1/tuf/head", b"x")])
        assert not link.drain(0.1)
    finally:
        link.stop()


def test_a_stopped_link_frees_a_waiting_publisher(nats: Broker) -> None:
    """A thread that waits for a lost broker's acknowledgement is freed when the link is stopped."""
    ended: list[BrokerUnreachableError] = []

    with linked(nats) as link:
        nats.crash()
        eventually(lambda: not link.connected)

        def publish() -> None:
            try:
                link.publish_paced([("ew/1/tuf/head", b"x")])
            except BrokerUnreachableError as error:
                ended.append(error)

        waiting = threading.Thread(target=publish)
        waiting.start()
        link.stop()
        waiting.join(HANG_S)
        assert len(ended) == 1


def test_a_full_queue_refuses_instead_of_forgetting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that does not fit into the bounded queue raises E030."""
    monkeypatch.setattr(link_module, "QUEUED_MESSAGES", 10)
    link = BrokerLink("127.0.0.1", free_port(), "controller")
    for _ in range(10):
        link.publish("ew/1/tuf/head", b"x")
    with pytest.raises(BrokerUnreachableError, match=r"E030 .*10 messages"):
        link.publish("ew/1/tuf/head", b"x")


def test_a_lost_broker_is_one_warning(nats: Broker, caplog: pytest.LogCaptureFixture) -> None:
    """Losing the broker is logged with its address; stopping on purpose is not."""
    with linked(nats) as link, caplog.at_level(logging.WARNING, logger=link_module.__name__):
        nats.crash()
        eventually(lambda: not link.connected)
        eventually(lambda: str(nats.port) in caplog.text)
        nats.start()
        link.wait_connected(HANG_S)
        caplog.clear()
        link.stop()
        assert caplog.text == ""


def test_a_slow_link_brings_all_that_is_retained(nats: Broker) -> None:
    """A look lasts as long as something comes: ten messages that take seconds together are all found, and
    silence about an eleventh ends it.
    """
    names = [f"ew/1/chunk/{n:064x}" for n in range(10)]
    with linked(nats, "other") as other:
        other.publish_paced((name, bytes(40_000)) for name in names)
    slow = Conditions(bytes_per_second=200_000)
    with NetworkLink(nats.host, nats.port, slow, proxy=True) as network:
        link = BrokerLink(network.host, network.port, "controller")
        link.start()
        try:
            link.wait_connected(HANG_S)
            started = time.monotonic()
            assert link.retained(names, 1.0).keys() == set(names)
            assert time.monotonic() - started > 1.0, "the link was not slow"
            assert link.retained([*names, f"ew/1/chunk/{10:064x}"], 1.0).keys() == set(names)
        finally:
            link.stop()
