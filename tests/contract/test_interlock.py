"""What every interlock keeps, whatever says that the moment is safe."""

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edgewright.agent.configuration import format_settings, read_settings
from edgewright.agent.control import Swap, Swapped, Trouble
from edgewright.agent.line.interlock import Broker, Interlock, Kind, Moment, SafeMoments, open_interlock
from edgewright.agent.settings import BrokerSettings
from edgewright.wire.errors import ConfigurationError, InterlockError
from tests.agent.line_rig import running_line
from tests.agent.tiny_models import write_release
from tests.contract.brokers import Broker as CellBroker
from tests.contract.brokers import running

BETWEEN_FRAMES = Moment(None, quiet=False)
NO_BROKER = Broker("127.0.0.1", 1)
PATIENCE_S = 20.0


class Machine(ABC):
    """The machine's side of one interlock."""

    def __init__(self) -> None:
        self.interlock = self.open()

    @abstractmethod
    def open(self) -> Interlock:
        """The interlock, before the machine has said anything."""

    @abstractmethod
    def say(self, *, safe: bool) -> Moment:
        """Tell whether the moment is safe; the moment to ask for."""

    def settle(self, moment: Moment, *, safe: bool) -> None:
        """Wait until the interlock says what the machine has said."""
        end = time.monotonic() + PATIENCE_S
        found: bool | None = None
        while found is not safe and time.monotonic() < end:
            with suppress(InterlockError):
                found = self.interlock.safe(moment)
            time.sleep(0.005)
        assert found is safe


class FrameMachine(Machine):
    """Says it with its frames."""

    def open(self) -> Interlock:
        return open_interlock("frame", "", "", NO_BROKER, "robot-1")

    def say(self, *, safe: bool) -> Moment:
        return Moment(safe, quiet=False)


class FileMachine(Machine):
    """Writes a file, in a way that a reader never finds half of it."""

    kind: Kind = "file"

    def __init__(self, folder: Path) -> None:
        self.path = folder / "value"
        super().__init__()

    def open(self) -> Interlock:
        return open_interlock(self.kind, str(self.path), "1", NO_BROKER, "robot-1")

    def say(self, *, safe: bool) -> Moment:
        beside = self.path.with_suffix(".new")
        beside.write_text("1\n" if safe else "0\n")
        beside.replace(self.path)
        return BETWEEN_FRAMES


class GpioMachine(FileMachine):
    """Has a line of the kernel's GPIO interface."""

    kind: Kind = "gpio"


