"""The clients of the fan-out figure: many connections in one process, one selector, no thread.

``python -m tests.benchmarks.fanout_clients MODE HOST PORT COUNT PLAN.json`` connects, prints ``ready``, waits
for a line, downloads, and prints seconds and CPU seconds as JSON. The modes:

* ``window``: each client pulls retained chunks as the agent's reader does, eight topics asked for at a time,
  unsubscribed as they come, and checks each chunk's SHA-256;
* ``raw``: each client asks for all chunks by one wildcard and counts bytes: the broker's own limit;
* ``http``: each client downloads the file by one GET and checks its SHA-256.

paho runs on its external loop: its own loop takes a thread and three descriptors a client.
"""

import hashlib
import json
import selectors
import socket
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, NamedTuple

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from edgewright.wire import topics

WINDOW = 8
HANG_S = 120.0


class Wanted(NamedTuple):
    """What every client has to have in the end."""

    chunks: list[str]
    sha256: str
    length: int


class Client(ABC):
    """One connection on the selector."""

    done = False

    @abstractmethod
    def socket(self) -> socket.socket:
        """What the selector watches."""

    @abstractmethod
    def begin(self) -> None:
        """Ask for the first bytes."""

    @abstractmethod
    def readable(self) -> None:
        """Take what came."""

    @abstractmethod
    def writable(self) -> None:
        """Send what is left."""

    @abstractmethod
    def wants_write(self) -> bool:
        """Whether something is left to be sent."""


class MqttClient(Client):
    """What both MQTT modes share."""

    def __init__(self, host: str, port: int, name: str, wanted: Wanted) -> None:
        self.wanted = wanted
        self.bytes = 0
        self.mqtt = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv311)
        self.mqtt.on_message = self.on_message
        self.mqtt.connect(host, port, keepalive=600)
        self.socket().setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while not self.mqtt.is_connected():
            self.mqtt.loop(0.1)

    def socket(self) -> socket.socket:
        """See ``Client``."""
        opened = self.mqtt.socket()
        assert isinstance(opened, socket.socket), "the broker has closed a connection"
        return opened

    def readable(self) -> None:
        """See ``Client``."""
        assert self.mqtt.loop_read() == mqtt.MQTT_ERR_SUCCESS

    def writable(self) -> None:
        """See ``Client``."""
        self.mqtt.loop_write()

    def wants_write(self) -> bool:
        """See ``Client``."""
        return self.mqtt.want_write()

    @abstractmethod
    def on_message(self, _client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        """Take one chunk."""


class WindowClient(MqttClient):
    """A window of topics, every chunk checked."""

    def begin(self) -> None:
        """See ``Client``."""
        self.todo = iter(self.wanted.chunks)
        self.left = set(self.wanted.chunks)
        for _ in range(WINDOW):
            self._ask()

    def on_message(self, _client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        """See ``MqttClient``."""
        sha256 = topics.parse_chunk(message.topic)
        assert hashlib.sha256(message.payload).hexdigest() == sha256
        self.mqtt.unsubscribe(message.topic)
        self.left.remove(sha256)
        self.done = not self.left
        self._ask()

    def _ask(self) -> None:
        sha256 = next(self.todo, None)
        if sha256 is not None:
            self.mqtt.subscribe(topics.chunk(sha256), 0)


class RawClient(MqttClient):
    """Everything at once, nothing checked."""

    def begin(self) -> None:
        """See ``Client``."""
        self.mqtt.subscribe(f"{topics.ROOT}/chunk/+", 0)

    def on_message(self, _client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        """See ``MqttClient``."""
        self.bytes += len(message.payload)
        self.done = self.bytes == self.wanted.length


class HttpClient(Client):
    """One GET on a bare socket: the cheapest client there can be in this language."""

    def __init__(self, host: str, port: int, _name: str, wanted: Wanted) -> None:
        self.wanted = wanted
        self.opened = socket.create_connection((host, port))
        self.opened.settimeout(0)
        self.buffer = memoryview(bytearray(256 * 1024))
        self.digest = hashlib.sha256()
        self.left = wanted.length
        self.head = b""

    def socket(self) -> socket.socket:
        """See ``Client``."""
        return self.opened

    def begin(self) -> None:
        """See ``Client``."""
        self.opened.send(b"GET /artifact HTTP/1.1\r\nHost: localhost\r\n\r\n")

    def readable(self) -> None:
        """See ``Client``."""
        received = self.buffer[: self.opened.recv_into(self.buffer)]
        assert received, "the server has closed a connection"
        if not self.head.endswith(b"\r\n\r\n"):
            self.head += received
            self.head, end, body = self.head.partition(b"\r\n\r\n")
            self.head += end
            received = memoryview(body)
        self.digest.update(received)
        self.left -= len(received)
        if self.left == 0:
            assert self.digest.hexdigest() == self.wanted.sha256
            self.done = True

    def writable(self) -> None:
        """See ``Client``: the one request fits into any socket buffer."""

    def wants_write(self) -> bool:
        """See ``Client``."""
        return False


MODES: dict[str, type[WindowClient] | type[RawClient] | type[HttpClient]] = {
    "window": WindowClient,
    "raw": RawClient,
    "http": HttpClient,
}


def drive(clients: list[Client]) -> None:
    """Run all clients until they are done."""
    selector = selectors.DefaultSelector()
    for client in clients:
        client.begin()
        selector.register(client.socket(), _events(client), client)
    left = set(clients)
    deadline = time.monotonic() + HANG_S
    while left:
        assert time.monotonic() < deadline, f"{len(left)} clients wait for ever"
        for key, events in selector.select(1.0):
            client = key.data
            if events & selectors.EVENT_READ:
                client.readable()
            if events & selectors.EVENT_WRITE or client.wants_write():
                client.writable()
            if client.done:
                left.discard(client)
            if key.events != _events(client):
                selector.modify(key.fileobj, _events(client), client)


def _events(client: Client) -> int:
    return selectors.EVENT_READ | (selectors.EVENT_WRITE if client.wants_write() else 0)


def main() -> None:
    """Connect, wait for the word, download, tell the time."""
    mode, host, port, count, plan = sys.argv[1:]
    wanted = Wanted(**json.loads(Path(plan).read_text()))
    clients: list[Client] = [
        MODES[mode](host, int(port), f"{mode}-{number}", wanted) for number in range(int(count))
    ]
    print("ready", flush=True)
    sys.stdin.readline()
    began, cpu = time.perf_counter(), time.process_time()
    drive(clients)
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "cpu_s": time.process_time() - cpu}), flush=True)


if __name__ == "__main__":
    main()
