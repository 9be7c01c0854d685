"""What comes late, in any order, in pieces or not at all: it counts once and moves nothing back."""

import hashlib
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from edgewright.controller.blobs import BlobStore
from edgewright.controller.database import func, select
from edgewright.controller.database.engine import Database
from edgewright.controller.database.tables import (
    Device,
    Event,
    Loss,
    ModelVersion,
    Outcome,
    RolloutDevice,
    Rollup,
    Sample,
    SamplePiece,
    Window,
)
from edgewright.controller.ingest.bounds import PIECES
from edgewright.controller.ingest.fairqueue import FairQueue
from edgewright.controller.ingest.positions import LIVE_S
from edgewright.controller.ingest.pruning import DAY_S, PIECES_S, prune, prune_samples, prune_windows
from edgewright.controller.ingest.retention import Retention
from edgewright.wire import messages
from edgewright.wire.deployment import State
from edgewright.wire.messages import PIECE_BYTES
from tests.controller.test_ingest import HELLO, a_window, store, total

PNG = b"\x89PNG" + random.Random(3).randbytes(3 * PIECE_BYTES)
DIGEST = hashlib.sha256(PNG).hexdigest()


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """An empty database with the device r1."""
    database = Database.in_folder(tmp_path)
    database.create()
    with database.session() as session:
        session.add(Device(id="r1", target="t"))
        session.add(RolloutDevice(rollout=1, device="r1", wave=0, assignment_version=3))
    yield database
    database.close()


def a_report(seq: int, ordinal: int, state: State | None, **changes: object) -> messages.Report:
    """A report of version 5 under assignment 3."""
    report = messages.Report(
        device="r1",
        stream="s",
        seq=seq,
        ordinal=ordinal,
        sent_at=1.0,
        release=messages.Release("m", 5, "ab"),
        state=state,
        assignment_version=3,
    )
    return msgspec.structs.replace(report, **changes)


def a_sample(seq: int, item: str = "i", **changes: object) -> messages.Sample:
    """A sample whose picture has come in pieces."""
    sample = messages.Sample(
        device="r1",
        stream="s",
        seq=seq,
        taken_at=5.0,
        item=item,
        tag="",
        model="m",
        version=1,
        label="Bag",
        confidence=0.4,
        truth=None,
        reason="uncertain",
        probability=1.0,
        image=b"",
        image_sha256=DIGEST,
        image_bytes=len(PNG),
    )
    return msgspec.structs.replace(sample, **changes)


def pieces(first: int, picture: bytes = PNG) -> list[messages.Upward]:
    """A picture's pieces, numbered from ``first``."""
    digest = hashlib.sha256(picture).hexdigest()
    return [
        messages.Piece(
            device="r1",
            stream="s",
            seq=first + offset // PIECE_BYTES,
            sha256=digest,
            offset=offset,
            data=picture[offset : offset + PIECE_BYTES],
        )
        for offset in range(0, len(picture), PIECE_BYTES)
    ]


def test_any_order_with_repetitions_counts_each_window_once(db: Database, tmp_path: Path) -> None:
    """A hundred windows, shuffled within what a device may have on its way and sent thrice, count once."""
    rng = random.Random(12)
    sent = [a_window(seq) for seq in range(1, 101)] * 3
    rng.shuffle(sent)
    store(db, tmp_path, HELLO)
    acks: list[messages.Ack] = []
    while sent:
        batch, sent = sent[:17], sent[17:]
        acks, _ = store(db, tmp_path, *batch)
    assert acks == [messages.Ack(stream="s", through=100)]
    assert total(db, Window.frames) == total(db, Rollup.frames) / 3 == 1000
    assert total(db, Outcome.labelled) == 400


def test_an_older_report_that_comes_later_moves_nothing_back(db: Database, tmp_path: Path) -> None:
    """In any order the device and its rollout end at what happened last, and the commit ends the error."""
    told = [
        a_report(1, 1, State.FETCHING),
        a_report(2, 2, State.FAILED, error=42, name="Load"),
        a_report(3, 3, State.PROBATION, swap_gap_us=900),
        a_report(4, 4, State.COMMITTED),
    ]
    rng = random.Random(5)
    store(db, tmp_path, HELLO)
    rng.shuffle(told)
    assert [report.ordinal for report in told] != [1, 2, 3, 4]
    for report in told:
        store(db, tmp_path, report)
    with db.reading() as session:
        device = session.get_one(Device, "r1")
        part = session.get_one(RolloutDevice, (1, "r1"))
    assert (device.state, device.active_version, device.error) == ("committed", 5, 0)
    assert (part.state, part.swap_gap_us) == ("committed", 900)


