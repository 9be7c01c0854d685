"""What is killed when: pure plans, drawn from a seed.

Each run rolls one release out and kills. Most plans aim at a state of the deployment and strike at a random
moment in it; the others strike at any moment. Stories whose release ends otherwise than committed are there
so that every state of the table is struck at; after them a good version is assigned.
"""

from enum import StrEnum
from random import Random
from typing import Final, NamedTuple

from edgewright.wire.deployment import State


class Story(StrEnum):
    """What is rolled out."""

    PLAIN = "plain"
    PATCH = "patch"
    NEWER = "newer"
    """Another version is assigned while this one is on its way."""
    WRONG_GOLDEN = "wrong golden"
    LIE = "lie"
    """The two signers name different lengths."""
    NAN = "nan"
    """In its probation the model answers with NaN."""
    STOP = "stop"


class Victim(StrEnum):
    """Whom SIGKILL hits."""

    POWER = "power"
    """All processes."""
    SUPERVISOR = "supervisor"
    LINE = "line"
    VERIFIER = "verifier"
    RUNNER = "runner"
    QUALIFICATION = "qualification"


class Plan(NamedTuple):
    """One run.

    Attributes:
        aim: the state to strike in; None for any moment.
        wait_s: how long after the state came about, or after the assignment, it is struck.
        again_s: how long after the restart the power is cut once more; 0 for not at all.
    """

    story: Story
    aim: State | None
    victim: Victim
    wait_s: float
    again_s: float


ENDINGS: Final = {
    Story.NEWER: State.SUPERSEDED,
    Story.WRONG_GOLDEN: State.FAILED,
    Story.LIE: State.REFUSED,
    Story.NAN: State.ROLLED_BACK,
    Story.STOP: State.STOPPED,
}

WITHIN_S: Final = {
    State.ASSIGNED: 0.05,
    State.FETCHING: 0.4,
    State.STAGED: 0.0,
    State.QUALIFYING: 0.8,
    State.SHADOWING: 0.4,
    State.WAITING_SAFE: 0.0,
    State.PROBATION: 0.15,
    State.COMMITTED: 0.5,
}
"""Up to how long a state lasts on a fast machine; those that pass in a moment are struck as they are seen."""

ANY_MOMENT_S: Final = 3.0
AGAIN_S: Final = 1.5
AGAIN_SHARE: Final = 0.3

_MOST_OFTEN: Final = (Victim.POWER, Victim.POWER, Victim.SUPERVISOR, Victim.LINE)
_VICTIMS: Final = {
    State.ASSIGNED: (*_MOST_OFTEN, Victim.VERIFIER, Victim.VERIFIER),
    State.FETCHING: (*_MOST_OFTEN, Victim.VERIFIER),
    State.QUALIFYING: (*_MOST_OFTEN, Victim.QUALIFICATION),
    State.SHADOWING: (*_MOST_OFTEN, Victim.RUNNER),
    State.WAITING_SAFE: (*_MOST_OFTEN, Victim.RUNNER),
    State.PROBATION: (*_MOST_OFTEN, Victim.RUNNER),
    State.COMMITTED: (*_MOST_OFTEN, Victim.RUNNER),
}


def plans(count: int, seed: int) -> list[Plan]:
    """So many runs: every state and every ending in turn, and every third at any moment.

    >>> drawn = plans(39, 1)
    >>> {plan.aim for plan in drawn} == {None, *State}
    True
    """
    random = Random(seed)
    turns = [*((Story.PLAIN, state) for state in WITHIN_S), *ENDINGS.items()]
    drawn = []
    for number in range(count):
        if number % 3 == 2:
            story, aim = random.choice((Story.PLAIN, Story.PATCH)), None
        else:
            story, aim = turns[(number - number // 3) % len(turns)]
        if story is Story.PLAIN and random.random() < 1 / 3:
            story = Story.PATCH
        drawn.append(_plan(random, story, aim))
    return drawn


def _plan(random: Random, story: Story, aim: State | None) -> Plan:
    victim = random.choice(_VICTIMS.get(aim, _MOST_OFTEN) if aim else tuple(Victim))
    wait = random.random() * (ANY_MOMENT_S if aim is None else WITHIN_S.get(aim, 0.0))
    again = random.random() * AGAIN_S if random.random() < AGAIN_SHARE else 0.0
    return Plan(story, aim, victim, wait, again)
