"""The link against a broker that does not keep to what brokers do."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from edgewright.agent.link import MAX_PACKET_BYTES, Link
from edgewright.wire.manifest import CHUNK_BYTES

TOPIC = "ew/1/d/robot-1/assignment"
SECONDS = 20.0
ACCEPTED = b"\x20\x02\x00\x00"
"""CONNACK, MQTT 3.1.1 section 3.2."""


@pytest.fixture
def door() -> Iterator[socket.socket]:
    """Where a broker is expected."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        listening.settimeout(SECONDS)
        yield listening


def _accept(door: socket.socket) -> socket.socket:
    """A connection whose client was told that it is accepted."""
    connection, _ = door.accept()
    connection.settimeout(SECONDS)
    connection.recv(4096)
    connection.sendall(ACCEPTED)
    return connection


def _head(length: int) -> bytes:
    """First bytes of a PUBLISH, MQTT 3.1.1 section 3.3, with a remaining length of four bytes."""
    groups = [(length >> shift & 0x7F) | 0x80 for shift in (0, 7, 14)] + [length >> 21]
    return bytes([0x30, *groups]) + len(TOPIC).to_bytes(2, "big") + TOPIC.encode()


def test_packet_beyond_the_limit_ends_the_connection(door: socket.socket) -> None:
    """A packet announced as 256 MiB is not waited for: the link closes, and comes back for honest ones."""
    arrived, got = threading.Event(), []

    def take(payload: bytes) -> None:
        got.append(len(payload))
        arrived.set()

    link = Link("127.0.0.1", door.getsockname()[1], "robot-1")
    link.subscribe(TOPIC, take)
    link.start()
    with closing(_accept(door)) as hostile:
        hostile.sendall(_head(256 * 1024 * 1024 - 1))
        with contextlib.suppress(ConnectionResetError):  # There was more to read for the link.
            while hostile.recv(4096):
                pass  # What the link had sent before it closed.
    with closing(_accept(door)) as honest:
        payload = bytes(CHUNK_BYTES)
        honest.sendall(_head(2 + len(TOPIC) + len(payload)) + payload)
        assert arrived.wait(SECONDS)
        link.stop()
    assert got == [CHUNK_BYTES]
    assert CHUNK_BYTES < MAX_PACKET_BYTES


def test_one_thread_touches_the_socket(door: socket.socket) -> None:
    """Whoever publishes or subscribes, the network thread writes: TLS is no place for two threads."""
    connected = threading.Event()
    link = Link("127.0.0.1", door.getsockname()[1], "robot-1", on_connected=connected.set)
    link.start()
    with closing(_accept(door)) as broker:
        assert connected.wait(SECONDS)
        client = link._client
        assert client is not None
        writers: set[str] = set()
        send = client._sock_send

        def note_writer(data: bytes) -> int:
            writers.add(threading.current_thread().name)
            return send(data)

        # Listened to, not replaced: only this place knows which thread writes.
        client._sock_send = note_writer  # type: ignore[method-assign,assignment]
        for number in range(50):
            assert link.publish(TOPIC, b"%d" % number, qos=0)
            link.subscribe(f"{TOPIC}/{number}", lambda _payload: None)
        received = 0
        while received < 50 * (2 * len(TOPIC) + 8):
            received += len(broker.recv(65536))
        assert writers == {"link"}
        link.stop()


def test_a_host_that_no_resolver_takes_does_not_end_the_link(caplog: pytest.LogCaptureFixture) -> None:
    """A name that IDNA refuses is warned of, and tried again."""
    link = Link("a..b", 1883, "robot-1")
    link.start()
    until = time.monotonic() + SECONDS
    while not caplog.messages and time.monotonic() < until:
        time.sleep(0.01)
    assert "a..b" in caplog.messages[0]
    assert "link" in [thread.name for thread in threading.enumerate()]
    link.stop()
