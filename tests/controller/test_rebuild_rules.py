"""The decisions of a rebuild: states, dataset, the ladder's gate, one at a time; no process, no engine."""

from pathlib import Path

import numpy as np
import pytest

from edgewright.controller.compiler.frames import read_frames, write_frames
from edgewright.controller.database import select
from edgewright.controller.database.engine import Database
from edgewright.controller.database.evidencetables import Rebuild
from edgewright.controller.database.tables import Device, Event, ModelVersion
from edgewright.controller.errors import ModelTomlError, RebuildStateError, UnknownModelError
from edgewright.controller.evidence.paired import Pairs
from edgewright.controller.model_toml import RebuildPart
from edgewright.controller.rebuild.asking import Due, Facts, Standing, due
from edgewright.controller.rebuild.calendar import verify_schedule
from edgewright.controller.rebuild.dataset import (
    NEW_LABEL_ITEMS,
    Gathered,
    Item,
    part_of,
    share_out,
    snapshot,
)
from edgewright.controller.rebuild.frame_files import extend_frames
from edgewright.controller.rebuild.ladder import ClassCounts, Measured, judge
from edgewright.controller.rebuild.orders import (
    approve,
    cancel,
    expired,
    move,
    queue_rebuild,
    verify_base,
)
from edgewright.controller.rebuild.policy import DAY_S, Change, Past, hold, lacks_evidence, why_a_person
from edgewright.controller.rebuild.states import IN_FLIGHT, TRANSITIONS, RebuildState, advance
from edgewright.controller.rebuild.trigger import Asked, Trigger
from tests.controller.colour_model import png

BY_ADA = Asked(Trigger.PERSON, "Ada")


def harm(alarm: int) -> Asked:
    """An alarm that asks."""
    return Asked(Trigger.HARM, alarm=alarm, from_version=3)


def item(i: int, truth: str, device: str = "r1", source: str = "line") -> Item:
    """One labelled item."""
    return Item(device, f"i{i}", truth, source, f"{i:064d}")


def gathered(*items: Item) -> Gathered:
    """Items of which no source was set aside."""
    return Gathered(items, {})


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
    chosen = snapshot(
        gathered(*(item(i, truth) for i, truth in enumerate(truths))), ("b", "a"), RebuildPart()
    )
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


def test_a_class_may_not_be_given_up_for_the_others() -> None:
    """A candidate that keeps its points over all but loses one class is refused, and the class is named."""
    classes = {"a": ClassCounts(50, 48, 30), "b": ClassCounts(350, 314, 330), "c": ClassCounts(5, 5, 0)}
    verdict = judge(Measured(Pairs(25, 2, 63), 405, 367, 360, classes), margin=0.02, alpha=0.025)
    assert not verdict.passed
    assert "a alone lost 36, more than 20." in verdict.sentence


def test_one_robot_of_several_supplies_its_share_at_most() -> None:
    """The newest of a talkative robot stay, up to its share; below what a rebuild needs its share is told."""
    items = snapshot(
        gathered(*(item(i, "a", "r1" if i % 10 else "r2") for i in range(600))), ("a", "b"), RebuildPart()
    )
    assert items.one_device == "r1"  # some 36 of the other robot would be too few to learn from
    assert len(items.fit) == round(0.6 * RebuildPart().minimum_samples)
    assert items.trimmed["r1"] > 200
    fit, left_out, above = share_out(items.fit, 0.6, 0)
    assert above == ""
    assert max(sum(i.device == device for i in fit) for device in ("r1", "r2")) <= 0.6 * len(fit)
    assert [i.image_sha256 for i in fit if i.device == "r1"] == [
        i.image_sha256 for i in items.fit if i.device == "r1"
    ][left_out["r1"] :]