def test_a_newer_error_stays_when_an_older_commit_comes(db: Database, tmp_path: Path) -> None:
    """An error that happened after the commit is told first, and the commit does not take it away."""
    store(db, tmp_path, HELLO, a_report(1, 9, None, error=45, name="RunnerCrashed"))
    store(db, tmp_path, a_report(2, 8, State.COMMITTED))
    with db.reading() as session:
        device = session.get_one(Device, "r1")
    assert (device.state, device.error) == ("committed", 45)


def test_another_outbox_counts_what_happened_anew(db: Database, tmp_path: Path) -> None:
    """After its disk was replaced a device's ordinals begin again, and its reports count."""
    store(db, tmp_path, HELLO, a_report(1, 900, State.FAILED, error=42))
    other = msgspec.structs.replace(HELLO, stream="s2", counter=1, sent_at=2.0)
    store(db, tmp_path, other, a_report(1, 1, State.COMMITTED, stream="s2"))
    store(db, tmp_path, a_report(2, 901, State.FAILED))
    with db.reading() as session:
        assert session.get_one(Device, "r1").state == "committed"
        assert session.get_one(RolloutDevice, (1, "r1")).state == "committed"


def test_the_past_is_stored_and_is_no_evidence_of_now(db: Database, tmp_path: Path) -> None:
    """After an outage the newest window is evidence, and those from long before it are in the charts only."""
    now, past = a_window(1, start=1e6), a_window(2, start=1e6 - LIVE_S - 60)
    _, batch = store(db, tmp_path, HELLO, now, past, now=1e6)
    assert batch.windows == [now]
    assert total(db, Window.frames) == 20
    with db.reading() as session:
        rows = session.exec(select(Window.ts, Window.is_past)).all()
    assert sorted(rows) == [(past.start, True), (now.start, False)]


def test_a_late_report_says_when_it_happened(db: Database, tmp_path: Path) -> None:
    """A report from long before the connection says so in its event."""
    greeting = msgspec.structs.replace(HELLO, sent_at=1e9)
    store(db, tmp_path, greeting, a_report(1, 1, State.COMMITTED, sent_at=1e9 - 3600))
    with db.reading() as session:
        assert any("2001-09-09 00:46" in event.sentence for event in session.exec(select(Event)).all())


def test_what_a_device_gave_up_is_a_row_and_an_event(db: Database, tmp_path: Path) -> None:
    """Kind, number and time of what was given up can be asked for; a filler is nothing."""
    lost = messages.Lost(
        device="r1",
        stream="s",
        seq=1,
        what="window",
        since=11400.0,
        until=11520.0,
        messages=12,
        frames=3600,
        why="The outbox was full.",
    )
    filler = msgspec.structs.replace(lost, seq=2, messages=0)
    acks, _ = store(db, tmp_path, HELLO, lost, filler)
    assert acks[0].through == 2
    with db.reading() as session:
        (row,) = session.exec(select(Loss)).all()
        sentences = [event.sentence for event in session.exec(select(Event)).all()]
    assert (row.what, row.messages, row.frames, row.until) == ("window", 12, 3600, 11520.0)
    told = "r1 gave up 12 windows between 1970-01-01 03:10 and 1970-01-01 03:12: The outbox was full."
    assert told in sentences


def test_a_picture_in_pieces_becomes_one_blob(db: Database, tmp_path: Path) -> None:
    """Pieces in any order, some twice, are the picture that the sample names, and leave no row behind."""
    sent = pieces(1)
    random.Random(1).shuffle(sent)
    store(db, tmp_path, HELLO, *sent, sent[0])
    assert total(db, func.length(SamplePiece.data)) == len(PNG)
    _, batch = store(db, tmp_path, a_sample(len(sent) + 1), a_sample(len(sent) + 2, "another"))
    assert batch.rejected == []
    with db.reading() as session:
        rows = session.exec(select(Sample)).all()
        assert session.exec(select(SamplePiece)).all() == []
    assert [(row.image_sha256, row.size) for row in rows] == [(DIGEST, len(PNG))] * 2
    assert BlobStore(tmp_path / "blobs").read(DIGEST) == PNG


@pytest.mark.parametrize("missing", [0, 1, 3])
def test_a_picture_that_is_not_whole_is_refused(db: Database, tmp_path: Path, missing: int) -> None:
    """A sample one of whose pieces never came is dropped, with its pieces, and holds nothing up."""
    sent = pieces(1)
    del sent[missing]
    store(db, tmp_path, HELLO, *sent)
    _, batch = store(db, tmp_path, a_sample(10), a_window(11))
    assert len(batch.rejected) == 1
    assert total(db, Window.frames) == 10
    with db.reading() as session:
        assert session.exec(select(SamplePiece)).all() == []


def test_a_device_cannot_show_what_it_has_not_sent(db: Database, tmp_path: Path) -> None:
    """A sample that names a blob of somebody else gets no picture."""
    BlobStore(tmp_path / "blobs").put(PNG)
    _, batch = store(db, tmp_path, HELLO, a_sample(1))
    assert len(batch.rejected) == 1


