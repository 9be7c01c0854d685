"""A real agent process on a real broker; the test plays its controller and its cell."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from ssl import SSLContext
from typing import TypeVar

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from edgewright.agent.configuration import format_settings
from edgewright.agent.devicekey import DeviceKey
from edgewright.agent.identity import save
from edgewright.agent.settings import BrokerSettings
from edgewright.controller.broker.probe import Address
from edgewright.wire import messages, topics
from edgewright.wire.cell import Decision, Frame, Inbox
from edgewright.wire.cell import encode as encode_cell
from edgewright.wire.deployment import State
from edgewright.wire.messages import Goodbye, Hello, Report, Upward
from edgewright.wire.numbering import Place, Received
from edgewright.wire.sealed import unseal
from simulators.repository import RepositorySimulator
from simulators.topics import MemoryTopics
from tests.agent.tiny_models import FRAME_PX, golden_bytes, grey_frame, make_manifest, onnx_bytes
from tests.contract.brokers import Broker
from tests.devicekeys import verifier

PATIENCE_SECONDS = 40.0
DEVICE = "robot-1"
MODEL, TARGET = "brightness", "test-onnxruntime-cpu"
_T = TypeVar("_T")


def wait_for(condition: Callable[[], _T], what: str = "the condition") -> _T:
    """Poll until a condition holds; its value."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not (value := condition()):
        assert time.monotonic() < end, f"{what} did not come about"
        time.sleep(0.02)
    return value


class PublishedTopics(MemoryTopics):
    """Retained topics that a real broker keeps as well."""

    def __init__(self, client: mqtt.Client) -> None:
        super().__init__()
        self._client = client

    def publish(self, topic: str, payload: bytes) -> None:
        """Retain here and there."""
        super().publish(topic, payload)
        self._client.publish(topic, payload, qos=1, retain=True).wait_for_publish(PATIENCE_SECONDS)


