"""Life of a deployment on a device, as one literal table.

A deployment is one release on its way into one device. It starts ``assigned`` when the device has accepted
a signed assignment, and ends ``committed``, ``refused`` (the device would not take it), ``failed`` (it could
not), ``rolled-back`` (it took it and went back), ``superseded`` (a newer assignment came first) or
``stopped`` (the assignment said to run this model no more, and it runs no more).

Rules:

- The device persists the new state before it acts on it, and acts before it reports.
- Each state has one owner: the process that alone may raise the next event.
- An event that the table does not list raises and changes nothing.
- ``restarted`` is raised for every unfinished deployment when the agent starts; the table says where work
  goes on after a power cut.
- ``committed`` is left by ``broke``: repeated crashes of its runner, or of everything around it while it is
  new, roll the model back, and so does a person at the device.
- ``damaged`` says that the device's own disk has lost files of the release. That is no verdict on the model:
  they are fetched again, and all that follows is done again.
- A first model that was superseded on probation decides on until the newer one takes over. So it can still be
  proven.
"""

from enum import StrEnum
from typing import Final

from edgewright.wire.errors import IllegalTransitionError


class State(StrEnum):
    """Where a deployment stands."""

    ASSIGNED = "assigned"
    FETCHING = "fetching"
    STAGED = "staged"
    QUALIFYING = "qualifying"
    SHADOWING = "shadowing"
    WAITING_SAFE = "waiting-safe"
    PROBATION = "probation"
    COMMITTED = "committed"
    REFUSED = "refused"
    FAILED = "failed"
    ROLLED_BACK = "rolled-back"
    SUPERSEDED = "superseded"
    STOPPED = "stopped"


class Event(StrEnum):
    """What moves a deployment."""

    ACCEPTED = "accepted"
    FETCHED = "fetched"
    QUALIFY = "qualify"
    QUALIFIED = "qualified"
    SHADOWED = "shadowed"
    SWAPPED = "swapped"
    PROVEN = "proven"
    REFUSED = "refused"
    FAILED = "failed"
    BROKE = "broke"
    SUPERSEDED = "superseded"
    RESTARTED = "restarted"
    STOPPED = "stopped"
    DAMAGED = "damaged"


class Owner(StrEnum):
    """The one participant that may move a deployment on."""

    SUPERVISOR = "supervisor"
    RUNNER = "runner"
    LINE = "line"
    NOBODY = "nobody"


OWNERS: Final[dict[State, Owner]] = {
    State.ASSIGNED: Owner.SUPERVISOR,
    State.FETCHING: Owner.SUPERVISOR,
    State.STAGED: Owner.SUPERVISOR,
    State.QUALIFYING: Owner.RUNNER,
    State.SHADOWING: Owner.LINE,
    State.WAITING_SAFE: Owner.LINE,
    State.PROBATION: Owner.LINE,
    State.COMMITTED: Owner.LINE,
    State.REFUSED: Owner.NOBODY,
    State.FAILED: Owner.NOBODY,
    State.ROLLED_BACK: Owner.NOBODY,
    State.SUPERSEDED: Owner.LINE,
    State.STOPPED: Owner.NOBODY,
}

TRANSITIONS: Final[dict[State, dict[Event, State]]] = {
    State.ASSIGNED: {
        Event.ACCEPTED: State.FETCHING,
        Event.REFUSED: State.REFUSED,
        Event.SUPERSEDED: State.SUPERSEDED,
        Event.RESTARTED: State.ASSIGNED,
        Event.STOPPED: State.STOPPED,
    },
    State.FETCHING: {
        Event.FETCHED: State.STAGED,
        Event.REFUSED: State.REFUSED,
        Event.FAILED: State.FAILED,
        Event.SUPERSEDED: State.SUPERSEDED,
        Event.RESTARTED: State.FETCHING,
    },
    State.STAGED: {
        Event.QUALIFY: State.QUALIFYING,
        Event.REFUSED: State.REFUSED,
        Event.FAILED: State.FAILED,
        Event.SUPERSEDED: State.SUPERSEDED,
        Event.RESTARTED: State.STAGED,
    },
    State.QUALIFYING: {
        Event.QUALIFIED: State.SHADOWING,
        Event.FAILED: State.FAILED,
        Event.SUPERSEDED: State.SUPERSEDED,
        Event.RESTARTED: State.STAGED,
        Event.DAMAGED: State.FETCHING,
    },
    State.SHADOWING: {
        Event.SHADOWED: State.WAITING_SAFE,
        Event.FAILED: State.FAILED,
        Event.SUPERSEDED: State.SUPERSEDED,
        Event.RESTARTED: State.STAGED,
        Event.DAMAGED: State.FETCHING,
    },
    State.WAITING_SAFE: {
        Event.SWAPPED: State.PROBATION,
        Event.FAILED: State.FAILED,
        Event.SUPERSEDED: State.SUPERSEDED,
        Event.RESTARTED: State.STAGED,
        Event.DAMAGED: State.FETCHING,
    },
    State.PROBATION: {
        Event.PROVEN: State.COMMITTED,
        Event.BROKE: State.ROLLED_BACK,
        Event.SUPERSEDED: State.SUPERSEDED,
        Event.RESTARTED: State.PROBATION,
        Event.DAMAGED: State.FETCHING,
    },
    State.COMMITTED: {
        Event.BROKE: State.ROLLED_BACK,
        Event.DAMAGED: State.FETCHING,
    },
    State.REFUSED: {},
    State.FAILED: {},
    State.ROLLED_BACK: {},
    State.SUPERSEDED: {
        Event.PROVEN: State.COMMITTED,
        Event.DAMAGED: State.FETCHING,
    },
    State.STOPPED: {},
}

FINISHED: Final = frozenset(
    {State.COMMITTED, State.REFUSED, State.FAILED, State.ROLLED_BACK, State.SUPERSEDED, State.STOPPED}
)
"""States in which a deployment needs no more work."""


def advance(state: State, event: Event) -> State:
    """The state that follows.

    Raises:
        IllegalTransitionError: the table does not list the event for the state.

    >>> advance(State.PROBATION, Event.PROVEN)
    <State.COMMITTED: 'committed'>
    """
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise IllegalTransitionError(f"A deployment that is {state} cannot take {event}.") from None
