"""Labels: each way of telling one has an outcome, and what a sample counts as follows from who told."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewright.controller import labels
from edgewright.controller.blobs import BlobStore
from edgewright.controller.database import Session, select
from edgewright.controller.database.engine import Database
from edgewright.controller.database.evidencetables import Label
from edgewright.controller.database.tables import Device, Sample
from edgewright.controller.errors import InvalidRequestError, UnknownModelError
from edgewright.controller.ingest.pictures import Pictures
from edgewright.controller.ingest.pruning import DAY_S, prune, prune_samples
from edgewright.controller.ingest.retention import Retention
from edgewright.controller.labels import AUDIT, Agreement, LabelOutcome, Told, Truth, effective_truth
from edgewright.wire import messages
from tests.controller.labelled_line import MODEL, OTHER, add_line, frame, picture


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """A transaction on a database with a model and two robots."""
    db = Database.in_folder(tmp_path)
    db.create()
    with db.session() as opened:
        add_line(opened)
        yield opened
    db.close()


def say(
    session: Session, item: str, truth: str, source: str = "scanner", *, at: float = 5.0, model: str = MODEL
) -> LabelOutcome:
    """Tell one label of robot-1."""
    return labels.tell(session, "robot-1", item, truth, source, "Mia (t1)", 1.0, at, model=model)


def stored(session: Session, item: str, source: str = "scanner") -> Label:
    """A label as it stands there."""
    session.expire_all()
    label = session.get(Label, ("robot-1", item, source))
    assert label is not None
    return label


def test_each_way_of_telling_has_its_outcome(session: Session) -> None:
    """A label joins, waits for its sample, is repeated without a trace, or replaces what was said before."""
    session.add(frame("a", label="boot"))
    session.flush()
    assert say(session, "a", "bag") is LabelOutcome.JOINED
    assert say(session, "a", "bag", at=9.0) is LabelOutcome.REPEATED
    assert (stored(session, "a").at, stored(session, "a").decided) == (5.0, "boot")
    assert say(session, "a", "shirt", at=9.0) is LabelOutcome.CHANGED
    assert (stored(session, "a").truth, stored(session, "a").version) == ("shirt", 1)
    assert say(session, "later", "bag") is LabelOutcome.UNKNOWN_ITEM
    assert (stored(session, "later").version, stored(session, "later").decided) == (0, "")


def test_one_batch_may_hold_an_item_twice(session: Session) -> None:
    """The second word of one list counts, and is answered as a change."""
    told = [Told("robot-1", "a", "bag"), Told("robot-1", "a", "boot"), Told("robot-1", "a", "boot")]
    answers = labels.tell_many(session, MODEL, told, source="mes", told_by="x", at=1.0)
    kinds = [LabelOutcome.UNKNOWN_ITEM, LabelOutcome.CHANGED, LabelOutcome.REPEATED]
    assert [answer.outcome for answer in answers] == kinds
    assert answers[1].before == "bag"
    assert stored(session, "a", "mes").truth == "boot"


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (Told("robot-1", "", "bag"), "no item"),
        (Told("robot-1", "a", ""), "no class"),
        (Told("robot-1", "a", "b\0"), "printable"),
        (Told("robot-1", "a", "b" * 257), "256 characters"),
        (Told("robot-1", "a", "bag", float("nan")), "from 0 to 1"),
        (Told("robot-1", "a", "bag", 1.5), "from 0 to 1"),
        (Told("nobody", "a", "bag"), "no device 'nobody'"),
        (Told("robot-1", "theirs", "bag"), "one of bottles"),
    ],
)
def test_what_cannot_be_taken_is_refused_alone(session: Session, told: Told, why: str) -> None:
    """A refused label says why, and its neighbour in the list is taken."""
    session.add(frame("theirs", model=OTHER))
    session.flush()
    good = Told("robot-2", "b", "bag")
    first, second = labels.tell_many(session, MODEL, [told, good], source="mes", told_by="x", at=1.0)
    assert why in first.refused
    assert second.outcome is LabelOutcome.UNKNOWN_ITEM


def test_names_that_are_none_are_refused(session: Session) -> None:
    """A label needs a model that is there and a source that may tell."""
    with pytest.raises(UnknownModelError):
        say(session, "a", "bag", model="nothing")
    for source in ("", "line", "a b", "-x", "x" * 65):
        with pytest.raises(InvalidRequestError):
            say(session, "a", "bag", source)


def test_a_label_waits_for_its_sample(session: Session, tmp_path: Path) -> None:
    """An earlier label learns version and decision when its sample comes; one of another model does not."""
    say(session, "late", "boot")
    say(session, "alien", "boot", model=OTHER)
    robot = session.get(Device, "robot-1")
    assert robot is not None
    pictures = Pictures(session, BlobStore(tmp_path / "blobs"), 8.0)
    for seq, item in enumerate(("late", "alien")):
        pictures.keep_sample(
            robot,
            messages.Sample(
                device="robot-1",
                stream="s",
                seq=seq,
                taken_at=7.0,
                item=item,
                tag="sku-4",
                model=MODEL,
                version=3,
                label="bag",
                confidence=0.4,
                truth=None,
                reason="random",
                probability=0.02,
                image=picture(1),
            ),
        )
    session.flush()
    late, alien = stored(session, "late"), stored(session, "alien")
    assert (late.version, late.decided, late.tag) == (3, "bag", "sku-4")
    assert (alien.version, alien.decided) == (0, "")


def test_labels_that_no_sample_joins_are_forgotten(session: Session) -> None:
    """After a week a label without a sample goes; a joined one stays."""
    session.add(frame("a"))
    session.flush()
    for item in ("a", "b"):
        say(session, item, "bag", "mes", at=0.0)
    prune(session, labels.UNJOINED_S - 1)
    assert len(session.exec(select(Label)).all()) == 2
    prune(session, labels.UNJOINED_S + 1)
    assert [row.item for row in session.exec(select(Label))] == ["a"]


def test_an_audit_needs_the_frame_and_keeps_its_chance(session: Session) -> None:
    """Who tells audits cannot invent frames or chances, nor overrule what another person saw."""
    session.add(frame("drawn"))
    session.add(frame("odd", "uncertain"))
    session.flush()
    for item, chance in (("drawn", 0.02), ("odd", 0.0)):
        say(session, item, "bag", AUDIT)
        assert stored(session, item, AUDIT).probability == chance
    assert say(session, "drawn", "boot", AUDIT) is LabelOutcome.CHANGED
    with pytest.raises(InvalidRequestError, match="no such frame"):
        say(session, "never", "bag", AUDIT)
    with pytest.raises(InvalidRequestError, match="has labelled this frame meanwhile"):
        labels.tell(session, "robot-1", "drawn", "coat", AUDIT, "Bo (t2)", 1.0, 9.0, model=MODEL)
    assert stored(session, "drawn", AUDIT).truth == "boot"


def test_a_frame_of_any_name_can_be_labelled(session: Session) -> None:
    """A person can answer every frame that is shown, whatever its name; lists hold printable names only."""
    session.add(frame("a\u200b"))
    session.flush()
    assert say(session, "a\u200b", "bag", AUDIT) is LabelOutcome.JOINED
    with pytest.raises(InvalidRequestError, match="printable"):
        say(session, "b\u200b", "bag")


def told(**by_source: str) -> list[Label]:
    """Labels of one item."""
    return [
        Label(device="d", item="i", source=source, model="m", version=1, truth=truth, at=1.0)
        for source, truth in by_source.items()
    ]


@pytest.mark.parametrize(
    ("line", "said", "set_aside", "proven", "wanted"),
    [
        ("bag", {}, (), (), Truth("bag", "line")),
        ("bag", {}, ("line",), (), None),
        ("", {}, (), (), None),
        ("bag", {"mes": "boot"}, (), (), Truth("bag", "line")),
        ("bag", {"mes": "boot"}, ("line",), (), Truth("boot", "mes")),
        ("bag", {"mes": "boot"}, (), ("mes",), Truth("boot", "mes")),
        ("bag", {"mes": "boot"}, (), ("mes", "line"), None),
        ("bag", {"mes": "boot", "audit": "coat"}, ("audit",), ("mes",), Truth("coat", "audit")),
        ("bag", {"audit": ""}, (), (), Truth("bag", "line")),
        ("", {"mes": "boot", "audit": ""}, (), (), Truth("boot", "mes")),
        ("", {"mes": "boot", "qa": "coat"}, (), (), None),
        ("", {"mes": "boot", "qa": "coat"}, (), ("qa",), Truth("coat", "qa")),
        ("", {"mes": "boot", "qa": "coat"}, ("qa",), (), Truth("boot", "mes")),
        ("", {"mes": "boot", "qa": "boot"}, (), (), Truth("boot", "mes, qa")),
    ],
)
def test_what_a_sample_counts_as(
    line: str, said: dict[str, str], set_aside: tuple[str, ...], proven: tuple[str, ...], wanted: Truth | None
) -> None:
    """A person outranks proven sources, these the line, and it the others; equals that disagree are none."""
    assert effective_truth(line, told(**said), set_aside, proven) == wanted


def test_a_source_that_told_the_line_is_believed_by_its_name(session: Session) -> None:
    """What a line was told counts as its source's word, and one that is set aside says nothing there."""
    assert effective_truth("bag", [], said_by="scanner") == Truth("bag", "scanner")
    assert effective_truth("bag", [], ["scanner"], said_by="scanner") is None
    assert effective_truth("bag", told(mes="boot"), (), ["scanner", "mes"], said_by="scanner") is None
    sample = frame("a", truth="bag")
    sample.source = "scanner"
    assert labels.effective_truths(session, [sample], ["scanner"]) == {}


