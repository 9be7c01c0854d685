"""When a device stops trying: pure decisions over counters that the journal keeps.

What a breaker counts ends the process that counts it, or repeats over many of its lives. So a counter is
written down before the act that may end everything, never after it.

- **Reboot loop**: the agent, or the whole device, starts again and again without having been stopped, while a
  model is new. The model may be why: at the third such start the last good one decides instead. A candidate
  decides nothing yet, so it gets five; while its code runs, it is the only suspect. A start that finds its
  line alive does not count: what ended the agent was not a model. Where there is nothing to go back to, the
  model stays, because a site without steady power must not need a person; each start then waits longer
  before the model is loaded, so that a newer assignment reaches a device that its model takes down.
- **Error loop**: one step of one deployment fails again and again in the same way. What the network is to
  blame for does not count: that is waited for.
- **Line loop**: the line dies with the same model in its hands.
- **State limit**: a state lasts longer than anything honest in it can. The line ends shadowing and probation
  by itself; this is for a line that does not.

A stable time resets what was counted. The counters need no clock: a device that starts in 1970 has them too.

>>> [reboot_loop(State.PROBATION, starts) for starts in (1, 2, 3)]
[False, False, True]
>>> [loading_pause(starts) for starts in (3, 4, 5, 6, 20)]
[0.0, 5.0, 10.0, 20.0, 300.0]
>>> overdue(State.SHADOWING, 60.0), overdue(State.SHADOWING, 7 * 3600.0), overdue(State.FETCHING, 1e9)
(False, True, False)
"""

from typing import Final

from edgewright.wire.deployment import State

STABLE_SECONDS: Final = 300.0
"""A new model that has decided so long without a restart is no longer new. Watchdogs of boards bite within
one to two minutes; a leak that takes longer than this to end a process is the runner's breaker's matter."""

STARTS_TO_END: Final[dict[State, int]] = {
    State.QUALIFYING: 5,
    State.SHADOWING: 5,
    State.WAITING_SAFE: 5,
}
"""Starts after an end that nobody ordered, while a candidate stood in this state."""

DECIDING_STARTS_TO_END: Final = 3
"""The same for a new model that decides, whatever its deployment is called: a first one that was superseded
on probation decides too. U-Boot's usual ``bootlimit`` is 3; a factory's mains fail too, so one or two prove
nothing."""

FREE_STARTS: Final = 3
"""Starts before the pauses of a model that nothing stands beside begin."""

FIRST_PAUSE_SECONDS: Final = 5.0
LONGEST_PAUSE_SECONDS: Final = 300.0

ERRORS_TO_END: Final = 5
"""Failures of one step with one error; with the pauses between them half a minute and more."""

LINE_ENDS_TO_END: Final = 3
"""Ends of the line with the same model in its hands."""

LONGEST_SECONDS: Final[dict[State, float]] = {
    State.QUALIFYING: 3600.0,
    State.SHADOWING: 6 * 3600.0,
    State.WAITING_SAFE: 24 * 3600.0,
    State.PROBATION: 24 * 3600.0,
}
"""How long a deployment may stand in a state in one life of the agent. The others wait for the network, for
which a device may wait months."""

ORDER_SECONDS: Final = 120.0
"""A line that has not answered a Load for so long never will; a large model on a slow board takes half."""


def reboot_loop(state: State, starts: int) -> bool:
    """Whether so many starts are a loop, of a candidate or of what decides.

    >>> reboot_loop(State.SHADOWING, 4), reboot_loop(State.SUPERSEDED, 3)
    (False, True)
    """
    return starts >= STARTS_TO_END.get(state, DECIDING_STARTS_TO_END)


def loading_pause(starts: int) -> float:
    """Seconds before a new model with nothing beside it is loaded, after so many starts."""
    if starts <= FREE_STARTS:
        return 0.0
    doublings = min(starts - FREE_STARTS - 1, 10)
    return min(FIRST_PAUSE_SECONDS * 2.0**doublings, LONGEST_PAUSE_SECONDS)


def error_loop(failures: int) -> bool:
    """Whether a step has failed too often in one way."""
    return failures >= ERRORS_TO_END


def line_loop(ends: int, *, new: bool, way_back: bool) -> bool:
    """Whether a model is given up because lines die with it.

    A model that has long been good and has nothing beside it is kept: between its deaths a line answers every
    frame with the fallback, and what kills it may pass.

    >>> line_loop(3, new=False, way_back=False), line_loop(3, new=True, way_back=False)
    (False, True)
    """
    return ends >= LINE_ENDS_TO_END and (new or way_back)


def overdue(state: State, seconds: float) -> bool:
    """Whether a state has lasted too long."""
    return state in LONGEST_SECONDS and seconds > LONGEST_SECONDS[state]
