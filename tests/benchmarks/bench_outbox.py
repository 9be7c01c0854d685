"""The outbox: what it writes to flash, online and offline, and whether a device that returns holds others up.

``outbox_online_mb_day`` and ``outbox_offline_mb_month`` are bytes that the process handed to the disk
(``write_bytes`` of /proc/self/io), at a window in five seconds. The peer keeps the same messages as a plain
queue would: one commit stores a message, another one deletes it. ``backlog_live_p99_s`` is the time from a
live device's window to its acknowledgement beside one device that is back with fifty thousand; the peer is
the same without that device.
"""

import random
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec

from edgewright.agent.database import Database
from edgewright.agent.devicekey import DeviceKey
from edgewright.agent.outbox import Outbox
from edgewright.agent.samplefiles import SampleFiles
from edgewright.controller.blobs import BlobStore
from edgewright.controller.database.engine import Database as ControllerDatabase
from edgewright.controller.database.tables import Device
from edgewright.controller.ingest.writer import Ingest, Listeners
from edgewright.wire import messages, topics
from edgewright.wire.histograms import Histogram
from edgewright.wire.messages import Ack, Hello, Outcomes, Window
from edgewright.wire.sealed import seal

DISK: Final = "/var/tmp"
"""On a disk, where /tmp may be memory (FHS 3.0, section 5.15)."""

WINDOW_S: Final = 5.0
DAY_WINDOWS: Final = int(86400 / WINDOW_S)
ROUNDS: Final = 3
MEASURED: Final = 400
SMALL_QUOTA: Final = 1024 * 1024
BACKLOG: Final = 50_000
LIVE: Final = 50
LIVE_ROUNDS: Final = 10


def run() -> list[dict[str, Any]]:
    """The figures."""
    online, plain, filling, thinning = [], [], [], []
    for _ in range(ROUNDS):
        online.append(_written(_online))
        plain.append(_written(_plain))
        filling.append(_written(_offline))
        thinning.append(_written(_full, before=_fill))
    day = [per_window * DAY_WINDOWS / 1e6 for per_window in online]
    plain_day = [per_window * DAY_WINDOWS / 1e6 for per_window in plain]
    # A month fills 64 MiB after a third of its windows, measured by what a window takes; the rest is thinned.
    share = min(1.0, 64 * 2**20 / len(messages.encode(a_window(0))) / (30 * DAY_WINDOWS))
    month = [
        30 * DAY_WINDOWS * (share * a + (1 - share) * b) / 1e6 for a, b in zip(filling, thinning, strict=True)
    ]
    alone, beside = _latency(backlog=False), _latency(backlog=True)
    return [
        _row("outbox_online_mb_day", day, "MB", "a commit to store, one to delete", plain_day),
        _row("outbox_offline_mb_month", month, "MB", "", []),
        _row("backlog_live_p99_s", beside, "s", "without the device that is back", alone),
    ]


def _row(name: str, own: list[float], unit: str, peer: str, peers: list[float]) -> dict[str, Any]:
    value, peer_value = statistics.median(own), statistics.median(peers) if peers else 0.0
    return {
        "name": name,
        "value": round(value, 3),
        "unit": unit,
        "spread": [round(min(own), 3), round(max(own), 3)],
        "peer": peer,
        "peer_value": round(peer_value, 3),
        "ratio": round(value / peer_value, 2) if peer_value else 0.0,
    }


def a_window(number: int) -> Window:
    """The so-manieth window."""
    return msgspec.structs.replace(_some_window(number % 20), start=number * WINDOW_S)


@cache
def _some_window(seed: int) -> Window:
    """A window of 150 frames."""
    rng = random.Random(seed)
    histograms = {}
    for signal in ("confidence", "margin", "entropy", "latency_us", "brightness", "contrast", "sharpness"):
        schema = {"confidence": "confidence", "latency_us": "latency_us", "sharpness": "sharpness"}
        histogram = Histogram(schema.get(signal, "unit"))
        for _ in range(150):
            histogram.add(min(0.999, max(0.001, rng.gauss(0.8, 0.08))))
        histograms[signal] = histogram.pack()
    return Window(
        device="",
        stream="",
        seq=0,
        start=0.0,
        seconds=WINDOW_S,
        model="garments",
        version=3,
        tag="sku-17",
        frames=150,
        by_source={"active": 150, "standby": 0, "fallback": 0},
        causes={},
        classes={f"class-{n}": 15 for n in range(10)},
        histograms=histograms,
        outcomes=(Outcomes(3, 100, 2),),
        truths={f"class-{n}": (10, 0) for n in range(10)},
    )


def _written(act: Callable[[Path], None], before: Callable[[Path], None] | None = None) -> float:
    """Bytes to disk a window."""
    with tempfile.TemporaryDirectory(dir=DISK) as folder:
        if before is not None:
            before(Path(folder))
        begin = _write_bytes()
        act(Path(folder))
        return (_write_bytes() - begin) / MEASURED


def _write_bytes() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("write_bytes")).split()[1])


def _open(folder: Path, quota: int = 64 * 2**20) -> tuple[Database, Outbox]:
    database = Database(folder / "agent.db")
    return database, Outbox(database, "robot-1", SampleFiles(folder / "samples"), quota)