def test_one_robot_cannot_outvote_the_others_in_the_gate() -> None:
    """A robot that tells ninety-five in a hundred frames has half of those that judge; a few more is told."""
    for others, above in ((20, ""), (4, "liar")):
        told = [item(i, "a", "liar") for i in range(1900)]
        told += [item(i, "a", f"r{robot}") for robot in range(5) for i in range(others)]
        judges = snapshot(gathered(*told), ("a", "b"), RebuildPart())
        share = sum(i.device == "liar" for i in judges.gate) / len(judges.gate)
        assert (share > 0.5) == bool(above)
        assert judges.one_device == above
    two = [item(i, "a", "r1" if i % 9 < 5 else "r2") for i in range(200)]
    assert snapshot(gathered(*two), ("a", "b"), RebuildPart(), robots=2).one_device == ""


def test_the_only_robot_that_tells_is_not_the_only_robot() -> None:
    """Where nobody else of a fleet tells anything, a person approves; a robot that is alone needs nobody."""
    told = gathered(*(item(i, "a", "r1") for i in range(300)))
    assert [snapshot(told, ("a", "b"), RebuildPart(), robots=n).one_device for n in (1, 2)] == ["", "r1"]
    trusting = RebuildPart(most_device_share=1.0)
    assert snapshot(told, ("a", "b"), trusting, robots=2).one_device == ""


@pytest.mark.parametrize("form", ["frames", "pictures"])
def test_a_file_of_frames_takes_each_picture_once_and_stays_bounded(tmp_path: Path, form: str) -> None:
    """The same pictures again add nothing, a corrected label counts, and a large file is thinned evenly."""
    rng = np.random.default_rng(3)
    frames = [rng.integers(0, 255, (8, 8, 3), np.uint8) for _ in range(9)]
    pictures, path = [png(frame) for frame in frames], tmp_path / "holdout.npz"
    if form == "frames":
        np.savez_compressed(path, frames=np.stack(frames[:2]), labels=np.array(["a", "b"]))
    else:
        path.write_bytes(write_frames(pictures[:2], ["a", "b"]))
    for label in ("c", "c", "d"):
        path.write_bytes(extend_frames(path, [(picture, label) for picture in pictures[1:5]]))
    assert read_frames(path).labels == ("a", "d", "d", "d", "d")
    path.write_bytes(extend_frames(path, [(picture, "e") for picture in pictures[5:]], most=6))
    assert read_frames(path).labels == ("a", "d", "d", "d", "e", "e")


def test_where_enough_were_audited_they_alone_judge() -> None:
    """Sixty audited items in the gate part judge without the others; fewer judge beside them."""
    audits = [item(i, "a", source="audit") for i in range(200)]
    others = [item(i, "b") for i in range(200, 400)]
    rules = RebuildPart(minimum_audited=60)
    assert {i.source for i in snapshot(gathered(*audits, *others), ("a", "b"), rules).gate} == {"audit"}
    few = snapshot(gathered(*audits[:50], *others), ("a", "b"), rules)
    assert {i.source for i in few.gate} == {"audit", "line"}
    assert 0 < few.audited < 60


@pytest.mark.parametrize(
    ("rules", "change", "said"),
    [
        (RebuildPart(), Change(2, 60, 0.021), ""),
        (RebuildPart(), Change(0, 0, 0.06), ""),
        (RebuildPart(), Change(0, 59, 0.05), "59 audited frames judged it, not 60"),
        (RebuildPart(), Change(3, 60, 0.5), "3 new classes, more than 2"),
        (RebuildPart(), Change(0, 60, 0.5, "r7"), "r7 supplied most"),
        (RebuildPart(), Change(0, 60, 0.5, forgets=True), "do their labels still hold?"),
        (RebuildPart(approval="person"), Change(0, 60, 0.5), "leaves it to a person"),
    ],
)
def test_what_is_out_of_the_ordinary_waits_for_a_person(
    rules: RebuildPart, change: Change, said: str
) -> None:
    """Within the limits a version goes to the line by itself; beyond any of them the reason is given."""
    why = why_a_person(rules, change)
    assert said in why
    assert bool(said) == bool(why)


