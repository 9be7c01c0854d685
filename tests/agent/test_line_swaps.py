"""Swaps of a real agent under frames, with kills."""

from pathlib import Path

import pytest

from tests.agent.agent_rig import running_agent, wait_for
from tests.agent.swap_rig import SwapRun, Victim
from tests.contract.brokers import running


@pytest.mark.timeout(120)
def test_swaps_with_kills_drop_no_frame(tmp_path: Path) -> None:
    """At 30 frames a second, over five swaps with SIGKILL of runners and of the supervisor, every frame gets
    exactly one decision, and it is the one line that gives all of them.
    """
    victims: list[Victim | None] = ["supervisor", "runner", "supervisor", "runner", "supervisor"]
    with (
        running("nats", tmp_path / "broker") as broker,
        running_agent(tmp_path / "agent", broker) as (agent, controller),
    ):
        controller.simulator.assign(controller.release(1))
        wait_for(lambda: agent.decides(1), "a decision of version 1")
        line = agent.line_pid()
        run = SwapRun(agent, controller, seed=5)
        run.cell.start()
        for number, victim in enumerate(victims):
            run.swap(number + 2, victim, within_s=0.5)
        run.cell.stop()
        assert agent.line_pid() == line
    assert run.killed == victims
    assert run.cell.unanswered == []
    assert run.cell.answered_twice == []
    # A runner that is killed while the other slot takes a candidate in leaves the fallback until it is back.
    by_a_model = [answers for answers in run.cell.answers.values() if answers[0].decision.version]
    assert len(by_a_model) > len(run.cell.answers) / 2
