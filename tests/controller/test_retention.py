"""Which versions stay on the broker: the table, reason by reason, and the plan that follows."""

import random

import pytest

from edgewright.controller.retention import (
    GRACE_S,
    KEEPS,
    ROLLBACK_VERSIONS,
    Plan,
    Standing,
    decide,
    live_versions,
)

MODEL = "packing"
NOW = 1e9
REASONS: dict[str, dict[str, int]] = {
    "a device runs it": {"running": 1},
    "a device is assigned it": {"assigned": 1},
    "a rollout of it has not ended": {"rollouts": 1},
    "a rollout under way may send devices back to it": {"ways_back": 1},
    "late joiners get it": {"is_champion": True},
    "it can be rolled back to": {"rank": ROLLBACK_VERSIONS - 1},
    "it is the newest": {"newest": True},
}


def standing(version: int = 1, **said: float | None) -> Standing:
    """A version of which nothing speaks but what is said."""
    return Standing(MODEL, version, **said)  # type: ignore[arg-type]  # as the test says


def test_every_reason_has_its_example() -> None:
    """The table has the seven reasons, each once."""
    assert [reason for reason, _ in KEEPS] == list(REASONS)


@pytest.mark.parametrize("reason", REASONS)
def test_a_reason_keeps_a_version(reason: str) -> None:
    """Each reason alone keeps a version, however long it was idle, and a withdrawn one is kept by none."""
    kept = standing(**REASONS[reason])
    assert live_versions([kept]) == {(MODEL, 1): reason}
    plan = decide([standing(idle_since=1.0, **REASONS[reason])], NOW)
    assert plan == Plan((), (), ((MODEL, 1),))
    assert live_versions([standing(withdrawn=True, **REASONS[reason])]) == {}


def test_what_nothing_needs_is_retired_after_its_grace() -> None:
    """A version becomes idle, is left alone for the grace time, and is retired once."""
    assert decide([standing(rank=ROLLBACK_VERSIONS)], NOW) == Plan(((MODEL, 1),), (), ())
    idle = standing(rank=ROLLBACK_VERSIONS, idle_since=NOW)
    assert decide([idle], NOW + GRACE_S - 1) == Plan((), (), ())
    assert decide([idle], NOW + GRACE_S) == Plan((), ((MODEL, 1),), ())
    retired = standing(idle_since=NOW, is_retired=True)
    assert decide([retired], NOW + 2 * GRACE_S) == Plan((), (), ())


def test_a_withdrawn_version_has_no_grace() -> None:
    """What no device may install any more is retired in the step that sees it."""
    assert decide([standing(withdrawn=True)], NOW) == Plan(((MODEL, 1),), ((MODEL, 1),), ())


def test_a_version_in_use_is_never_retired() -> None:
    """Of 2,000 random fleets no plan retires a version that a device runs or is assigned, nor brings back
    one that nothing needs.
    """
    draw = random.Random(22)
    for _ in range(2000):
        versions = [
            standing(
                number,
                withdrawn=draw.random() < 0.1,
                running=draw.choice((0, 0, 3)),
                assigned=draw.choice((0, 0, 2)),
                rollouts=draw.choice((0, 0, 0, 1)),
                rank=draw.choice((None, 0, 2, 5)),
                idle_since=draw.choice((0.0, NOW - 10, NOW - 10 * GRACE_S)),
            )
            for number in range(1, 6)
        ]
        plan = decide(versions, NOW)
        for each in versions:
            in_use = (each.running or each.assigned or each.rollouts) and not each.withdrawn
            assert not (in_use and each.key in plan.retire)
            assert (each.key in plan.back) <= (each.key in live_versions(versions))
            assert not {each.key} & set(plan.retire) & set(plan.back)
