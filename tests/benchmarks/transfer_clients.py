"""The devices of the transfer figures, each a thread that fetches, verifies and stores one artifact.

``python -m tests.benchmarks.transfer_clients MODE HOST PORT PLAN.json FOLDER NUMBER,...`` connects, prints
``ready``, waits for a line, fetches, and prints when it began and ended as JSON. The modes:

* ``chunks``: the agent's own link, downloader and store, with the settings of its configuration;
* ``http``: one GET, hashed and written as it comes, synchronised and renamed;
* ``waiting``: chunks of 64 KiB, each asked for when the one before has come; otherwise as ``http``.
"""

import hashlib
import http.client
import json
import os
import queue
import socket
import sys
import threading
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, BinaryIO

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from edgewright.agent.chunks import TopicChunks
from edgewright.agent.downloader import Downloader, Hooks
from edgewright.agent.link import Link
from edgewright.agent.settings import UpdateSettings
from edgewright.agent.store import Store
from edgewright.agent.transfer import Limits, Transfer
from edgewright.wire.manifest import Blob
from tests.benchmarks.transfer_waiting import CHUNK_BYTES, request_topic, response_topic

PIECE_BYTES = 128 * 1024
CONNECT_S = 60.0
ANSWER_S = 60.0


class Device(ABC):
    """One device with a folder of its own."""

    def __init__(self, host: str, port: int, number: int, blob: Blob, folder: Path) -> None:
        self.host, self.port, self.number, self.blob = host, port, number, blob
        self.folder = folder / str(number)
        self.folder.mkdir()

    @abstractmethod
    def connect(self) -> None:
        """Make the connection."""

    @abstractmethod
    def fetch(self) -> None:
        """Have the artifact, verified and stored."""

    @abstractmethod
    def close(self) -> None:
        """End the connection."""


class ChunkDevice(Device):
    """The agent's parts."""

    def connect(self) -> None:
        """See ``Device``."""
        self.link = Link(self.host, self.port, f"device-{self.number}")
        self.link.start()
        deadline = time.monotonic() + CONNECT_S
        while not self.link.connected:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def fetch(self) -> None:
        """See ``Device``."""
        store = Store(self.folder)
        transfer = Transfer(Limits(window=UpdateSettings().window_chunks))
        Downloader(TopicChunks(self.link), store, Hooks(), transfer).fetch(self.blob)
        assert store.has(self.blob.sha256)

    def close(self) -> None:
        """See ``Device``."""
        self.link.stop()


class Arriving:
    """A file that is hashed while it is written, and gets its name when it is right."""

    def __init__(self, folder: Path, blob: Blob) -> None:
        self._part, self._final, self._sha256 = folder / "part", folder / blob.sha256, blob.sha256
        self._file: BinaryIO = self._part.open("wb", buffering=0)
        self._digest = hashlib.sha256()

    def take(self, piece: bytes) -> None:
        """The next bytes."""
        self._digest.update(piece)
        self._file.write(piece)

    def finish(self) -> None:
        """Verify and store."""
        assert self._digest.hexdigest() == self._sha256
        os.fsync(self._file.fileno())
        self._file.close()
        self._part.rename(self._final)


class HttpDevice(Device):
    """One GET."""

    def connect(self) -> None:
        """See ``Device``."""
        self.connection = http.client.HTTPConnection(self.host, self.port, timeout=ANSWER_S)
        self.connection.connect()

    def fetch(self) -> None:
        """See ``Device``."""
        self.connection.request("GET", "/artifact")
        answer = self.connection.getresponse()
        assert answer.status == 200, answer.status
        arriving = Arriving(self.folder, self.blob)
        while piece := answer.read(PIECE_BYTES):
            arriving.take(piece)
        arriving.finish()

    def close(self) -> None:
        """See ``Device``."""
        self.connection.close()


class WaitingDevice(Device):
    """Stop and wait."""

    def connect(self) -> None:
        """See ``Device``."""
        self.arrived: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"waiting-{self.number}")
        self.client.on_socket_open = _set_no_delay
        self.client.on_message = lambda _client, _data, message: self.arrived.put(bytes(message.payload))
        self.client.connect(self.host, self.port, keepalive=600)
        granted = threading.Event()
        self.client.on_subscribe = lambda *_: granted.set()
        self.client.on_connect = lambda client, *_: client.subscribe(response_topic(str(self.number), "+"), 0)
        self.client.loop_start()
        assert granted.wait(CONNECT_S)

    def fetch(self) -> None:
        """See ``Device``."""
        arriving = Arriving(self.folder, self.blob)
        for chunk in range(-(-self.blob.length // CHUNK_BYTES)):
            self.client.publish(request_topic(str(self.number), str(chunk)), str(CHUNK_BYTES), qos=0)
            arriving.take(self.arrived.get(timeout=ANSWER_S))
        arriving.finish()

    def close(self) -> None:
        """See ``Device``."""
        self.client.disconnect()
        self.client.loop_stop()


def _set_no_delay(_client: Any, _data: Any, opened: Any) -> None:
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


MODES: dict[str, type[ChunkDevice] | type[HttpDevice] | type[WaitingDevice]] = {
    "chunks": ChunkDevice,
    "http": HttpDevice,
    "waiting": WaitingDevice,
}


def main() -> None:
    """Connect, wait for the word, fetch, tell the times."""
    mode, host, port, plan, folder, numbers = sys.argv[1:]
    known = json.loads(Path(plan).read_text())
    blob = Blob(known["sha256"], known["length"], tuple(known["chunks"]))
    devices = [MODES[mode](host, int(port), int(n), blob, Path(folder)) for n in numbers.split(",")]
    for device in devices:
        device.connect()
    failed: list[BaseException] = []

    def fetch(device: Device) -> None:
        try:
            device.fetch()
        except BaseException as error:
            failed.append(error)
            raise

    threads = [threading.Thread(target=fetch, args=(device,)) for device in devices]
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ended = time.monotonic()
    if failed:
        sys.exit(1)
    print(json.dumps({"began": began, "ended": ended}), flush=True)
    for device in devices:
        device.close()


if __name__ == "__main__":
    main()
