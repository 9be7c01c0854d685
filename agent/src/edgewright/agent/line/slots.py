"""The two slots of a line, as one literal table.

A slot goes through these phases; only one slot is on probation or active at a time::

    empty -> loading -> candidate -> shadowing -> candidate -> waiting -> probation -> active
                |                                                             |         |
                +-----> warm <------------------------------------ displaced -+---------+

- ``warm`` is a model that may stand in for the active one and that the line goes back to: one that was active
  before, or one that was loaded as such (the last good model after a restart) and never shadowed.
- A candidate decides nothing before its swap.
- ``waiting`` ends at a tick that the machine calls safe.
- With a supervisor that is gone goes what it had ordered and what had not happened yet: shadowing, waiting.
- A move that the table does not list raises and changes nothing.
"""

from enum import StrEnum
from typing import Final

from edgewright.agent.control import SlotName
from edgewright.wire.errors import IllegalTransitionError


class Phase(StrEnum):
    """Where a slot stands."""

    EMPTY = "empty"
    LOADING = "loading"
    WARM = "warm"
    SHADOWING = "shadowing"
    CANDIDATE = "candidate"
    WAITING = "waiting"
    PROBATION = "probation"
    ACTIVE = "active"


class Move(StrEnum):
    """What moves a slot: orders of the supervisor, and what happens to the slot."""

    LOAD = "load"
    LOADED = "loaded"
    STAND_BY = "stand-by"
    SHADOW = "shadow"
    SHADOWED = "shadowed"
    SWAP = "swap"
    TAKE_OVER = "take-over"
    PROVEN = "proven"
    DISPLACED = "displaced"
    RESTORED = "restored"
    CALLED_OFF = "called-off"
    EMPTIED = "emptied"


TABLE: Final[dict[Phase, dict[Move, Phase]]] = {
    Phase.EMPTY: {Move.LOAD: Phase.LOADING, Move.EMPTIED: Phase.EMPTY},
    Phase.LOADING: {
        Move.LOAD: Phase.LOADING,
        Move.LOADED: Phase.CANDIDATE,
        Move.STAND_BY: Phase.WARM,
        Move.EMPTIED: Phase.EMPTY,
    },
    Phase.WARM: {
        Move.LOAD: Phase.LOADING,
        Move.SHADOW: Phase.SHADOWING,
        Move.SWAP: Phase.WAITING,
        Move.RESTORED: Phase.ACTIVE,
        Move.EMPTIED: Phase.EMPTY,
    },
    Phase.SHADOWING: {
        Move.LOAD: Phase.LOADING,
        Move.SHADOWED: Phase.CANDIDATE,
        Move.CALLED_OFF: Phase.CANDIDATE,
        Move.STAND_BY: Phase.WARM,
        Move.EMPTIED: Phase.EMPTY,
    },
    Phase.CANDIDATE: {
        Move.LOAD: Phase.LOADING,
        Move.SHADOW: Phase.SHADOWING,
        Move.SWAP: Phase.WAITING,
        Move.EMPTIED: Phase.EMPTY,
    },
    Phase.WAITING: {
        Move.LOAD: Phase.LOADING,
        Move.TAKE_OVER: Phase.PROBATION,
        Move.CALLED_OFF: Phase.CANDIDATE,
        Move.STAND_BY: Phase.WARM,
        Move.EMPTIED: Phase.EMPTY,
    },
    Phase.PROBATION: {
        Move.PROVEN: Phase.ACTIVE,
        Move.DISPLACED: Phase.WARM,
        Move.EMPTIED: Phase.EMPTY,
    },
    Phase.ACTIVE: {Move.DISPLACED: Phase.WARM, Move.EMPTIED: Phase.EMPTY},
}

DECIDING: Final = frozenset({Phase.PROBATION, Phase.ACTIVE})


def other(slot: SlotName) -> SlotName:
    """The slot beside this one."""
    return "b" if slot == "a" else "a"


class Slots:
    """Phases of both slots."""

    def __init__(self) -> None:
        self._phases: dict[SlotName, Phase] = {"a": Phase.EMPTY, "b": Phase.EMPTY}

    def phase(self, slot: SlotName) -> Phase:
        """Where the slot stands."""
        return self._phases[slot]

    @property
    def active(self) -> SlotName | None:
        """The slot that decides."""
        return next((slot for slot, phase in self._phases.items() if phase in DECIDING), None)

    @property
    def stand_in(self) -> SlotName | None:
        """The slot that decides where the active one cannot, and that the line goes back to."""
        return next((slot for slot, phase in self._phases.items() if phase is Phase.WARM), None)

    def move(self, slot: SlotName, move: Move) -> Phase:
        """Move one slot.

        Raises:
            IllegalTransitionError: the table does not list the move for the slot's phase.
        """
        phase = self._phases[slot]
        try:
            self._phases[slot] = TABLE[phase][move]
        except KeyError:
            raise IllegalTransitionError(f"Slot {slot} is {phase} and cannot take {move}.") from None
        return self._phases[slot]

    def take_over(self, slot: SlotName) -> None:
        """Swap: the waiting slot decides, on probation; the one that decided before stays warm.

        Raises:
            IllegalTransitionError: the slot does not wait for a swap.
        """
        before = self.active
        self.move(slot, Move.TAKE_OVER)
        if before is not None:
            self.move(before, Move.DISPLACED)

    def give_up(self, slot: SlotName) -> SlotName | None:
        """Empty a slot that broke; where it decided, the stand-in decides from now on.

        Returns:
            The slot that decides now, None for the fallback.
        """
        decided = self._phases[slot] in DECIDING
        self.move(slot, Move.EMPTIED)
        if decided and (successor := self.stand_in) is not None:
            self.move(successor, Move.RESTORED)
        return self.active
