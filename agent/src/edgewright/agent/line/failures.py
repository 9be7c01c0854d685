"""What can go wrong with a runner, and what the line does about it: two literal tables.

A failure is a class of ``wire.errors`` with a number. It is reported with that number, it takes the place of
the active model's decision under its name among a window's causes, and it costs the model something: a model
whose failures within a minute cost ``breaker.FAILURES_TO_BREAK`` is broken. Whatever the failure, the frame
that met it is decided by the stand-in, else by the declared fallback, before anything else is done::

    what happens                        how it is noticed                             error
    crash                               the runner's socket ends                      45 RunnerCrash
    hang, busy                          no answer half a second after a deadline      46 RunnerHang
    hang, idle or starting              no sign of life, not warm in time             46 RunnerHang
    output that is not finite           the runner looks at each output               47 RunnerOutput
    leak                                resident memory above the manifest's limit,   56 RunnerMemory
                                        or an allocation beyond the process's limit
    output of another shape             the runtime compares it with the manifest's   57 RunnerShape
    slow                                answers in a row after their deadlines        58 RunnerSlow

What the line does with the slot depends on where it stands and on whether the model is broken by now.
"""

from enum import StrEnum
from typing import Final, NamedTuple

from edgewright.agent.line.breaker import FAILURES_TO_BREAK
from edgewright.agent.line.slots import Phase
from edgewright.wire.errors import (
    ConfidentialKeyError,
    DeviceError,
    EdgewrightError,
    PlacementError,
    RunnerCrashError,
    RunnerHangError,
    RunnerMemoryError,
    RunnerOutputError,
    RunnerShapeError,
    RunnerSlowError,
    RuntimeLoadError,
)


class Reaction(StrEnum):
    """What becomes of a slot whose runner has failed."""

    REFUSE_LOAD = "refuse-load"
    """The slot is empty and ``Loaded`` names the error."""
    END_SHADOW = "end-shadow"
    """The slot is empty and ``Shadowed`` names the error."""
    REPLACE = "replace"
    """The runner is killed and another one started, after a pause that grows."""
    GIVE_UP = "give-up"
    """The slot is empty, the stand-in or the fallback decides, and ``Broke`` names the error."""
    GIVE_UP_FOR_ANOTHER = "give-up-for-another"
    """The same where the stand-in is another model; without one a bad model is better than none: replace."""


class Cost(NamedTuple):
    """What a failure costs a model, by whether it has decided anything yet."""

    untried: int
    tried: int


_ALL: Final = FAILURES_TO_BREAK

COSTS: Final[dict[type[EdgewrightError], Cost]] = {
    # Anybody's runner may be killed once: by a person, or for the memory of a neighbour.
    RunnerCrashError: Cost(1, 1),
    # A model that nobody needs yet need not get a second chance.
    RunnerHangError: Cost(_ALL, 1),
    RunnerOutputError: Cost(_ALL, 1),
    RunnerMemoryError: Cost(_ALL, 1),
    RunnerSlowError: Cost(_ALL, 1),
    # What another runner of the same artifact would do just the same.
    RunnerShapeError: Cost(_ALL, _ALL),
    RuntimeLoadError: Cost(_ALL, _ALL),
    PlacementError: Cost(_ALL, _ALL),
    ConfidentialKeyError: Cost(_ALL, _ALL),
}
"""What each failure costs its model."""

_UNTRIED: Final = frozenset({Phase.LOADING, Phase.CANDIDATE, Phase.SHADOWING, Phase.WAITING})


class Course(NamedTuple):
    """What is done while the model may still be good, and once it is broken."""

    at_first: Reaction
    broken: Reaction


COURSES: Final[dict[Phase, Course]] = {
    Phase.LOADING: Course(Reaction.REPLACE, Reaction.REFUSE_LOAD),
    Phase.SHADOWING: Course(Reaction.REPLACE, Reaction.END_SHADOW),
    Phase.WAITING: Course(Reaction.REPLACE, Reaction.GIVE_UP),
    Phase.WARM: Course(Reaction.REPLACE, Reaction.REPLACE),
    Phase.CANDIDATE: Course(Reaction.REPLACE, Reaction.REPLACE),
    Phase.PROBATION: Course(Reaction.REPLACE, Reaction.GIVE_UP),
    Phase.ACTIVE: Course(Reaction.REPLACE, Reaction.GIVE_UP_FOR_ANOTHER),
}
"""What a failure means for a slot, by where it stands. An empty slot has no runner."""

RUNNER_ERRORS: Final[dict[int, type[EdgewrightError]]] = {kind.number: kind for kind in COSTS}
"""What a runner may say of itself; another number is a defect of its own."""


def runner_error(number: int, detail: str) -> EdgewrightError:
    """The error that a runner names by its number.

    >>> runner_error(57, "2 x 3").name
    'RunnerShape'
    """
    return RUNNER_ERRORS.get(number, DeviceError)(detail)


def cost_of(failure: EdgewrightError, phase: Phase) -> int:
    """What a failure costs the model of a slot.

    >>> cost_of(RunnerOutputError(), Phase.SHADOWING), cost_of(RunnerOutputError(), Phase.ACTIVE)
    (3, 1)
    """
    cost = COSTS.get(type(failure), Cost(1, 1))
    return cost.untried if phase in _UNTRIED else cost.tried


def react(phase: Phase, *, broken: bool, another: bool) -> Reaction:
    """What becomes of a slot.

    Args:
        phase: where it stands.
        broken: whether its model's failures have cost too much.
        another: whether the stand-in is another model.

    >>> react(Phase.ACTIVE, broken=True, another=False)
    <Reaction.REPLACE: 'replace'>
    """
    reaction = COURSES[phase].broken if broken else COURSES[phase].at_first
    if reaction is Reaction.GIVE_UP_FOR_ANOTHER:
        return Reaction.GIVE_UP if another else Reaction.REPLACE
    return reaction
