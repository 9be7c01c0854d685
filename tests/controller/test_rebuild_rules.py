"""The decisions of a rebuild: states, dataset, the ladder's gate, one at a time; no process, no engine."""

from pathlib import Path

import pytest

from edgewright.controller.database import select
from edgewright.controller.database.engine import Database
from edgewright.controller.database.evidencetables import Rebuild
from edgewright.controller.database.tables import Event, ModelVersion, Sample
from edgewright.controller.errors import UnknownModelError
from edgewright.controller.evidence.paired import Pairs
from edgewright.controller.rebuild.dataset import NEW_LABEL_ITEMS, part_of, snapshot
from edgewright.controller.rebuild.ladder import Measured, judge
from edgewright.controller.rebuild.orders import Asked, Trigger, move, queue_rebuild
from edgewright.controller.rebuild.states import IN_FLIGHT, TRANSITIONS, RebuildState, advance

BY_ADA = Asked(Trigger.PERSON, "Ada")


def harm(alarm: int) -> Asked:
    """An alarm that asks."""
    return Asked(Trigger.HARM, alarm=alarm, from_version=3)


def sample(i: int, truth: str) -> Sample:
    """One labelled item."""
    return Sample(
        device="r1",
        item=f"i{i}",
        taken_at=float(i),
        model="m",
        version=1,
        label="a",
        confidence=0.5,
        truth=truth,
        reason="random",
        probability=0.1,
        image_sha256=f"{i:064d}",
    )


@pytest.fixture
def db(tmp_path: Path) -> Database:
    """A database with one version that is ready."""
    database = Database.in_folder(tmp_path)
    database.create()
    with database.session() as session:
        session.add(ModelVersion(model="m", version=3, state="ready", source="push", created_at=1.0))
    return database


def test_every_state_that_is_no_end_can_fail_and_no_end_goes_on() -> None:
    """From each state in flight a rebuild can end as failed, and ends lead nowhere."""
    for state, following in TRANSITIONS.items():
        assert (RebuildState.FAILED in following) == (state in IN_FLIGHT)
    assert {state for state, following in TRANSITIONS.items() if not following} == {
        RebuildState.DONE,
        RebuildState.FAILED,
        RebuildState.REFUSED,
        RebuildState.CANCELLED,
    }


def test_a_move_outside_the_table_changes_nothing(db: Database) -> None:
    """An illegal move raises and leaves the row as it was; the same state again is no move."""
    with db.session() as session:
        rebuild = queue_rebuild(session, "m", "a person.", BY_ADA)
        with pytest.raises(ValueError, match="queued cannot become signing"):
            move(session, rebuild, RebuildState.SIGNING, "no")
        assert rebuild.state == RebuildState.QUEUED
    assert advance(RebuildState.GATING, RebuildState.GATING) is RebuildState.GATING


def test_one_rebuild_of_a_model_at_a_time(db: Database) -> None:
    """Whoever asks while one is under way gets its number; after its end there is a new one."""
    with db.session() as session:
        first = queue_rebuild(session, "m", "an alarm.", harm(7))
        assert queue_rebuild(session, "m", "a person.", BY_ADA) is first
        move(session, first, RebuildState.FAILED, "no")
        assert queue_rebuild(session, "m", "told again.", harm(7)) is first
        second = queue_rebuild(session, "m", "an alarm.", harm(8))
        assert second.id != first.id
    with db.reading() as session:
        kinds = session.exec(select(Event.kind)).all()
    assert kinds == ["rebuild.queued", "rebuild.failed", "rebuild.queued"]


def test_a_rebuild_needs_a_version_that_is_ready(db: Database) -> None:
    """A model without a ready version is refused by name, and nothing is queued."""
    with db.session() as session:
        with pytest.raises(UnknownModelError, match="other has no version"):
            queue_rebuild(session, "other", "a person.", BY_ADA)
        assert session.exec(select(Rebuild)).all() == []


def test_an_item_is_on_one_side_for_ever() -> None:
    """The split does not depend on the dataset, and about four of ten items judge."""
    sides = [part_of("r1", f"i{i}") for i in range(1000)]
    assert sides == [part_of("r1", f"i{i}") for i in range(1000)]
    assert 350 < sides.count("gate") < 450


def test_new_classes_become_labels_when_enough_items_have_them() -> None:
    """Known labels keep their order, new ones follow by name, rare ones are left out and counted."""
    truths = ["b"] * 30 + ["zip"] * NEW_LABEL_ITEMS + ["bag"] * 40 + ["rare"] * (NEW_LABEL_ITEMS - 1)
    chosen = snapshot([sample(i, truth) for i, truth in enumerate(truths)], ("b", "a"))
    assert chosen.labels == ("b", "a", "bag", "zip")
    assert chosen.left_out == {"rare": NEW_LABEL_ITEMS - 1}
    assert len(chosen.fit) + len(chosen.gate) == 30 + NEW_LABEL_ITEMS + 40
    assert not {item.image_sha256 for item in chosen.fit} & {item.image_sha256 for item in chosen.gate}


@pytest.mark.parametrize(
    ("fresh", "after", "passed", "said"),
    [
        (Pairs(25, 2, 63), 362, True, "Better on 90 fresh items by 26 points"),
        (Pairs(3, 2, 85), 362, False, "Not shown to be better"),
        (Pairs(2, 25, 63), 362, False, "Not shown to be better"),
        (Pairs(25, 2, 63), 340, False, "6.0 points lost on 400 old frames, more than 3."),
        (Pairs(0, 0, 0), 364, False, "0 fresh items"),
    ],
)
def test_a_candidate_has_to_be_better_now_and_to_forget_nothing(
    fresh: Pairs, after: int, passed: bool, said: str
) -> None:
    """Better by chance, worse, forgetful or unseen candidates are refused, with the numbers."""
    verdict = judge(Measured(fresh, 400, 364, after), margin=0.02, alpha=0.025)
    assert verdict.passed is passed
    assert said in verdict.sentence
