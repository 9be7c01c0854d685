"""Messages become rows once."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgewright.controller.blobs import BlobStore
from edgewright.controller.database import col, func, select
from edgewright.controller.database.engine import Database
from edgewright.controller.database.tables import (
    Device,
    Event,
    Loss,
    Outcome,
    Position,
    RolloutDevice,
    Rollup,
    Sample,
    Window,
)
from edgewright.controller.ingest.batch import Batch
from edgewright.wire import messages
from edgewright.wire.deployment import State
from edgewright.wire.histograms import Histogram
from edgewright.wire.numbering import AHEAD

HELLO = messages.Hello(
    device="r1", agent_version="0.1.0", target="t", tags={"line": "a"}, runtime="x 1", sent_at=1.0, stream="s"
)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """An empty database with the device r1."""
    database = Database.in_folder(tmp_path)
    database.create()
    with database.session() as session:
        session.add(Device(id="r1", target="t"))
    yield database
    database.close()


def store(
    db: Database, tmp_path: Path, *sent: messages.Upward, now: float = 1000.0
) -> tuple[list[messages.Ack], Batch]:
    """Apply a batch as the writer does."""
    with db.session() as session:
        batch = Batch(session, BlobStore(tmp_path / "blobs"), now=now)
        for message in sent:
            batch.apply(message)
        acks = [ack for _, ack in batch.finish()]
    return acks, batch


def a_window(seq: int, **changes: object) -> messages.Window:
    """A window of ten frames, four of them labelled and one of those wrong."""
    confidence = Histogram("confidence")
    for _ in range(10):
        confidence.add(0.9)
    window = messages.Window(
        device="r1",
        stream="s",
        seq=seq,
        start=60.0 + seq,
        seconds=1.0,
        model="m",
        version=1,
        tag="",
        frames=10,
        by_source={"active": 9, "fallback": 1},
        causes={},
        classes={"Bag": 10},
        histograms={"confidence": confidence.pack()},
        outcomes=(messages.Outcomes(1, 4, 1),),
        truths={"Bag": (4, 1)},
    )
    return msgspec.structs.replace(window, **changes)


def total(db: Database, column: Any) -> int:
    """Sum of a column."""
    with db.reading() as session:
        return int(session.exec(select(func.coalesce(func.sum(column), 0))).one())


def test_a_window_counts_once_however_often_it_comes(db: Database, tmp_path: Path) -> None:
    """Repeated windows, in the same batch and in later ones, change no sum and are acknowledged again."""
    store(db, tmp_path, HELLO, a_window(1), a_window(1), a_window(2))
    acks, _ = store(db, tmp_path, a_window(1), a_window(2))
    assert acks == [messages.Ack(stream="s", through=2)]
    assert total(db, Window.frames) == 20
    assert total(db, Outcome.labelled) == 8
    with db.reading() as session:
        minute = session.exec(select(Rollup).where(col(Rollup.resolution) == 60)).one()
    assert (minute.windows, minute.frames, minute.fallback, minute.wrong) == (2, 20, 2, 2)
    assert minute.confidence_sum / minute.confidence_count == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize(
    "absurd",
    [
        {"start": float("nan")},
        {"start": float("inf")},
        {"frames": 2**63},
        {"by_source": {"fallback": 2**63}},
        {"outcomes": (messages.Outcomes(1, 2**63, 0),)},
    ],
)
def test_a_number_that_cannot_be_stored_holds_nothing_up(
    db: Database, tmp_path: Path, absurd: dict[str, Any]
) -> None:
    """A window with an absurd number is dropped and passed over; those around it are stored."""
    acks, batch = store(db, tmp_path, HELLO, a_window(1), a_window(2, **absurd), a_window(3))
    assert acks == [messages.Ack(stream="s", through=3)]
    assert total(db, Window.frames) == 20
    assert len(batch.rejected) == 1


def test_an_absurd_hello_is_dropped(db: Database, tmp_path: Path) -> None:
    """A hello whose numbers cannot be stored opens no stream and holds nothing up."""
    acks, batch = store(db, tmp_path, msgspec.structs.replace(HELLO, oldest=2**64), HELLO, a_window(1))
    assert acks == [messages.Ack(stream="s", through=1)]
    assert len(batch.rejected) == 1


def test_outcomes_of_one_version_are_added_up(db: Database, tmp_path: Path) -> None:
    """A window that tells of one version twice is stored as their sum."""
    twice = (messages.Outcomes(1, 4, 1), messages.Outcomes(1, 2, 2))
    store(db, tmp_path, HELLO, a_window(1, outcomes=twice))
    assert (total(db, Outcome.labelled), total(db, Outcome.wrong)) == (6, 3)


def test_a_message_beyond_a_gap_counts_and_the_gap_is_told(db: Database, tmp_path: Path) -> None:
    """A message after a lost one is stored; the acknowledgement says which one is missing."""
    acks, _ = store(db, tmp_path, HELLO, a_window(2))
    assert acks == [messages.Ack(stream="s", through=0, beyond=b"\x02")]
    acks, _ = store(db, tmp_path, a_window(1), a_window(2))
    assert acks == [messages.Ack(stream="s", through=2)]
    assert total(db, Window.frames) == 20


def test_a_message_too_far_ahead_is_not_taken(db: Database, tmp_path: Path) -> None:
    """What lies beyond the bitmap is neither stored nor acknowledged, so a stream needs sixteen bytes."""
    acks, _ = store(db, tmp_path, HELLO, a_window(AHEAD + 1), a_window(AHEAD))
    assert acks == [messages.Ack(stream="s", through=0, beyond=bytes(15) + b"\x80")]
    assert total(db, Window.frames) == 10


def test_a_hello_is_answered_by_its_counter(db: Database, tmp_path: Path) -> None:
    """Each hello gets an acknowledgement that names it, whether or not anything is stored."""
    acks, _ = store(db, tmp_path, msgspec.structs.replace(HELLO, counter=7))
    assert acks == [messages.Ack(stream="s", through=0, hello=7)]


def test_numbers_that_the_device_no_longer_holds_are_passed_over(db: Database, tmp_path: Path) -> None:
    """A controller that was restored waits for nothing that its device has forgotten; a row says how many."""
    store(db, tmp_path, HELLO, a_window(1))
    store(db, tmp_path, msgspec.structs.replace(HELLO, oldest=9), a_window(9))
    assert total(db, Window.frames) == 20
    with db.reading() as session:
        sentences = session.exec(select(Event.sentence)).all()
        (loss,) = session.exec(select(Loss)).all()
    assert any("7 messages of r1 are missing" in sentence for sentence in sentences)
    assert (loss.what, loss.messages) == ("message", 7)


def test_an_unreadable_window_does_not_hold_up_the_stream(db: Database, tmp_path: Path) -> None:
    """A window with a broken histogram is dropped and named, and the next one counts."""
    broken = a_window(1, histograms={"confidence": b"\xff"})
    _, batch = store(db, tmp_path, HELLO, broken, a_window(2))
    assert len(batch.rejected) == 1
    assert total(db, Window.frames) == 10
    with db.reading() as session:
        assert session.get_one(Position, ("r1", "s")).through == 2


def test_devices_that_are_not_enrolled_store_nothing(db: Database, tmp_path: Path) -> None:
    """Telemetry of an unknown device is dropped and the device is named."""
    stranger = msgspec.structs.replace(a_window(1), device="stranger")
    acks, batch = store(db, tmp_path, stranger)
    assert (acks, batch.unknown, total(db, Window.frames)) == ([], {"stranger"}, 0)


def test_reports_move_the_device_and_its_part_in_the_rollout(db: Database, tmp_path: Path) -> None:
    """A committed report sets version and state, and only the part with its assignment version follows."""
    with db.session() as session:
        session.add(RolloutDevice(rollout=1, device="r1", wave=0, assignment_version=3))
        session.add(RolloutDevice(rollout=2, device="r1", wave=0, assignment_version=4))
    report = messages.Report(
        device="r1",
        stream="s",
        seq=1,
        sent_at=1.0,
        release=messages.Release("m", 5, "ab"),
        state=State.COMMITTED,
        assignment_version=4,
        swap_gap_us=900,
    )
    store(db, tmp_path, HELLO, report)
    with db.reading() as session:
        device = session.get(Device, "r1")
        parts = {p.rollout: (p.state, p.swap_gap_us) for p in session.exec(select(RolloutDevice)).all()}
    assert device is not None
    assert (device.active_model, device.active_version, device.state) == ("m", 5, "committed")
    assert parts == {1: ("", 0), 2: ("committed", 900)}


def test_a_sample_is_stored_with_its_picture_and_takes_its_label_later(db: Database, tmp_path: Path) -> None:
    """The picture is a blob, and a second message of the same item only adds the truth and who told it."""
    sample = messages.Sample(
        device="r1",
        stream="s",
        seq=1,
        taken_at=5.0,
        item="r1-1",
        tag="",
        model="m",
        version=1,
        label="Bag",
        confidence=0.4,
        truth=None,
        reason="uncertain",
        probability=1.0,
        image=b"\x89PNG...",
    )
    labelled = msgspec.structs.replace(sample, seq=2, truth="Coat", source="scanner")
    store(db, tmp_path, HELLO, sample, labelled)
    with db.reading() as session:
        row = session.exec(select(Sample)).one()
    assert (row.truth, row.source, row.label) == ("Coat", "scanner", "Bag")
    assert BlobStore(tmp_path / "blobs").read(row.image_sha256) == sample.image


def test_an_old_protocol_is_refused_by_name(db: Database, tmp_path: Path) -> None:
    """A hello of another protocol changes no row and is rejected with the remedy."""
    _, batch = store(db, tmp_path, msgspec.structs.replace(HELLO, protocol=99))
    assert "protocol 99" in str(batch.rejected[0])
    with db.reading() as session:
        assert session.get_one(Device, "r1").agent_version == ""
