from itertools import product
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright.agent.line.slots import DECIDING, TABLE, Move, Phase, Slots
from edgewright.wire.errors import IllegalTransitionError

SlotName = Literal["a", "b"]


def _moved(slots: Slots, slot: SlotName, *moves: Move) -> Slots:
    for move in moves:
        slots.move(slot, move)
    return slots


def _running(slot: SlotName = "a") -> Slots:
    slots = _moved(Slots(), slot, Move.LOAD, Move.LOADED, Move.SWAP)
    slots.take_over(slot)
    return _moved(slots, slot, Move.PROVEN)


def test_a_swap_keeps_the_old_model_warm() -> None:
    """After a take-over the new slot decides on probation and the old one stands in."""
    slots = _moved(_running(), "b", Move.LOAD, Move.LOADED, Move.SHADOW, Move.SHADOWED, Move.SWAP)
    slots.take_over("b")
    assert (slots.active, slots.stand_in) == ("b", "a")
    assert slots.phase("b") is Phase.PROBATION


def test_a_broken_slot_gives_way_to_the_stand_in() -> None:
    """Giving up the active slot empties it and makes the warm one active at once."""
    slots = _moved(_running(), "b", Move.LOAD, Move.LOADED, Move.SWAP)
    slots.take_over("b")
    assert slots.give_up("b") == "a"
    assert slots.phase("a") is Phase.ACTIVE
    assert slots.phase("b") is Phase.EMPTY


@pytest.mark.parametrize("moves", [(), (Move.SHADOW,), (Move.SHADOW, Move.SHADOWED)])
def test_a_candidate_decides_nothing(moves: tuple[Move, ...]) -> None:
    """Before, while and after it is shadowed, a candidate neither stands in nor follows a broken model."""
    slots = _moved(_running(), "b", Move.LOAD, Move.LOADED, *moves)
    assert slots.stand_in is None
    assert slots.give_up("a") is None


def test_a_model_loaded_as_good_stands_in() -> None:
    """The last good model, loaded again after a restart, follows a broken active one."""
    slots = _moved(_running(), "b", Move.LOAD, Move.STAND_BY)
    assert slots.stand_in == "b"
    assert slots.give_up("a") == "b"


def test_a_broken_candidate_leaves_the_active_model_alone() -> None:
    """Giving up a slot that only waits for its swap changes nothing for the one that decides."""
    slots = _moved(_running(), "b", Move.LOAD, Move.LOADED, Move.SWAP)
    assert slots.give_up("b") == "a"
    assert slots.phase("a") is Phase.ACTIVE


@pytest.mark.parametrize(("phase", "move"), list(product(Phase, Move)))
def test_unlisted_moves_change_nothing(phase: Phase, move: Move) -> None:
    """Each pair of phase and move is either in the table or refused without effect."""
    slots = Slots()
    slots._phases["a"] = phase
    if move in TABLE[phase]:
        assert slots.move("a", move) is TABLE[phase][move]
    else:
        with pytest.raises(IllegalTransitionError):
            slots.move("a", move)
        assert slots.phase("a") is phase


@settings(derandomize=True, max_examples=300)
@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.sampled_from([*Move, "take-over", "give-up"]))))
def test_at_most_one_slot_decides(steps: list[tuple[SlotName, Move | str]]) -> None:
    """Whatever the supervisor orders and whatever breaks, never two slots decide."""
    slots = Slots()
    for slot, step in steps:
        try:
            if step == "take-over":
                slots.take_over(slot)
            elif step == "give-up":
                slots.give_up(slot)
            elif step not in {Move.TAKE_OVER, Move.RESTORED}:
                slots.move(slot, Move(step))
        except IllegalTransitionError:
            continue
        assert sum(slots.phase(name) in DECIDING for name in ("a", "b")) <= 1