def test_pieces_without_end_are_bounded(db: Database, tmp_path: Path) -> None:
    """Of a device's pieces without a sample a bounded number is kept, at offsets that a picture has."""
    store(db, tmp_path, HELLO)
    piece = messages.Piece(device="r1", stream="s", seq=0, sha256="", offset=0, data=b"x")
    for start in range(1, PIECES + 60, 64):
        batch = [
            msgspec.structs.replace(piece, seq=seq, sha256=f"{seq:064x}") for seq in range(start, start + 64)
        ]
        store(db, tmp_path, *batch)
    assert total(db, func.length(SamplePiece.data)) == PIECES
    strange = msgspec.structs.replace(piece, seq=PIECES + 65, offset=7)
    _, found = store(db, tmp_path, strange)
    assert len(found.rejected) == 1


def test_old_windows_go_and_their_sums_stay(db: Database, tmp_path: Path) -> None:
    """Windows and outcomes beyond their days are deleted some at a time; charts keep the sums."""
    old = [a_window(seq, start=1000.0 + seq) for seq in range(1, 31)]
    store(db, tmp_path, HELLO, *old, a_window(31, start=40 * DAY_S), now=40 * DAY_S)
    steps = 0
    more = True
    while more:
        with db.session() as session:
            more = prune_windows(session, 40 * DAY_S + 1, Retention(windows_days=30), rows=10)
        steps += 1
    assert steps == 3
    assert (total(db, Window.frames), total(db, Outcome.labelled)) == (10, 4)
    assert total(db, Rollup.frames) == 3 * 310


def test_old_samples_go_with_the_pictures_that_nobody_needs(db: Database, tmp_path: Path) -> None:
    """By age and by bytes; a picture that another sample shows, or that was pushed with a model, stays."""
    blobs = BlobStore(tmp_path / "blobs")
    with db.session() as session:
        session.add(Device(id="r2", target="t"))
        pictures = [blobs.put(b"\x89PNG" + bytes([n]) * (2**20 - 4)) for n in range(4)]
        onnx = blobs.put(b"no picture")
        for number, digest in enumerate([*pictures, pictures[0], onnx]):
            session.add(
                Sample(
                    device="r1",
                    item=str(number),
                    taken_at=float(number) if number < 4 else 9.0 - number,
                    model="m",
                    version=1,
                    label="",
                    confidence=0.0,
                    reason="random",
                    probability=1.0,
                    image_sha256=digest,
                    size=2**20,
                )
            )
        pushed = {"frames/1.png": pictures[1]}
        session.add(
            ModelVersion(model="m", version=1, state="ready", source="push", created_at=0.0, files=pushed)
        )
    with db.session() as session:
        assert not prune_samples(session, blobs, 3.5, Retention(samples_days=10**6, samples_mb=4))
    with db.reading() as session:
        left = sorted(sample.item for sample in session.exec(select(Sample)).all())
    assert left == ["2", "3", "4", "5"]
    assert [blobs.has(digest) for digest in pictures] == [True, True, True, True]
    with db.session() as session:
        prune_samples(session, blobs, 4.5 + 10 * DAY_S, Retention(samples_days=10, samples_mb=100))
    assert [blobs.has(digest) for digest in pictures] == [True, True, False, False]
    assert blobs.has(onnx)


def test_pieces_that_wait_too_long_go(db: Database, tmp_path: Path) -> None:
    """Pieces whose sample does not come are deleted after a week."""
    store(db, tmp_path, HELLO, *pieces(1))
    with db.session() as session:
        prune(session, 1000.0 + PIECES_S + 1)
    with db.reading() as session:
        assert session.exec(select(SamplePiece)).all() == []


def test_a_device_with_a_month_gives_others_their_turn() -> None:
    """However much one sender has, another's message is in the next batch; who sends too much is refused."""
    waiting: FairQueue[str] = FairQueue(total=100, each=50, share=30)
    assert sum(waiting.put("back", f"old-{n}") for n in range(60)) == 50
    for device in range(10):
        assert waiting.put(f"live-{device}", "now")
    first, _ = waiting.take(20, 0.0)
    assert first.count("now") == 10
    assert [text for text in first if text != "now"] == [f"old-{n}" for n in range(10)]
    assert [len(waiting.take(40, 0.0)[0]) for _ in range(2)] == [30, 10]


def test_a_closed_queue_gives_out_what_it_has() -> None:
    """After the end everything that was put is taken, then the end is said, also to one that waits."""
    waiting: FairQueue[int] = FairQueue(total=10, each=10, share=10)
    for number in range(3):
        waiting.put("a", number)
    waiting.close()
    assert waiting.take(2, 0.0) == ([0, 1], False)
    assert waiting.take(2, 0.0) == ([2], True)
    empty: FairQueue[int] = FairQueue(total=10, each=10, share=10)
    threading.Timer(0.05, empty.close).start()
    assert empty.take(2, 5.0) == ([], True)
