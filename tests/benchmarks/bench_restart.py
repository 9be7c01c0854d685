"""``restart_to_connected_s``, ``rollback_s``: how long a device is away, how long it keeps a bad model.

A real agent runs beside the real embedded broker, over TLS with certificates of the fleet's authority, with
two versions of a small network committed.

``restart_to_connected_s``: the agent is stopped and started; from the start of its process until the
controller's side has its sealed hello, which is more than the broker's CONNACK. The median of ten. The row
has the time to the first decision by the model as well: the line was stopped too and starts anew. The peer
does the least that any client has to: a Python that imports paho, speaks TLS with a certificate of the same
kind and publishes one message.

``rollback_s``: from the order of a person at the device until the old model's first decision arrived at the
cell, which asks without a pause. The median of ten. ``failures_s`` is the same from the third crash of the
new model's runner within a minute. Nobody else rolls back on the device: the row's peer is the promise.
"""

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

from edgewright.agent.byhand import order_roll_back
from edgewright.wire import topics
from edgewright.wire.canonical import sha256_hex
from edgewright.wire.deployment import State
from tests.agent.agent_rig import AgentRig, wait_for
from tests.agent.tiny_models import onnx_bytes
from tests.benchmarks.secured_agent import TimedHand, secured_agent
from tests.contract.secured import SecuredNats

RUNS: Final = 10
PROMISED_RESTART_S: Final = 1.5
PROMISED_ROLLBACK_S: Final = 1.0

_PEER: Final = """
import ssl, sys
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
host, port, client, folder, topic = sys.argv[1:]
context = ssl.create_default_context(cafile=folder + "/ca.pem")
context.load_cert_chain(folder + "/cert.pem", folder + "/key.pem")
connection = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client, protocol=mqtt.MQTTv311)
connection.tls_set_context(context)
connection.on_connect = lambda *_: connection.publish(topic, b"hello", qos=1)
connection.on_publish = lambda *_: connection.disconnect()
connection.connect(host, int(port))
connection.loop_forever()
"""


def run() -> Iterator[dict[str, object]]:
    """Measure; one dictionary for each figure."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        agent, controller, broker = stack.enter_context(secured_agent(folder))
        for version in (1, 2):
            _deploy(agent, controller, version)
        restarts = [_restart(agent, controller, 2) for _ in range(RUNS)]
        identity = folder / "agent" / "identity"
        peers = [_peer(broker, identity, controller) for _ in range(RUNS)]
        yield _row(restarts, peers)
        by_hand: list[float] = []
        by_failures: list[float] = []
        version = 2
        for number in range(2 * RUNS):
            if number:
                version += 1
                _deploy(agent, controller, version)
            order = _third_failure if number % 2 else _by_hand
            (by_failures if number % 2 else by_hand).append(_rollback(agent, version, order))
        yield {
            "name": "rollback_s",
            "value": round(statistics.median(by_hand), 4),
            "unit": "s",
            "peer": "the promise",
            "peer_value": PROMISED_ROLLBACK_S,
            "ratio": round(statistics.median(by_hand) / PROMISED_ROLLBACK_S, 3),
            "spread_s": _spread(by_hand),
            "failures_s": round(statistics.median(by_failures), 4),
            "failures_spread_s": _spread(by_failures),
        }


def _row(restarts: list[tuple[float, float]], peers: list[float]) -> dict[str, object]:
    connected = [first for first, _ in restarts]
    decided = [second for _, second in restarts]
    return {
        "name": "restart_to_connected_s",
        "value": round(statistics.median(connected), 3),
        "unit": "s",
        "peer": "bare paho client over TLS",
        "peer_value": round(statistics.median(peers), 3),
        "ratio": round(statistics.median(connected) / statistics.median(peers), 2),
        "promise": PROMISED_RESTART_S,
        "spread_s": _spread(connected),
        "first_decision_s": round(statistics.median(decided), 3),
        "first_decision_spread_s": _spread(decided),
        "load": round(os.getloadavg()[0], 2),
    }


def _spread(values: list[float]) -> list[float]:
    return [round(min(values), 4), round(max(values), 4)]


def _deploy(agent: AgentRig, controller: TimedHand, version: int) -> None:
    """Bring a version through its probation."""
    before = controller.states().count(State.COMMITTED)
    controller.simulator.assign(controller.release(version))

    def committed() -> bool:
        return agent.decides(version) and controller.states().count(State.COMMITTED) > before

    wait_for(committed, f"the commit of version {version}")


def _restart(agent: AgentRig, controller: TimedHand, version: int) -> tuple[float, float]:
    """Seconds from a process's start to its hello, and to the first decision by its model."""
    agent.signal(signal.SIGTERM)
    wait_for(lambda: not agent.children(), "the end of line and runners")
    started, controller.hello_at = time.monotonic(), 0.0
    agent.start()
    wait_for(lambda: agent.decides(version), "a decision")
    decided = time.monotonic() - started
    wait_for(lambda: controller.hello_at, "a hello")
    return controller.hello_at - started, decided


def _peer(broker: SecuredNats, identity: Path, controller: TimedHand) -> float:
    """Seconds from the start of the least client to its message."""
    host, port = broker.address
    client = broker.enrol("peer")
    topic = topics.up("peer", "want")
    started, controller.raw_at = time.monotonic(), 0.0
    command = [sys.executable, "-c", _PEER, host, str(port), client.client_id, str(client.folder), topic]
    subprocess.run(command, check=True, timeout=60)
    wait_for(lambda: controller.raw_at, "the peer's message")
    return controller.raw_at - started


class Asking:
    """A cell that asks without a pause, on a thread of its own.

    Attributes:
        newest: what the newest decision says of its model's version and of who made it.
    """

    def __init__(self, agent: AgentRig) -> None:
        self._agent = agent
        self.newest: tuple[int, str] = (0, "")
        self._stopping = False
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> "Asking":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        self._thread.join()

    def _ask(self) -> None:
        while not self._stopping:
            with suppress(OSError):
                decision = self._agent.ask(250)
                self.newest = decision.version, decision.source


def _rollback(agent: AgentRig, version: int, order: "Order") -> float:
    """Seconds from the order until a decision of the version before arrived at the cell."""
    with Asking(agent) as asking:
        wait_for(lambda: asking.newest == (version, "active"), "a decision")
        ordered = order(agent, version, asking)
        end = ordered + 60
        while asking.newest[0] == version or asking.newest[1] != "active":
            assert time.monotonic() < end, "the old model did not come back"
            time.sleep(0.0005)
        return time.monotonic() - ordered


Order = Callable[[AgentRig, int, Asking], float]


def _by_hand(agent: AgentRig, _version: int, _asking: Asking) -> float:
    ordered = time.monotonic()
    order_roll_back(agent.folder / "hand.sock")
    return ordered


def _third_failure(agent: AgentRig, version: int, asking: Asking) -> float:
    """Kill the deciding runner three times, each once it decides; when the third was killed."""
    digest = sha256_hex(onnx_bytes(salt=version)).encode()
    killed: set[int] = set()
    at = 0.0
    for _ in range(3):
        pid = wait_for(lambda: next(iter(_runners(agent, digest) - killed), 0), "a runner")
        wait_for(lambda: asking.newest == (version, "active"), "a decision of the new runner")
        at = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        killed.add(pid)
        asking.newest = (version, "")
    return at


def _runners(agent: AgentRig, digest: bytes) -> set[int]:
    found = set()
    for pid in agent.children():
        with suppress(OSError):
            if digest in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.add(pid)
    return found
