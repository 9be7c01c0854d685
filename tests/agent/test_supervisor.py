"""The whole agent as real processes, with a real line, a real runner and a real broker."""

import os
import platform
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewright.agent.configuration import read_settings
from edgewright.agent.database import Database
from edgewright.agent.devicekey import DeviceKey
from edgewright.agent.outboxtable import WAITING
from edgewright.agent.supervisor import Supervisor
from edgewright.wire import messages, topics
from edgewright.wire.deployment import State
from edgewright.wire.handshake import CPU_FEATURES
from edgewright.wire.messages import Goodbye, Hello, Report, Window
from simulators.repository import RepositorySimulator
from tests.agent.agent_rig import (
    DEVICE,
    MODEL,
    PATIENCE_SECONDS,
    AgentRig,
    ControllerHand,
    running_agent,
    wait_for,
)
from tests.attacks.thief import ONLINE, Thief
from tests.contract.brokers import Broker, NatsBroker, nats, running

__all__ = ["nats"]

Pair = tuple[AgentRig, ControllerHand]


def _commit_first(pair: Pair) -> Pair:
    _, controller = pair
    controller.simulator.assign(controller.release(1))
    wait_for(lambda: State.COMMITTED in controller.states(), "the first commit")
    return pair


@pytest.fixture
def pair(nats: Broker, tmp_path: Path) -> Iterator[Pair]:
    """An agent that has committed version 1, for one test."""
    with running_agent(tmp_path / "a", nats) as started:
        yield _commit_first(started)


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """An agent that has committed version 1, for tests that leave it so."""
    folder = tmp_path_factory.mktemp("steady")
    with running("nats", folder / "broker") as broker, running_agent(folder / "a", broker) as started:
        yield _commit_first(started)


def committed(controller: ControllerHand, version: int) -> bool:
    """Whether the commit of a version was reported."""
    return any(
        report.state is State.COMMITTED and report.release and report.release.version == version
        for report in controller.of(Report)
    )


def test_release_is_taken_end_to_end(steady: Pair) -> None:
    """A signed release goes from retained topics to decisions, told from hello to committed."""
    agent, controller = steady
    hello = controller.of(Hello)[0]
    assert controller.heard[0] == hello
    assert (hello.device, hello.tags, hello.active) == ("robot-1", {"site": "lyon"}, None)
    assert hello.runtime.startswith("onnxruntime ")
    assert f"{hello.runtime} CPUExecutionProvider" in hello.runtimes
    assert hello.machine == platform.machine()
    assert hello.memory_mb > 0
    assert set(hello.cpu) <= set(CPU_FEATURES)
    assert controller.states()[-1] is State.COMMITTED
    decision = agent.ask(250)
    assert (decision.label, decision.source, decision.version) == ("bright", "active", 1)


def test_update_while_frames_come(pair: Pair) -> None:
    """An update is swapped in under frames; no frame falls back and the windows name both versions."""
    agent, controller = pair
    controller.simulator.assign(controller.release(2))
    wait_for(lambda: agent.ask(250).version == 2, "a decision of version 2")
    wait_for(lambda: agent.decides(2) and committed(controller, 2), "the commit")
    wait_for(lambda: {1, 2} <= {window.version for window in controller.of(Window)}, "windows of both")
    assert all(window.by_source.get("fallback", 0) == 0 for window in controller.of(Window) if window.version)
    swapped = [report for report in controller.of(Report) if report.state is State.PROBATION]
    assert swapped[-1].swap_gap_us > 0


def test_line_outlives_its_supervisor(pair: Pair) -> None:
    """After SIGKILL of the supervisor the line goes on deciding; the next one adopts that very line."""
    agent, controller = pair
    line = agent.line_pid()
    agent.signal(signal.SIGKILL)
    wait_for(lambda: [g for g in controller.of(Goodbye) if g.reason == "lost"], "the last will")
    assert agent.ask(250).version == 1
    agent.start()
    controller.simulator.assign(controller.release(2))
    wait_for(lambda: agent.decides(2), "a decision of version 2")
    assert agent.line_pid() == line
    wait_for(lambda: committed(controller, 2), "the commit")


def test_restart_without_a_broker(pair: Pair, nats: Broker) -> None:
    """Started again with no broker, the agent decides with its committed model and says E030 once."""
    agent, _ = pair
    agent.stop()
    nats.crash()
    agent.start()
    wait_for(lambda: agent.decides(1), "a decision without a broker")
    assert agent.log.count("E030") == 1


