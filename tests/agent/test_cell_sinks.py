"""One contract for all sinks, each on the real thing: a file, a function, a topic of a real mosquitto."""

import contextlib
import json
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edgewright.agent.cell import sink as sinking
from edgewright.agent.cell.control import Began, Over, encode
from edgewright.agent.cell.sink import DecisionRecord, Sink, SinkThread, as_json
from edgewright.agent.cell.sinks import CallbackSink, FileSink, TopicSink
from edgewright.agent.link import Link
from edgewright.wire.errors import SinkError
from tests.agent.cell_rig import wait_for
from tests.contract.brokers import running


def record(number: int) -> DecisionRecord:
    """A decision on item ``number``."""
    return DecisionRecord(
        item=f"i-{number}",
        label="Bag",
        confidence=0.875,
        source="active",
        version=3,
        cause="",
        taken_at=1000.0 + number,
        decided_at=1000.5 + number,
    )


class Place(ABC):
    """A sink with what is behind it.

    Attributes:
        got: item ids that have arrived, in order.
    """

    sink: Sink

    @property
    @abstractmethod
    def got(self) -> list[str]:
        """See the class."""

    @abstractmethod
    def fail(self) -> None:
        """Let every delivery fail."""

    @abstractmethod
    def mend(self) -> None:
        """Let deliveries work again."""

    def close(self) -> None:  # noqa: B027 - most need none
        """End what is behind it."""


class FilePlace(Place):
    """A file, or the kernel's device that is always full."""

    def __init__(self, folder: Path) -> None:
        self._real, self._path = folder / "real.jsonl", folder / "decisions.jsonl"
        self._path.symlink_to(self._real)
        self.sink = FileSink(self._path, 1.0, 2)

    @property
    def got(self) -> list[str]:
        """Lines of the file."""
        if not self._real.exists():
            return []
        return [json.loads(line)["item"] for line in self._real.read_text().splitlines()]

    def fail(self) -> None:
        """A full disk."""
        self._point_to(Path("/dev/full"))

    def mend(self) -> None:
        """A disk with room."""
        self._point_to(self._real)

    def _point_to(self, path: Path) -> None:
        self.sink.close()  # An open file would stay the one that it was.
        self._path.unlink()
        self._path.symlink_to(path)


class CallbackPlace(Place):
    """A function in a module of the site's own."""

    def __init__(self, folder: Path) -> None:
        self._module = f"site_{abs(hash(folder))}"
        (folder / f"{self._module}.py").write_text(
            "got = []\nfailing = False\n"
            "def take(decision):\n    if failing:\n        raise RuntimeError('jammed')\n"
            "    got.append(decision.item)\n"
        )
        sys.path.insert(0, str(folder))
        self.sink = CallbackSink(f"{self._module}:take")

    @property
    def _site(self) -> Any:
        return sys.modules[self._module]

    @property
    def got(self) -> list[str]:
        """What the function was called with."""
        return list(self._site.got) if self._module in sys.modules else []

    def fail(self) -> None:
        """It raises."""
        self._site.failing = True

    def mend(self) -> None:
        """It works."""
        self._site.failing = False


