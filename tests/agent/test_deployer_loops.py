"""Loops and limits: what ends a deployment that would not end by itself, and what no breaker takes."""

from pathlib import Path

import pytest

from edgewright.agent import breakers, control
from edgewright.agent.control import QualificationResult
from edgewright.agent.work import Stuck
from edgewright.wire import topics
from edgewright.wire.deployment import State
from edgewright.wire.errors import (
    ErrorLoopError,
    RebootLoopError,
    StateTimeoutError,
    VerifierError,
)
from edgewright.wire.manifest import split_blob
from tests.agent.test_deployer_ways_back import (
    ONE,
    PATH,
    TWO,
    Hand,
    PowerCutError,
    hand,
    take_the_device_along,
)

__all__ = ["hand"]


def test_power_that_fails_with_a_new_model_brings_the_old_one_back(hand: Hand) -> None:
    """The third start without a stop, while a model is on probation, loads the last good one instead."""
    hand.put_on_probation(2)
    for _ in range(2):
        hand.cut_power()
        assert hand.device.running_artifact == TWO
    hand.cut_power()
    assert [type(order) for order in hand.device.line.orders] == [control.Load, control.Swap]
    assert hand.device.running_artifact == ONE
    assert (hand.state, hand.device.latest.error) == (State.ROLLED_BACK, RebootLoopError.number)
    hand.device.read_topics()
    assert hand.device.running_artifact == ONE


def test_model_that_was_just_committed_is_new_too(hand: Hand) -> None:
    """A crash that comes right after the commit counts; after a stable time it does not."""
    hand.assign(2)
    for _ in range(2):
        hand.cut_power()
    hand.let_pass(breakers.STABLE_SECONDS)
    for _ in range(4):
        hand.cut_power()
    assert hand.device.running_artifact == TWO
    hand.assign(3)
    for _ in range(3):
        hand.cut_power()
    assert hand.device.running_artifact == TWO
    assert hand.device.latest.error == RebootLoopError.number


@pytest.mark.parametrize("proves", [True, False])
def test_first_model_stays_over_any_number_of_power_cuts(tmp_path: Path, proves: bool) -> None:
    """With nothing beside it a new model is loaded at each start, later each time, and that is told once."""
    hand = Hand(tmp_path / "device")
    hand.proves = hand.device.line.proves = proves
    hand.assign(1)
    for start in range(1, 9):
        hand.cut_power()
        waits = start > breakers.FREE_STARTS
        assert hand.device.running_artifact == (None if waits else ONE)
        hand.device.wait()
        assert hand.device.running_artifact == ONE
    told = [report for report in hand.device.reports() if report.error]
    assert [report.error for report in told] == [RebootLoopError.number]
    assert "Nothing stands beside it" in told[0].detail


def test_superseded_first_model_counts_its_starts(tmp_path: Path) -> None:
    """A first model that a newer assignment superseded on probation waits longer at each start too."""
    hand = Hand(tmp_path / "device")
    hand.put_on_probation(1)
    hand.simulator.topics.retained.pop(topics.chunk(split_blob(TWO)[0].chunks[0]))
    hand.assign(2)
    assert [found.state for found in hand.device.journal.deployments()] == [State.FETCHING, State.SUPERSEDED]
    for start in range(1, 6):
        hand.cut_power()
        assert hand.device.running_artifact == (None if start > breakers.FREE_STARTS else ONE)
    told = [report.error for report in hand.device.reports() if report.error]
    assert told.count(RebootLoopError.number) == 1


def test_superseded_first_model_can_still_be_proven(tmp_path: Path) -> None:
    """Once it is through its probation its floor stands and it is committed, though the newer one failed."""
    hand = Hand(tmp_path / "device")
    hand.put_on_probation(1)
    hand.device.qualification = lambda *_: QualificationResult(ok=False, error=43, detail="differs")
    hand.assign(2)
    assert hand.device.journal.floors() == {}
    hand.device.line.prove()
    hand.device.settle()
    assert hand.device.journal.floors() == {"garment-packing": 1}
    assert [found.state for found in hand.device.journal.deployments()] == [State.FAILED, State.COMMITTED]
    assert hand.device.states()[-1] is State.FAILED
    hand.restart()
    assert [order for order in hand.device.line.orders if isinstance(order, control.Swap)] == [
        control.Swap("a", 0)
    ]


def test_newer_assignment_goes_before_a_model_that_takes_the_device_down(tmp_path: Path) -> None:
    """While a first model waits to be loaded, the next version is installed, and decides in its place."""
    hand = Hand(tmp_path / "device")
    hand.assign(1)
    for _ in range(5):
        hand.cut_power()
    assert hand.device.running_artifact is None
    hand.assign(2)
    assert hand.device.running_artifact == TWO
    hand.device.wait()
    assert hand.versions == (2, 1)


def test_stopped_agent_does_not_count(hand: Hand) -> None:
    """However often somebody stops and starts the agent, a new model stays."""
    hand.put_on_probation(2)
    for _ in range(5):
        hand.restart()
    assert hand.state is State.PROBATION