def test_broker_restart_loses_nothing(pair: Pair, nats: Broker) -> None:
    """Over a broker restart the agent comes back by itself, and the outbox's numbers have no gap."""
    agent, controller = pair
    nats.stop()
    for _ in range(3):
        agent.ask(250)
    nats.start()
    wait_for(lambda: len(controller.of(Hello)) >= 2, "a second hello")
    before = max(window.seq for window in controller.of(Window)) if controller.of(Window) else 0
    wait_for(
        lambda: agent.decides(1) and max((w.seq for w in controller.of(Window)), default=0) > before,
        "new windows",
    )
    numbers = {message.seq for message in controller.heard if isinstance(message, (Report, Window))}
    assert numbers == set(range(1, max(numbers) + 1))


def test_outbox_waits_for_the_controller(steady: Pair) -> None:
    """What the controller has not acknowledged is sent again, under the same numbers."""
    agent, controller = steady
    controller.acknowledging = False
    seen = len(controller.heard)
    wait_for(
        lambda: agent.decides(1) and len({w.seq for w in controller.of(Window)}) < len(controller.of(Window)),
        "a repetition",
    )
    controller.acknowledging = True
    assert len(controller.heard) > seen


def test_controller_that_listens_late_hears_everything(nats: Broker, tmp_path: Path) -> None:
    """A controller that missed the hello gets it again, then every message from the first on."""
    with running_agent(tmp_path / "a", nats, listening=False) as (agent, controller):
        controller.simulator.assign(controller.release(1))
        wait_for(lambda: agent.decides(1), "a decision")
        assert not controller.heard
        controller.listen()
        wait_for(lambda: agent.decides(1) and controller.of(Hello), "the hello again")
        assert controller.of(Hello)[0].oldest == 1

        def whole() -> bool:
            numbers = {message.seq for message in controller.heard if isinstance(message, (Report, Window))}
            return bool(numbers) and numbers == set(range(1, max(numbers) + 1))

        wait_for(
            lambda: State.COMMITTED in controller.states() and whole(), "every message from the first on"
        )
        journal = Database(agent.folder / "agent.db", read_only=True)
        wait_for(lambda: journal.connection.execute(WAITING).fetchone()[0] < 64, "acknowledgements")


def test_unsealed_acknowledgements_are_dropped_and_told_once(steady: Pair) -> None:
    """An acknowledgement without the director's seal takes nothing out of the outbox and is told once."""
    agent, controller = steady
    stream = controller.of(Hello)[0].stream
    forged = messages.encode(messages.Ack(stream=stream, through=10**9))
    for _ in range(3):
        controller.publish(topics.ack(DEVICE), forged)

    def told() -> list[Report]:
        return [report for report in controller.of(Report) if report.name == "UnsignedMessage"]

    wait_for(told, "the report")
    before = max(report.seq for report in told())
    wait_for(
        lambda: agent.decides(1) and max((w.seq for w in controller.of(Window)), default=0) > before,
        "windows",
    )
    assert {report.seq for report in told()} == {before}


def test_timestamp_that_no_database_holds_ends_nothing(pair: Pair) -> None:
    """A version of 2**63 under the timestamp's key is reported; this process and its model go on."""
    agent, controller = pair
    thief = Thief(controller.simulator, *ONLINE)
    thief.sign("timestamp", lambda timestamp: setattr(timestamp, "version", 2**63))
    wait_for(lambda: any(report.name == "TamperedMetadata" for report in controller.of(Report)), "the report")
    assert agent.process is not None
    assert agent.process.poll() is None
    assert agent.decides(1)


def test_surprise_in_the_loop_is_told_once(tmp_path: Path) -> None:
    """An exception of an event ends no supervisor: it is one numbered report, however often it comes."""
    unstarted = NatsBroker(tmp_path / "broker")
    agent = AgentRig(tmp_path / "a", unstarted, RepositorySimulator((MODEL,)), DeviceKey.generate())
    supervisor = Supervisor(read_settings(agent.config))

    def surprise() -> None:
        raise ZeroDivisionError("by a message")

    for _ in range(5):
        supervisor._loop.do(surprise)
    (report,) = [messages.decode_up(payload) for _, payload in supervisor._outbox.due(0.0)]
    assert isinstance(report, Report)
    assert report.name == "Unexpected"


