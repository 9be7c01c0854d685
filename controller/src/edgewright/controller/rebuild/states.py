"""The life of a rebuild, as one literal table.

::

    queued -> collecting -> training <-> gating -> building -> signing -> rolling-out -> done
                                                      |           ^
                                                      `-> waiting-approval

Training and gating take turns, one rung of the recipe's ladder after another, until a candidate passes.
When the last rung is refused the rebuild collects again, twice as many items, and climbs the ladder once
more; after its last attempt it ends as ``refused``. What cannot be done ends as ``failed``. It also collects
again when a candidate has passed and the gain is not shown to be large enough to go by itself; where those
frames do not come in time, that candidate is built.

A rebuild that a person has to approve waits when it is compiled: whoever approves sees what would be signed,
and it is on the line seconds later. Nothing runs while it waits, and it waits for a time only.
"""

from enum import StrEnum
from typing import Final


class RebuildState(StrEnum):
    """Where a rebuild stands; a row's ``state``."""

    QUEUED = "queued"
    COLLECTING = "collecting"
    TRAINING = "training"
    GATING = "gating"
    BUILDING = "building"
    WAITING_APPROVAL = "waiting-approval"
    SIGNING = "signing"
    ROLLING_OUT = "rolling-out"
    DONE = "done"
    FAILED = "failed"
    REFUSED = "refused"
    CANCELLED = "cancelled"


_S = RebuildState

TRANSITIONS: Final[dict[RebuildState, frozenset[RebuildState]]] = {
    _S.QUEUED: frozenset({_S.COLLECTING, _S.FAILED, _S.CANCELLED}),
    _S.COLLECTING: frozenset({_S.TRAINING, _S.BUILDING, _S.FAILED, _S.CANCELLED}),
    _S.TRAINING: frozenset({_S.GATING, _S.FAILED, _S.CANCELLED}),
    _S.GATING: frozenset({_S.TRAINING, _S.COLLECTING, _S.BUILDING, _S.REFUSED, _S.FAILED, _S.CANCELLED}),
    _S.BUILDING: frozenset({_S.SIGNING, _S.WAITING_APPROVAL, _S.FAILED, _S.CANCELLED}),
    _S.WAITING_APPROVAL: frozenset({_S.SIGNING, _S.FAILED, _S.CANCELLED}),
    _S.SIGNING: frozenset({_S.ROLLING_OUT, _S.FAILED, _S.CANCELLED}),
    _S.ROLLING_OUT: frozenset({_S.DONE, _S.FAILED}),
    _S.DONE: frozenset(),
    _S.FAILED: frozenset(),
    _S.REFUSED: frozenset(),
    _S.CANCELLED: frozenset(),
}

IN_FLIGHT: Final = tuple(str(state) for state, following in TRANSITIONS.items() if following)
"""States of a rebuild that is under way, as rows have them."""

AT_WORK: Final = tuple(state for state in IN_FLIGHT if state != _S.WAITING_APPROVAL)
"""Those in which the controller has something to do."""


def advance(state: RebuildState, to: RebuildState) -> RebuildState:
    """The state after a move; a move to the same state is one that was made before a restart.

    Raises:
        ValueError: the table has no such move: a defect, never a person's mistake.
    """
    if to is not state and to not in TRANSITIONS[state]:
        raise ValueError(f"A rebuild that is {state} cannot become {to}.")
    return to