def test_more_frames_are_collected_before_a_person_is_asked() -> None:
    """Only where nothing but evidence is missing do more frames help; otherwise a person is needed anyway."""
    thin = Change(1, 0, 0.046)
    assert lacks_evidence(RebuildPart(), thin)
    assert not lacks_evidence(RebuildPart(), Change(1, 0, 0.051))
    assert not lacks_evidence(RebuildPart(), Change(3, 0, 0.046))
    assert not lacks_evidence(RebuildPart(), Change(1, 0, 0.046, "r7"))
    assert not lacks_evidence(RebuildPart(approval="person"), thin)


def test_cooldown_and_budget_hold_all_but_a_person() -> None:
    """Within the cooldown, and after as many as a day may have, everything waits except a person."""
    rules, now = RebuildPart(cooldown_s=600.0, most_per_day=3), 10 * DAY_S
    tired = Past(last_end=now - 1.0, begun=())
    full = Past(last_end=now - 1000.0, begun=(now - 5000.0, now - 4000.0, now - 3000.0, now - 2 * DAY_S))
    for trigger in Trigger:
        held = [hold(trigger, rules, past, now) for past in (tired, full)]
        assert [one is None for one in held] == [trigger is Trigger.PERSON] * 2
    assert (full_until := hold("harm", rules, full, now)) is not None
    assert full_until.until == now - 5000.0 + DAY_S
    assert hold("harm", rules, full, full_until.until) is None


def test_harm_goes_before_the_clock_and_nothing_is_asked_twice() -> None:
    """Each trigger asks when its facts say so, harm first; the same moment of the clock asks once."""
    day = 1_700_092_800.0  # midnight, UTC
    rules = RebuildPart(
        "r.py", ("a",), cooldown_s=600.0, automatic=True, schedule="0 3 * * *", new_samples=50
    )
    three = day + 3 * 3600.0
    facts = Facts(rules, version=2, since=day)
    assert due(facts, three - 1.0) is None
    assert due(facts, three) == Due(Trigger.SCHEDULE, "The schedule 0 3 * * * asks for it.")
    assert due(Facts(rules, 2, since=three), three + 3600.0) is None
    assert due(Facts(rules, 2, day, new_labelled=50), three) == Due(
        Trigger.DATA, "50 newly labelled frames have come."
    )
    standing = Standing(7, 1, "Blue is wrong.", ended_at=three)
    both = Facts(rules, 2, day, new_labelled=50, changed_recipe=3, standing=standing)
    assert (first := due(both, three)) is not None
    assert (first.trigger, first.from_version) == (Trigger.RECIPE, 3)
    assert (then := due(both, three + 600.0)) is not None
    assert (then.trigger, then.alarm, then.from_version) == (Trigger.HARM, 7, 1)


@pytest.mark.parametrize("text", ["every night", "0 3 * *", "0 3 * * * *", "61 3 * * *", "0 3 31 2 *"])
def test_what_is_no_schedule_is_refused_at_the_push(text: str) -> None:
    """A schedule has five fields that mean a moment; another is refused by name."""
    with pytest.raises(ModelTomlError, match=r"\[rebuild\] schedule"):
        verify_schedule(text)


def test_a_person_does_not_wait_behind_a_cooldown(db: Database) -> None:
    """Who asks while an alarm's rebuild is queued gets that one, and it is theirs from then on."""
    with db.session() as session:
        waiting = queue_rebuild(session, "m", "an alarm.", harm(7))
        assert queue_rebuild(session, "m", "a person.", BY_ADA) is waiting
        assert (waiting.trigger, waiting.asked_by, waiting.alarm) == ("person", "Ada", 7)