def test_sources_are_held_against_what_people_saw(session: Session) -> None:
    """Agreement counts items of which both told, but for what a person could not tell and other models."""
    for item, truth in (("a", "bag"), ("b", "boot"), ("c", "bag"), ("d", "")):
        session.add(frame(item, truth="bag"))
        session.flush()
        say(session, item, truth, AUDIT)
    session.add(frame("x", model=OTHER, truth="bag"))
    session.flush()
    say(session, "x", "boot", AUDIT, model=OTHER)
    for item in ("a", "b", "unknown"):
        say(session, item, "boot", "mes")
    assert labels.source_agreement(session, MODEL, "line") == Agreement(2, 3)
    assert labels.source_agreement(session, MODEL, "mes") == Agreement(1, 2)
    assert labels.source_agreement(session, MODEL, "nobody") == Agreement(0, 0)
    assert labels.source_agreement(session, MODEL, "line", since=6.0) == Agreement(0, 0)
    assert [sample.item for sample, _ in labels.audited(session, MODEL, 1)] == ["a", "b", "c", "d"]
    assert labels.audited(session, MODEL, 2) == []


def test_contested_frames_condemn_no_source(session: Session) -> None:
    """Looks at frames that were chosen for being odd, contested ones among them, are no yardstick."""
    for i in range(60):
        session.add(frame(f"hard-{i}", "uncertain", truth="bag"))
        session.add(frame(f"drawn-{i}", truth="bag"))
        session.flush()
        for item, truth in ((f"hard-{i}", "boot"), (f"drawn-{i}", "bag")):
            say(session, item, truth, AUDIT)
            say(session, item, "bag", "mes")
    for source in ("line", "mes"):
        assert labels.source_agreement(session, MODEL, source) == Agreement(60, 60)
    assert all(verdict.trusted for verdict in labels.judged_sources(session, MODEL).values())


