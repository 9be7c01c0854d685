"""A person at a real device: rolls back without a network, and stops an agent whose line hangs."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewright.agent.database import Database
from edgewright.agent.journal import Journal
from edgewright.wire.deployment import State
from tests.agent.agent_rig import PATIENCE_SECONDS, AgentRig, ControllerHand, running_agent, wait_for
from tests.contract.brokers import Broker, nats

__all__ = ["nats"]

Pair = tuple[AgentRig, ControllerHand]


@pytest.fixture
def pair(nats: Broker, tmp_path: Path) -> Iterator[Pair]:
    """An agent that has committed version 1."""
    with running_agent(tmp_path / "a", nats) as (agent, controller):
        controller.simulator.assign(controller.release(1))
        wait_for(lambda: controller.states().count(State.COMMITTED) == 1, "the first commit")
        yield agent, controller


def roll_back(agent: AgentRig) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    return subprocess.run(
        agent.command("rollback"), check=False, capture_output=True, text=True, timeout=PATIENCE_SECONDS
    )


def test_rollback_by_hand_needs_no_broker(pair: Pair, nats: Broker) -> None:
    """With the broker gone the command brings the last good model back; the controller hears of it later."""
    agent, controller = pair
    refused = roll_back(agent)
    assert "no model to go back to" in refused.stdout
    controller.simulator.assign(controller.release(2))
    wait_for(lambda: agent.ask(250).version == 2, "a decision of version 2")
    wait_for(lambda: controller.states().count(State.COMMITTED) == 2, "the second commit")
    nats.stop()
    done = roll_back(agent)
    assert (done.returncode, done.stdout) == (0, "brightness 2 gives way to brightness 1.\n")
    wait_for(lambda: agent.ask(250).version == 1, "a decision of version 1")
    nats.start()
    wait_for(lambda: State.ROLLED_BACK in controller.states(), "the report")
    assert agent.decides(1)


def test_agent_stops_although_its_line_hangs(pair: Pair) -> None:
    """SIGTERM ends an agent whose line does nothing any more, with status 0, and counts as no crash."""
    agent, _ = pair
    os.kill(agent.line_pid(), signal.SIGSTOP)
    assert agent.signal(signal.SIGTERM) == 0
    wait_for(lambda: not agent.children(), "the end of the children")
    assert not Journal(Database(agent.folder / "agent.db")).begin_run()
    gone = roll_back(agent)
    assert (gone.returncode, gone.stderr[:4]) == (40, "E040")
