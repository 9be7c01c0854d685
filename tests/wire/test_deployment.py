"""The life of a deployment."""

import pytest

from edgewright.wire.deployment import FINISHED, OWNERS, TRANSITIONS, Event, Owner, State, advance
from edgewright.wire.errors import IllegalTransitionError

HAPPY_PATH = [
    (Event.ACCEPTED, State.FETCHING),
    (Event.FETCHED, State.STAGED),
    (Event.QUALIFY, State.QUALIFYING),
    (Event.QUALIFIED, State.SHADOWING),
    (Event.SHADOWED, State.WAITING_SAFE),
    (Event.SWAPPED, State.PROBATION),
    (Event.PROVEN, State.COMMITTED),
]


def test_happy_path_ends_committed() -> None:
    """The events of an undisturbed deployment lead from assigned to committed."""
    state = State.ASSIGNED
    for event, expected in HAPPY_PATH:
        state = advance(state, event)
        assert state is expected
    assert state in FINISHED


def test_every_state_has_a_row_and_an_owner() -> None:
    """No state lacks transitions or an owner, and only ended ones belong to nobody."""
    assert set(TRANSITIONS) == set(OWNERS) == set(State)
    for state in State:
        owned_by_nobody = OWNERS[state] is Owner.NOBODY
        assert owned_by_nobody == (not TRANSITIONS[state])


def test_every_state_is_reachable() -> None:
    """Each state can be reached from assigned."""
    reached, frontier = {State.ASSIGNED}, [State.ASSIGNED]
    while frontier:
        for following in TRANSITIONS[frontier.pop()].values():
            if following not in reached:
                reached.add(following)
                frontier.append(following)
    assert reached == set(State)


@pytest.mark.parametrize("state", [s for s in State if s not in FINISHED])
def test_unfinished_states_survive_a_restart_and_a_newer_assignment(state: State) -> None:
    """A power cut leads to a state from which work goes on, and a newer assignment ends any unfinished
    one.
    """
    assert advance(state, Event.RESTARTED) not in FINISHED
    assert advance(state, Event.SUPERSEDED) is State.SUPERSEDED


def test_restart_never_skips_the_proof() -> None:
    """After a restart an artifact that was not swapped in yet is qualified again."""
    for state in (State.QUALIFYING, State.SHADOWING, State.WAITING_SAFE):
        assert advance(state, Event.RESTARTED) is State.STAGED


def test_illegal_event_raises_and_names_both() -> None:
    """An event that the table does not list raises with the state and the event in the sentence."""
    with pytest.raises(IllegalTransitionError, match="committed cannot take fetched"):
        advance(State.COMMITTED, Event.FETCHED)