class ControllerHand:
    """The controller's side of the broker: publishes what is signed, hears and acknowledges what comes up.

    Attributes:
        heard: every upward message that the device's key has sealed, in order, repetitions included.
        device_key: what the device is enrolled with.
        acknowledging: whether sequenced messages of streams that were greeted are acknowledged.

    Args:
        listening: whether it subscribes before it publishes anything; otherwise ``listen`` does it later.
        client_id: as the broker knows it.
        tls: what it speaks, where the broker demands that.
    """

    def __init__(
        self,
        broker: Broker | Address,
        *,
        listening: bool = True,
        client_id: str = "controller",
        tls: SSLContext | None = None,
    ) -> None:
        self.heard: list[Upward] = []
        self.acknowledging = True
        self.device_key = DeviceKey.generate()
        self._received: dict[str, Received] = {}
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv311, clean_session=False
        )
        if tls is not None:
            self._client.tls_set_context(tls)
        self._client.reconnect_delay_set(1, 1)
        connected, self._subscribed = threading.Event(), threading.Event()
        self._listening = listening

        def on_connect(*_: object) -> None:
            connected.set()
            if self._listening:
                self._client.subscribe(topics.up_filter(), qos=1)

        self._client.on_connect = on_connect
        self._client.on_message = self._hear
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.connect(broker.host, broker.port)
        self._client.loop_start()
        assert (self._subscribed if listening else connected).wait(PATIENCE_SECONDS)
        self.simulator = RepositorySimulator((MODEL,), PublishedTopics(self._client))

    def release(self, version: int, **changes: object) -> str:
        """Sign and publish a tiny real model; its path."""
        artifact, golden = onnx_bytes(salt=version), golden_bytes()
        manifest = make_manifest(artifact, golden, version, **changes)
        return self.simulator.release(manifest, artifact, golden)

    def listen(self) -> None:
        """Subscribe to what devices say; what they said before is not heard."""
        self._listening = True
        self._client.subscribe(topics.up_filter(), qos=1)
        assert self._subscribed.wait(PATIENCE_SECONDS)

    def publish(self, topic: str, payload: bytes) -> None:
        """Publish without retaining, as anybody may who holds the broker."""
        self._client.publish(topic, payload, qos=1).wait_for_publish(PATIENCE_SECONDS)

    def close(self) -> None:
        """Leave the broker."""
        self._client.disconnect()
        self._client.loop_stop()

    def of(self, kind: type[_T]) -> list[_T]:
        """What was heard of a kind."""
        return [message for message in list(self.heard) if isinstance(message, kind)]

    def states(self) -> list[State]:
        """Reported states in the order in which they came about, repetitions removed."""
        numbered = {report.ordinal: report.state for report in self.of(Report)}
        return [state for _, state in sorted(numbered.items()) if state]

    def _hear(self, client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        up = messages.decode_up(unseal(bytes(message.payload), "up", verifier(self.device_key)))
        self.heard.append(up)
        if isinstance(up, Hello):
            known = self._received.get(up.stream, Received(up.oldest - 1))
            self._received[up.stream] = known.from_oldest(up.oldest)
            self._acknowledge(client, up, hello=up.counter)
            return
        if isinstance(up, (Goodbye, messages.Want)) or up.stream not in self._received:
            return
        known = self._received[up.stream]
        if known.place(up.seq) is Place.NEW:
            self._received[up.stream] = known.with_number(up.seq)
        self._acknowledge(client, up)

    def _acknowledge(self, client: mqtt.Client, up: Hello | messages.Sequenced, hello: int = 0) -> None:
        if self.acknowledging:
            through = self._received[up.stream].through
            ack = self.simulator.acknowledge(up.stream, through, hello=hello)
            client.publish(topics.ack(up.device), ack, qos=1)


class AgentRig:
    """One agent: its folder and its process."""

    def __init__(
        self, folder: Path, broker: Broker | Address, simulator: RepositorySimulator, key: DeviceKey
    ) -> None:
        self.folder = folder
        self.config = folder / "agent.toml"
        save(folder, DEVICE, key)
        (folder / "trust").mkdir(parents=True)
        (folder / "trust" / "root.json").write_bytes(simulator.image_root)
        (folder / "trust" / "director-root.json").write_bytes(simulator.director_root)
        settings = format_settings(
            DEVICE, TARGET, {"site": "lyon"}, folder, BrokerSettings(broker.host, broker.port, tls=False)
        )
        self.config.write_text(settings + "\n[line]\nwindow_seconds = 0.5\n")
        self.process: subprocess.Popen[bytes] | None = None

    def command(self, name: str) -> list[str]:
        """Command line of a command."""
        return [sys.executable, "-m", "edgewright.agent.cli", name, "--config", str(self.config)]

    def start(self) -> None:
        """Start the agent."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self.command("run"), stderr=log)

    def signal(self, number: signal.Signals) -> int:
        """Signal the supervisor and wait for its end; its exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS)

    @property
    def log(self) -> str:
        """What the agent has logged."""
        return (self.folder / "log").read_text()

    def children(self) -> list[int]:
        """Process ids of everything that works in this agent's folder, the supervisor excluded."""
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                command = (entry / "cmdline").read_bytes().decode(errors="replace")
                if str(self.folder) in command and "edgewright.agent.cli" not in command:
                    found.append(int(entry.name))
        return [pid for pid in found if pid != os.getpid()]

    def line_pid(self) -> int:
        """Process id of the line."""

        def find() -> int:
            for pid in self.children():
                with contextlib.suppress(OSError):
                    if b"edgewright.agent.line" in Path(f"/proc/{pid}/cmdline").read_bytes():
                        return pid
            return 0

        return wait_for(find, "a line")

    def ask(self, level: int) -> Decision:
        """Send one grey frame as the cell, on a connection of its own, and take the decision."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as cell:
            cell.settimeout(PATIENCE_SECONDS)
            cell.connect(str(self.folder / "cell.sock"))
            pixels = grey_frame(level).tobytes()
            frame = Frame(item="i", deadline_ms=2000, shape=(FRAME_PX, FRAME_PX, 3), pixels=pixels)
            cell.sendall(encode_cell(frame))
            inbox = Inbox()
            while True:
                data = cell.recv(65536)
                assert data, "the line closed the connection"
                for message in inbox.feed(data):
                    assert isinstance(message, Decision)
                    return message

    def decides(self, version: int) -> bool:
        """Whether a frame is decided by this version now."""
        try:
            return self.ask(250).version == version
        except OSError:
            return False

    def stop(self) -> None:
        """End all of the agent's processes, as a power cut would; a line outlives its supervisor alone."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        wait_for(self._none_left, "the end of the agent's children")

    def _none_left(self) -> bool:
        children = self.children()
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not children


@contextlib.contextmanager
def running_agent(
    folder: Path, broker: Broker, *, listening: bool = True
) -> Iterator[tuple[AgentRig, ControllerHand]]:
    """A started agent and its controller; both have ended when the block is left."""
    controller = ControllerHand(broker, listening=listening)
    agent = AgentRig(folder, broker, controller.simulator, controller.device_key)
    try:
        agent.start()
        yield agent, controller
    finally:
        agent.stop()
        controller.close()