class TopicMachine(Machine):
    """Publishes a retained value."""

    def __init__(self, broker: CellBroker) -> None:
        self.broker = broker
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv311)
        self._client.connect(broker.host, broker.port)
        self._client.loop_start()
        super().__init__()

    def open(self) -> Interlock:
        at = Broker(self.broker.host, self.broker.port)
        return open_interlock("topic", "press/7/safe", "1", at, "robot-1")

    def say(self, *, safe: bool) -> Moment:
        told = self._client.publish("press/7/safe", b"1" if safe else b"0", qos=1, retain=True)
        told.wait_for_publish(PATIENCE_S)
        return BETWEEN_FRAMES

    def close(self) -> None:
        """Leave the broker."""
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture(params=["frame", "file", "gpio", "topic"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Machine]:
    """Each machine that can say both."""
    if request.param == "topic":
        with running("nats", tmp_path / "broker") as broker:
            speaking = TopicMachine(broker)
            yield speaking
            speaking.interlock.close()
            speaking.close()
    elif request.param == "frame":
        yield FrameMachine()
    else:
        yield FileMachine(tmp_path) if request.param == "file" else GpioMachine(tmp_path)


def test_what_the_machine_says_holds_until_it_says_otherwise(machine: Machine) -> None:
    """Safe, not safe and safe again are each told as they are, however often it is asked."""
    for safe in (True, False, True):
        moment = machine.say(safe=safe)
        machine.settle(moment, safe=safe)
        assert [machine.interlock.safe(moment) for _ in range(3)] == [safe] * 3


def test_a_machine_that_has_said_nothing_is_not_safe(machine: Machine) -> None:
    """Before the first word no moment between frames counts as safe."""
    told: list[InterlockError] = []
    moments = SafeMoments(machine.interlock, told.append)
    assert [moments.allow(BETWEEN_FRAMES) for _ in range(3)] == [False] * 3
    assert len(told) <= 1


def test_always_is_always() -> None:
    """The interlock of a machine that nothing disturbs allows every moment."""
    always = open_interlock("always", "", "", NO_BROKER, "robot-1")
    assert all(
        always.safe(Moment(said, quiet=quiet)) for said in (None, True, False) for quiet in (True, False)
    )


def test_frames_at_rest_are_safe() -> None:
    """A line that has had no frame for a second is at rest, whatever its last frame said."""
    frames = open_interlock("frame", "", "", NO_BROKER, "robot-1")
    assert frames.safe(Moment(None, quiet=True))
    assert not frames.safe(Moment(frame_safe=False, quiet=True))


@pytest.mark.parametrize("kind", ["file", "gpio"])
def test_a_place_that_cannot_be_read_is_told_once(tmp_path: Path, kind: Kind) -> None:
    """A missing file, a folder, a pipe and nonsense are not safe; each spell of it is one report."""
    told: list[InterlockError] = []
    path = tmp_path / "value"
    moments = SafeMoments(open_interlock(kind, str(path), "1", NO_BROKER, "r"), told.append)
    for _ in range(5):
        assert not moments.allow(BETWEEN_FRAMES)
    assert len(told) == 1
    path.write_text("1")
    assert moments.allow(BETWEEN_FRAMES)
    path.unlink()
    os.mkfifo(path)
    for _ in range(5):
        assert not moments.allow(BETWEEN_FRAMES)
    path.unlink()
    path.mkdir()
    assert not moments.allow(BETWEEN_FRAMES)
    assert len(told) == 2


def test_a_gpio_line_has_two_values(tmp_path: Path) -> None:
    """What no GPIO line can hold is trouble, not an answer."""
    (tmp_path / "value").write_text("yes")
    with pytest.raises(InterlockError):
        open_interlock("gpio", str(tmp_path / "value"), "yes", NO_BROKER, "r").safe(BETWEEN_FRAMES)


def test_a_value_is_as_old_as_its_connection(tmp_path: Path) -> None:
    """When the broker goes, what it said is forgotten; when it is back, its retained value counts again."""
    with running("nats", tmp_path / "broker") as broker:
        machine = TopicMachine(broker)
        machine.settle(machine.say(safe=True), safe=True)
        broker.stop()
        told: list[InterlockError] = []
        moments = SafeMoments(machine.interlock, told.append)
        end = time.monotonic() + PATIENCE_S
        while moments.allow(BETWEEN_FRAMES) and time.monotonic() < end:
            time.sleep(0.005)
        assert not moments.allow(BETWEEN_FRAMES)
        assert [error.number for error in told] == [InterlockError.number]
        broker.start()
        machine.settle(BETWEEN_FRAMES, safe=True)
        machine.interlock.close()
        machine.close()


def test_a_value_that_no_broker_keeps_is_forgotten(tmp_path: Path) -> None:
    """A word that was not retained ends with its connection: over the next one nothing has been said."""
    with running("nats", tmp_path / "broker") as broker:
        machine = TopicMachine(broker)
        machine.settle(machine.say(safe=True), safe=True)
        for word, retain in ((b"", True), (b"1", False)):
            machine._client.publish("press/7/safe", word, qos=1, retain=retain).wait_for_publish(PATIENCE_S)
        machine.settle(BETWEEN_FRAMES, safe=True)
        broker.stop()
        assert _wait_for_trouble(machine, "does not answer")
        broker.start()
        assert _wait_for_trouble(machine, "has no value")
        machine.interlock.close()
        machine.close()


def _wait_for_trouble(machine: Machine, said: str) -> bool:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        try:
            machine.interlock.safe(BETWEEN_FRAMES)
        except InterlockError as error:
            if said in error.sentence:
                return True
        time.sleep(0.005)
    return False


def test_a_line_waits_for_its_interlock(tmp_path: Path) -> None:
    """A swap waits while the file says no, however safe the frames; its trouble is reported, and it ends."""
    place = tmp_path / "interlock"
    words = ["--interlock", "file", "--interlock-place", str(place)]
    with running_line(tmp_path, more=words) as rig:
        rig.run("a", write_release(tmp_path, 1))
        assert rig.load("b", write_release(tmp_path, 2)).ok
        rig.connect()
        rig.order(Swap("b", 0))
        assert rig.expect(Trouble).error == InterlockError.number
        place.write_text("0")
        assert {rig.ask(str(i), 0).version for i in range(30)} == {1}
        place.write_text("1")
        rig.expect(Swapped)
        assert rig.ask("after", 0).version == 2


def test_an_interlock_needs_its_place(tmp_path: Path) -> None:
    """A configuration that names a file as interlock and no path is refused in one sentence."""
    path = tmp_path / "agent.toml"
    settings = format_settings("d", "t", {}, tmp_path, BrokerSettings("h", 1))
    path.write_text(settings + '\n[interlock]\nkind = "file"\n')
    with pytest.raises(ConfigurationError, match="needs a place"):
        read_settings(path)