def _online(folder: Path) -> None:
    database, outbox = _open(folder)
    outbox.restart()
    for number in range(MEASURED):
        outbox.put(a_window(number), number * WINDOW_S)
        sent = [messages.decode_up(payload) for _, payload in outbox.due(float(number))]
        newest = max(message.seq for message in sent if isinstance(message, Window))
        outbox.acknowledge(Ack(stream=outbox.stream, through=newest), float(number))
    database.close()


def _plain(folder: Path) -> None:
    database = sqlite3.connect(folder / "plain.db", isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("CREATE TABLE queue (seq INTEGER PRIMARY KEY, payload BLOB)")
    for number in range(MEASURED):
        database.execute("INSERT INTO queue VALUES (?, ?)", (number, messages.encode(a_window(number))))
        database.execute("DELETE FROM queue WHERE seq = ?", (number,))
    database.close()


def _offline(folder: Path) -> None:
    database, outbox = _open(folder)
    for number in range(MEASURED):
        outbox.put(a_window(number), number * WINDOW_S)
    database.close()


def _fill(folder: Path) -> None:
    database, outbox = _open(folder, SMALL_QUOTA)
    database.connection.execute("PRAGMA synchronous = OFF")
    for number in range(1500):
        outbox.put(a_window(number), number * WINDOW_S)
    database.close()


def _full(folder: Path) -> None:
    database, outbox = _open(folder, SMALL_QUOTA)
    for number in range(1500, 1500 + MEASURED):
        outbox.put(a_window(number), number * WINDOW_S)
    database.close()


class Loop:
    """A link that ends here: what is subscribed is called, acknowledgements come back to their devices."""

    def __init__(self) -> None:
        self.heard: dict[str, Callable[[bytes], None]] = {}
        self.receive: Callable[[str, bytes], None] = lambda _topic, _payload: None

    def subscribe(self, _topic: str, receive: Callable[[str, bytes], None]) -> None:
        """As the real link's."""
        self.receive = receive

    def publish(self, topic: str, payload: bytes) -> None:
        """As the real link's."""
        if hear := self.heard.get(topic):
            hear(payload)


class Caller:
    """A device that sends windows; ``seconds`` are the times to their acknowledgements."""

    def __init__(self, link: Loop, name: str, key: DeviceKey, waits: int, ahead: int) -> None:
        self._link, self._name, self._key = link, name, key
        self._next, self._last, self._ahead = 1, waits, ahead
        self._sent_at: dict[int, float] = {}
        self.seconds: list[float] = []
        self._lock = threading.Lock()
        link.heard[topics.ack(name)] = self._acknowledged

    def greet(self) -> None:
        """Say hello."""
        hello = Hello(
            device=self._name,
            agent_version="1",
            target="t",
            tags={},
            runtime="",
            sent_at=1.0,
            stream=self._name,
            counter=1,
        )
        self._say("hello", hello)

    def send(self) -> None:
        """Send what may go."""
        with self._lock:
            while self._next <= self._last and len(self._sent_at) < self._ahead:
                window = a_window(self._next)
                numbered = {"device": self._name, "stream": self._name, "seq": self._next}
                window = msgspec.structs.replace(window, start=float(self._next), **numbered)
                self._sent_at[self._next] = time.monotonic()
                self._next += 1
                self._say("window", window)

    def more(self) -> None:
        """One more window comes up."""
        self._last += 1
        self.send()

    def _say(self, kind: topics.UpKind, message: messages.Upward) -> None:
        self._link.receive(topics.up(self._name, kind), seal(messages.encode(message), "up", self._key.sign))

    def _acknowledged(self, payload: bytes) -> None:
        ack = messages.decode_down(payload)
        assert isinstance(ack, Ack), "nothing else is published"
        now = time.monotonic()
        with self._lock:
            for number in [number for number in self._sent_at if number <= ack.through]:
                self.seconds.append(now - self._sent_at.pop(number))


def _pump(caller: Caller, stop: threading.Event) -> None:
    while not stop.wait(0.01):
        caller.send()


def _latency(*, backlog: bool) -> list[float]:
    """The 99th percentile of the live devices' waiting, in each of some rounds."""
    with tempfile.TemporaryDirectory() as folder:
        db = ControllerDatabase.in_folder(Path(folder))
        db.create()
        link, key = Loop(), DeviceKey.generate()
        names = [f"live-{number}" for number in range(LIVE)] + ["back"]
        with db.session() as session:
            for name in names:
                session.add(Device(id=name, target="t", public_key=key.public_der()))
        listeners = Listeners(lambda _: None, lambda _: None, lambda: None, lambda _: None)
        ingest = Ingest(db, BlobStore(Path(folder) / "blobs"), link, messages.encode, listeners)  # type: ignore[arg-type]  # it ends here
        ingest.start()
        callers = [Caller(link, name, key, 0, 64) for name in names[:-1]]
        back = Caller(link, "back", key, BACKLOG if backlog else 0, 128)
        for caller in (*callers, back):
            caller.greet()
        stop = threading.Event()
        pump = threading.Thread(target=_pump, args=(back, stop))
        pump.start()
        found = []
        for _ in range(LIVE_ROUNDS):
            for caller in callers:
                caller.more()
                time.sleep(1.0 / LIVE)
        time.sleep(1.0)
        stop.set()
        pump.join()
        ingest.stop()
        db.close()
        waits = [seconds for caller in callers for seconds in caller.seconds]
        found.append(statistics.quantiles(waits, n=100)[98])
        return found