class TopicPlace(Place):
    """A topic of a real mosquitto; its subscriber's session outlives a restart, and it knows repetitions."""

    def __init__(self, folder: Path) -> None:
        self._running = contextlib.ExitStack()
        self._broker = self._running.enter_context(running("mosquitto", folder / "broker"))
        self._items: dict[str, None] = {}
        subscribed = threading.Event()
        self._machine = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id="machine", protocol=mqtt.MQTTv311, clean_session=False
        )
        self._machine.reconnect_delay_set(1, 1)
        self._machine.on_connect = lambda client, *_: client.subscribe("cell/decisions", 1)
        self._machine.on_subscribe = lambda *_: subscribed.set()
        self._machine.on_message = self._take
        self._machine.connect(self._broker.host, self._broker.port)
        self._machine.loop_start()
        self._link = Link(self._broker.host, self._broker.port, "cell")
        self._link.start()
        wait_for(lambda: self._link.connected and subscribed.is_set())
        self.sink = TopicSink("cell/decisions", self._link)

    @property
    def got(self) -> list[str]:
        """What the subscriber has heard."""
        return list(self._items)

    def _take(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        self._items[json.loads(message.payload)["item"]] = None

    def fail(self) -> None:
        """No broker; it ends in order, so it keeps the machine's session."""
        self._broker.stop()
        wait_for(lambda: not self._link.connected)

    def mend(self) -> None:
        """A broker."""
        self._broker.start()

    def close(self) -> None:
        """End everything."""
        self._link.stop()
        self._machine.disconnect()
        self._machine.loop_stop()
        self._running.close()


PLACES: dict[str, Callable[[Path], Place]] = {
    "file": FilePlace,
    "callback": CallbackPlace,
    "topic": TopicPlace,
}


@pytest.fixture(
    params=[pytest.param(name, marks=pytest.mark.mosquitto) if name == "topic" else name for name in PLACES]
)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Each sink in turn."""
    made = PLACES[request.param](tmp_path)
    yield made
    made.sink.close()
    made.close()


def test_decisions_arrive_in_order(place: Place) -> None:
    """What is delivered arrives, once, in its order."""
    for number in range(50):
        place.sink.deliver(record(number))
    wait_for(lambda: len(place.got) >= 50)
    assert place.got == [f"i-{number}" for number in range(50)]


def test_a_failure_is_a_sentence_and_not_the_end(place: Place) -> None:
    """A delivery that fails raises the named error, nothing else; later ones work again."""
    place.sink.deliver(record(1))
    place.fail()
    with pytest.raises(SinkError):
        place.sink.deliver(record(2))
    place.mend()

    def delivered() -> bool:
        with contextlib.suppress(SinkError):
            place.sink.deliver(record(3))
            return True
        return False

    wait_for(delivered)
    wait_for(lambda: "i-3" in place.got)


def test_trouble_is_told_once_and_costs_what_the_sink_says(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over an outage its begin and its end are told once each; a sink that tries again loses nothing."""
    monkeypatch.setattr(sinking, "CALM_S", 0.2)
    told: list[Began | Over] = []
    thread = SinkThread(place.sink, 100, told.append)
    thread.hand(record(0))
    wait_for(lambda: thread.delivered == 1)
    place.fail()
    for number in range(1, 11):
        thread.hand(record(number))
    wait_for(lambda: told)
    if not place.sink.tries_again:
        wait_for(lambda: thread.dropped == 10)
    place.mend()
    wait_for(lambda: thread.delivered + thread.dropped == 11)
    for number in (11, 12):
        thread.hand(record(number))
    wait_for(lambda: len(told) == 2)
    assert [type(said) for said in told] == [Began, Over]
    assert {(said.error, said.place) for said in told} == {(86, place.sink.place)}
    lost = 0 if place.sink.tries_again else 10
    assert thread.dropped == lost
    assert f"{lost} were dropped" in told[1].sentence
    wait_for(lambda: len(place.got) == 13 - lost)
    thread.close()


def test_a_slow_sink_drops_its_oldest_and_delays_nobody(tmp_path: Path) -> None:
    """Handing over to a sink that hangs returns; beyond its queue the oldest are dropped and counted."""
    release = threading.Event()

    class Hanging(Sink):
        place = "hanging"
        tries_again = False
        got: list[str] = []  # noqa: RUF012 - one instance

        def deliver(self, record: DecisionRecord) -> None:
            release.wait()
            self.got.append(record.item)

    told: list[Began | Over] = []
    thread = SinkThread(Hanging(), 5, told.append)
    thread.hand(record(0))
    wait_for(lambda: not thread.waiting)
    for number in range(1, 21):
        thread.hand(record(number))
    assert thread.dropped == 15
    release.set()
    wait_for(lambda: thread.delivered == 6)
    assert Hanging.got == ["i-0", *(f"i-{number}" for number in range(16, 21))]
    assert "slower" in told[0].sentence
    thread.close()


def test_a_file_is_rotated_within_its_bound(tmp_path: Path) -> None:
    """Files stay below their size, no more than the settings' number is kept, and no line is split."""
    path = tmp_path / "decisions.jsonl"
    sink = FileSink(path, 1000 / 1024 / 1024, 3)
    for number in range(60):
        sink.deliver(record(number))
    sink.close()
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["decisions.jsonl", "decisions.jsonl.1", "decisions.jsonl.2"]
    assert all(file.stat().st_size <= 1000 for file in files)
    items = [json.loads(line)["item"] for file in reversed(files) for line in file.read_text().splitlines()]
    assert items == [f"i-{number}" for number in range(60 - len(items), 60)]


def test_a_line_torn_by_a_power_cut_spoils_no_other(tmp_path: Path) -> None:
    """After half a line at the file's end the next decision begins a line of its own."""
    path = tmp_path / "decisions.jsonl"
    path.write_bytes(as_json(record(1)) + b"\n" + as_json(record(2))[:30])
    sink = FileSink(path, 1.0, 2)
    sink.deliver(record(3))
    sink.close()
    lines = path.read_bytes().splitlines()
    assert lines[2] == as_json(record(3))
    assert len(lines) == 3


def test_a_delivery_that_hangs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sink that never comes back is told while it hangs, once, and its return is told as well."""
    monkeypatch.setattr(sinking, "HUNG_S", 0.1)
    monkeypatch.setattr(sinking, "CALM_S", 0.1)
    release = threading.Event()

    class Hanging(Sink):
        place = "hanging"
        tries_again = False

        def deliver(self, record: DecisionRecord) -> None:
            assert record.item
            release.wait()

    told: list[Began | Over] = []
    thread = SinkThread(Hanging(), 5, told.append)
    thread.watch(time.monotonic() + 1)
    assert not told
    thread.hand(record(0))

    def seen(count: int) -> bool:
        thread.watch(time.monotonic())
        return len(told) >= count

    wait_for(lambda: seen(1))
    assert seen(1)
    assert [type(said) for said in told] == [Began]
    assert "not taken" in told[0].sentence
    release.set()
    wait_for(lambda: thread.delivered == 1)
    numbers = iter(range(1, 10_000))

    def works() -> bool:
        thread.hand(record(next(numbers)))
        return seen(2)

    wait_for(works)
    assert [type(said) for said in told] == [Began, Over]
    thread.close()


def test_what_a_sink_did_not_expect_does_not_end_its_thread() -> None:
    """An exception that is none of ours is told, even with a text that no message can hold; it goes on."""

    class Broken(Sink):
        place = "broken"
        tries_again = False

        def deliver(self, record: DecisionRecord) -> None:
            raise ValueError(f"caf\udce9 {record.item}")

    told: list[Began | Over] = []
    thread = SinkThread(Broken(), 5, told.append)
    thread.hand(record(0))
    thread.hand(record(1))
    wait_for(lambda: thread.dropped == 2)
    assert "ValueError" in told[0].sentence
    encode(told[0])
    thread.close()


@pytest.mark.parametrize("raised", ["asyncio.CancelledError", "KeyboardInterrupt", "GeneratorExit"])
def test_whatever_a_callback_raises_is_the_sinks_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: str
) -> None:
    """Exceptions that end tasks and programs end no sink."""
    name = f"site_{raised.replace('.', '_')}"
    (tmp_path / f"{name}.py").write_text(f"import asyncio\ndef take(decision):\n    raise {raised}\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SinkError, match=raised.rpartition(".")[2]):
        CallbackSink(f"{name}:take").deliver(record(1))


@pytest.mark.mosquitto
def test_a_topic_that_cannot_be_published_to_is_the_sinks_error(tmp_path: Path) -> None:
    """A wildcard, which the settings refuse, is no end of the thread either."""
    with running("mosquitto", tmp_path / "broker") as broker:
        link = Link(broker.host, broker.port, "cell")
        link.start()
        wait_for(lambda: link.connected)
        with pytest.raises(SinkError):
            TopicSink("cell/#", link).deliver(record(1))
        link.stop()


@pytest.mark.parametrize("name", ["no_such_module:take", "json:no_such_function", "json", "sys:exit"])
def test_a_callback_that_is_not_one_is_named(name: str) -> None:
    """A module or function that is missing, or that wants to end the process, is the sink's error."""
    with pytest.raises(SinkError):
        CallbackSink(name).deliver(record(1))


def test_a_record_is_the_documented_json() -> None:
    """A decision is one JSON object with the documented fields."""
    assert json.loads(as_json(record(1))) == {
        "item": "i-1",
        "label": "Bag",
        "confidence": 0.875,
        "source": "active",
        "version": 3,
        "cause": "",
        "taken_at": 1001.0,
        "decided_at": 1001.5,
    }