def test_a_rebuild_starts_from_what_most_devices_run(db: Database) -> None:
    """A newer version that no device runs, as after a stopped rollout, is no base for the next one."""
    with db.session() as session:
        session.add(ModelVersion(model="m", version=4, state="ready", source="rebuild", created_at=2.0))
        assert queue_rebuild(session, "m", "nobody runs anything.", BY_ADA).from_version == 4
        session.exec(select(Rebuild)).one().state = "cancelled"
        for i in range(3):
            session.add(
                Device(
                    id=f"r{i}",
                    target="t",
                    active_model="m",
                    active_version=3,
                    connected=True,
                    enrolled_at=1.0,
                )
            )
        session.flush()
        assert queue_rebuild(session, "m", "three run v3.", BY_ADA).from_version == 3


def test_a_rebuild_gives_way_to_what_people_roll_out_meanwhile(db: Database) -> None:
    """When most robots run a newer version than at its asking it is not approved; its own is no reason."""
    with db.session() as session:
        session.add(Device(id="r1", target="t", active_model="m", active_version=3, connected=True))
        for version in (4, 5):
            session.add(
                ModelVersion(model="m", version=version, state="ready", source="push", created_at=2.0)
            )
        session.flush()
        row = queue_rebuild(session, "m", "an alarm.", harm(7))
        row.new_version = 4
        for running, refused in ((3, False), (4, False), (5, True), (3, False)):
            session.get_one(Device, "r1").active_version = running
            session.flush()
            row.state = "waiting-approval"
            if refused:
                with pytest.raises(RebuildStateError, match="v5 runs meanwhile"):
                    approve(session, row.id or 0, "Ada")
            else:
                assert approve(session, row.id or 0, "Ada").state == "signing"
        row.state = "done"
        session.get_one(Device, "r1").active_version = 5
        session.flush()
        chosen = queue_rebuild(session, "m", "from an old one.", Asked(Trigger.PERSON, "Ada", from_version=3))
        verify_base(session, chosen)


def waiting_rebuild(since: float) -> Rebuild:
    """A rebuild of v3 whose v4 waits for a person since a time."""
    return Rebuild(
        model="m",
        from_version=3,
        cause="c",
        state=RebuildState.WAITING_APPROVAL,
        queued_at=1.0,
        new_version=4,
        gates={"waits_since": since},
    )


def test_a_person_approves_once_and_only_what_waits(db: Database) -> None:
    """Approving moves a waiting rebuild on and says who; again, or in another state, it is refused."""
    with db.session() as session:
        session.add(ModelVersion(model="m", version=4, state="building", source="rebuild", created_at=2.0))
        session.add(waiting_rebuild(1.0))
        row = approve(session, 1, "Ada")
        assert (row.state, row.approved_by, row.approved_at > 0) == ("signing", "Ada", True)
        with pytest.raises(RebuildStateError, match="is signing"):
            approve(session, 1, "Bob")
        with pytest.raises(RebuildStateError, match="no rebuild 9"):
            approve(session, 9, "Ada")


def test_what_nobody_approves_in_time_is_given_up(db: Database) -> None:
    """After its hours a waiting rebuild fails, its version is withdrawn, and the model is free.

    It is not cancelled: that is a person's word, after which an alarm does not ask again.
    """
    with db.session() as session:
        session.add(ModelVersion(model="m", version=4, state="building", source="rebuild", created_at=2.0))
        session.add(waiting_rebuild(1000.0))
        assert expired(session, lambda _row: 2.0, now=1000.0 + 2 * 3600.0 - 1.0) == []
        assert queue_rebuild(session, "m", "meanwhile.", BY_ADA).id == 1
        assert expired(session, lambda _row: 2.0, now=1000.0 + 2 * 3600.0) == [1]
        assert session.get_one(ModelVersion, ("m", 4)).state == "withdrawn"
        assert queue_rebuild(session, "m", "afterwards.", BY_ADA).id == 2
        with pytest.raises(RebuildStateError, match="is failed"):
            cancel(session, 1, "again.")