def test_agent_that_dies_alone_costs_no_model(hand: Hand) -> None:
    """However often the agent ends beside a line that lives, a new model stays."""
    hand.put_on_probation(2)
    hand.line_lives = True
    for _ in range(5):
        hand.cut_power()
    assert hand.device.running_artifact == TWO


def test_power_that_fails_with_a_candidate_ends_it(hand: Hand) -> None:
    """An artifact that takes the whole device along while it is tested ends failed at the fifth start."""
    hand.deadly = True
    hand.device.qualification = take_the_device_along
    with pytest.raises(PowerCutError):
        hand.assign(2)
    for _ in range(5):
        assert hand.state is State.QUALIFYING
        hand.cut_power()
    hand.device.read_topics()
    assert (hand.state, hand.device.latest.error) == (State.FAILED, RebootLoopError.number)
    assert hand.device.running_artifact == ONE


def test_power_that_fails_while_fetching_counts_nothing(hand: Hand) -> None:
    """A site without steady power still gets its version: what is only fetched is no suspect."""
    hand.deployer.document(hand.simulator.assign(PATH.format(2)))
    hand.device.step()
    hand.short_of_power = True
    for _ in range(9):
        assert hand.state is State.FETCHING
        hand.cut_power()
    hand.short_of_power = False
    hand.cut_power()
    assert hand.device.running_artifact == TWO


@pytest.mark.parametrize("dies_at", [control.Load, control.Shadow])
def test_line_that_dies_with_a_candidate(hand: Hand, dies_at: type[control.Down]) -> None:
    """A candidate with which three lines have died ends with E080; the good model has a fourth line."""
    hand.device.line.silent = {control.Shadow}
    hand.assign(2)
    for _ in range(3):
        hand.device.line.silent = {dies_at}
        hand.device.settle()
        assert hand.state is State.SHADOWING
        hand.device.line.silent = {control.Shadow}
        hand.device.restart_line()
    assert (hand.state, hand.device.latest.error) == (State.FAILED, ErrorLoopError.number)
    assert hand.device.running_artifact == ONE


def test_line_that_dies_with_a_model_on_probation(hand: Hand) -> None:
    """A new model with which three lines have died gives way to the last good one."""
    hand.put_on_probation(2)
    for _ in range(3):
        assert hand.device.running_artifact == TWO
        hand.device.restart_line()
    assert hand.device.running_artifact == ONE
    assert (hand.state, hand.device.latest.error) == (State.ROLLED_BACK, ErrorLoopError.number)


def test_line_that_dies_beside_an_old_model_costs_it_nothing(hand: Hand) -> None:
    """What has long been good is nobody's suspect when lines die between orders."""
    hand.assign(2)
    hand.let_pass(breakers.STABLE_SECONDS)
    for _ in range(6):
        hand.device.restart_line()
    assert hand.device.running_artifact == TWO


def test_line_that_never_answers_a_load_is_replaced(hand: Hand) -> None:
    """A Load without an answer ends the line, and the next one gets the same orders."""
    hand.device.line.silent = {control.Load}
    hand.assign(2)
    hand.device.line.silent = set()
    hand.let_pass(breakers.ORDER_SECONDS + 1.0)
    assert hand.device.running_artifact == TWO


def test_step_that_fails_in_one_way_ends(hand: Hand) -> None:
    """A verifier that crashes at each look at one assignment ends it with E080 after five looks."""
    hand.deployer.document(hand.simulator.assign(PATH.format(2)))
    looks = 0
    while hand.device.jobs:
        hand.device.jobs.clear()
        looks += 1
        hand.deployer.told(Stuck(hand.device.latest.id, VerifierError("The verifier ended.")))
        hand.go_on_later()
    assert (hand.state, hand.device.latest.error) == (State.REFUSED, ErrorLoopError.number)
    assert looks == breakers.ERRORS_TO_END
    assert hand.device.running_artifact == ONE


@pytest.mark.parametrize(
    ("silent", "state", "ends"),
    [
        (control.Shadow, State.SHADOWING, State.FAILED),
        (control.Swap, State.WAITING_SAFE, State.FAILED),
        (None, State.PROBATION, State.ROLLED_BACK),
    ],
)
def test_state_that_does_not_end(
    hand: Hand, silent: type[control.Down] | None, state: State, ends: State
) -> None:
    """A state that outlasts everything honest ends by name, and the last good model decides."""
    hand.device.line.silent = {silent} if silent else set()
    hand.device.line.proves = False
    hand.assign(2)
    assert hand.state is state
    hand.let_pass(breakers.LONGEST_SECONDS[state])
    assert hand.state is state
    hand.let_pass(1.0)
    assert (hand.state, hand.device.latest.error) == (ends, StateTimeoutError.number)
    hand.device.settle()
    assert hand.device.running_artifact == ONE


def test_qualification_stays_in_the_journal(hand: Hand) -> None:
    """What a qualification has measured is kept with its deployment and was reported once."""
    measured = hand.device.journal.qualification(hand.device.latest.id)
    assert measured is not None
    assert measured.latency_p99_us == 200
    assert sum("p99 200 us" in report.detail for report in hand.device.reports()) == 1