def test_an_unbiased_picture_has_random_frames_only(session: Session) -> None:
    """Looks at frames that were captured for something odd are left out where a share is wanted."""
    for item, reason in (("a", "random"), ("b", "uncertain")):
        session.add(frame(item, reason))
        session.flush()
        say(session, item, "bag", AUDIT)
    assert [sample.item for sample, _ in labels.audited(session, MODEL, random_only=True)] == ["a"]


def test_what_a_person_labelled_outlives_its_time(session: Session, tmp_path: Path) -> None:
    """Age does not take a labelled frame; want of room takes it when no other frame is left."""
    blobs = BlobStore(tmp_path / "blobs")
    for item in ("a", "b"):
        session.add(frame(item, taken_at=1.0, image_sha256=blobs.put(picture(ord(item)))))
        session.flush()
    say(session, "a", "bag", AUDIT)
    say(session, "b", "bag", "mes")
    now = 400 * DAY_S

    def left(kept: Retention) -> list[str]:
        prune_samples(session, blobs, now, kept)
        session.flush()
        return [sample.item for sample in session.exec(select(Sample))]

    assert left(Retention()) == ["a"]
    assert left(Retention()) == ["a"]
    assert stored(session, "b", "mes").version == 1
    assert left(Retention(samples_mb=0)) == []
