"""The life of one candidate on one qualification device, as one literal table.

::

    waiting --published--> ordered --passed--> measured
       |                      |------broke---> failed
       |                      |-----unable---> unmeasured
       '------overdue---------+----overdue---> expired --passed, broke or unable--> as from ordered

A result that comes after the deadline still counts: it is what the device measured, and it was only late.
``unmeasured`` is the device's own trouble: it had no room, no runtime, or the files did not come whole. It
says as much of the candidate as no answer.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from edgewright.wire.errors import IllegalTransitionError


class QualificationState(StrEnum):
    """Where a candidate stands on a device."""

    WAITING = "waiting"
    ORDERED = "ordered"
    MEASURED = "measured"
    FAILED = "failed"
    UNMEASURED = "unmeasured"
    EXPIRED = "expired"


class QualificationEvent(StrEnum):
    """What happens to it."""

    PUBLISHED = "published"
    PASSED = "passed"
    BROKE = "broke"
    UNABLE = "unable"
    OVERDUE = "overdue"


_S, _E = QualificationState, QualificationEvent

TRANSITIONS: Final[Mapping[tuple[QualificationState, QualificationEvent], QualificationState]] = {
    (_S.WAITING, _E.PUBLISHED): _S.ORDERED,
    (_S.WAITING, _E.OVERDUE): _S.EXPIRED,
    (_S.ORDERED, _E.PASSED): _S.MEASURED,
    (_S.ORDERED, _E.BROKE): _S.FAILED,
    (_S.ORDERED, _E.UNABLE): _S.UNMEASURED,
    (_S.ORDERED, _E.OVERDUE): _S.EXPIRED,
    (_S.EXPIRED, _E.PASSED): _S.MEASURED,
    (_S.EXPIRED, _E.BROKE): _S.FAILED,
    (_S.EXPIRED, _E.UNABLE): _S.UNMEASURED,
}

OPEN: Final = frozenset({_S.WAITING, _S.ORDERED})
"""States that something is still to come of before the deadline."""


def advance(state: QualificationState, event: QualificationEvent) -> QualificationState:
    """The next state.

    Raises:
        IllegalTransitionError: the table does not list it.

    >>> advance(QualificationState.ORDERED, QualificationEvent.PASSED)
    <QualificationState.MEASURED: 'measured'>
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransitionError(f"A {state} candidate cannot become {event}.") from None