def test_database_damaged_while_running(tmp_path: Path) -> None:
    """The supervisor ends with its numbered error, its line lives on, and the next start mends the file."""
    unstarted = NatsBroker(tmp_path / "broker")
    agent = AgentRig(tmp_path / "a", unstarted, RepositorySimulator((MODEL,)), DeviceKey.generate())
    agent.start()
    line, path = agent.line_pid(), agent.folder / "agent.db"
    wait_for(lambda: "runs." in agent.log, "a running agent")
    other = sqlite3.connect(path, isolation_level=None)
    # A foreign write makes the agent read its pages anew.
    other.execute("UPDATE device SET clock = clock + 1")
    other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))
    process = agent.process
    assert process is not None
    assert wait_for(process.poll, "the supervisor's end, by an error of its own") != 0
    other.close()
    assert "E089" in agent.log
    assert "Traceback" not in agent.log
    agent.start()
    wait_for((agent.folder / "agent.db.damaged").exists, "the damaged file's place")
    assert agent.line_pid() == line
    agent.signal(signal.SIGTERM)


def test_line_that_is_killed_comes_back(pair: Pair) -> None:
    """After SIGKILL of the line another one decides with the committed model."""
    agent, _ = pair
    old = agent.line_pid()
    os.kill(old, signal.SIGKILL)
    wait_for(lambda: agent.decides(1), "a decision of the new line")
    assert agent.line_pid() != old


def test_terminated_agent_says_goodbye(pair: Pair) -> None:
    """SIGTERM ends everything with status 0, and the controller hears "stopped", not "lost"."""
    agent, controller = pair
    assert agent.signal(signal.SIGTERM) == 0
    assert not agent.children()
    wait_for(lambda: controller.of(Goodbye), "the goodbye")
    assert [goodbye.reason for goodbye in controller.of(Goodbye)] == ["stopped"]
    assert controller.of(Goodbye)[0].connected_at == controller.of(Hello)[-1].sent_at


def test_second_agent_is_refused(steady: Pair) -> None:
    """Another agent on the same data folder ends with one sentence and status 48."""
    agent, _ = steady
    second = subprocess.run(
        agent.command("run"), check=False, capture_output=True, text=True, timeout=PATIENCE_SECONDS
    )
    assert second.returncode == 48
    assert second.stderr.startswith("E048 ")
    assert "Traceback" not in second.stderr


def test_status_and_doctor_beside_a_running_agent(steady: Pair) -> None:
    """Status shows what decides; doctor finds nothing bad; both leave the agent alone."""
    agent, _ = steady
    status = subprocess.run(
        agent.command("status"), check=False, capture_output=True, text=True, timeout=PATIENCE_SECONDS
    )
    assert f"{MODEL} 1 (active)" in status.stdout
    doctor = subprocess.run(
        agent.command("doctor"), check=False, capture_output=True, text=True, timeout=PATIENCE_SECONDS
    )
    assert doctor.returncode == 0, doctor.stdout
    assert "BAD" not in doctor.stdout


def test_proxies_of_web_sockets_are_not_loaded_before_they_are_used() -> None:
    """What paho imports and nobody here uses stays out of the process, and is there for whoever asks."""
    code = (
        "import sys; from edgewright.agent.footprint import load_when_used;"
        "load_when_used('urllib.request'); import edgewright.agent.supervisor;"
        "before = 'http.client' in sys.modules; import urllib.request;"
        "print(before, callable(urllib.request.getproxies), 'http.client' in sys.modules)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60
    )
    assert found.stdout.strip() == "False True True"


def test_verifier_has_no_network_library_in_it() -> None:
    """The process that parses metadata loads neither MQTT nor HTTP, and what is called after all works."""
    code = (
        "import sys; from edgewright.agent.verifier.__main__ import import_less; import_less();"
        "import edgewright.agent.verifier.service;"
        "print({'paho.mqtt', 'urllib3.util', 'http.client', 'pkcs11.types'} & set(sys.modules));"
        "from tuf.ngclient import Urllib3Fetcher; Urllib3Fetcher(); print('http.client' in sys.modules)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60
    )
    assert found.stdout.split("\n")[:2] == ["set()", "True"], found.stderr


def test_supervisor_imports_nothing_heavy() -> None:
    """The supervisor's process has neither numpy, OpenCV nor a runtime in it."""
    code = (
        "import sys, edgewright.agent.supervisor, edgewright.agent.cli;"
        "print([name for name in ('numpy', 'cv2', 'onnxruntime', 'rich', 'typer') if name in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60
    )
    assert found.stdout.strip() == "[]"
