"""Wrong clocks, names that come twice and pictures that stay half do no harm to what is right."""

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from edgewright.controller.blobs import BlobStore
from edgewright.controller.database import col, func, select
from edgewright.controller.database.engine import Database
from edgewright.controller.database.tables import Device, Rollup, Sample, SamplePiece, Window
from edgewright.controller.ingest.bounds import CLOCK_S, PIECES
from edgewright.controller.ingest.pruning import DAY_S, prune_samples, prune_windows
from edgewright.controller.ingest.retention import Retention
from edgewright.wire import messages
from tests.controller.test_ingest import HELLO, a_window, store, total
from tests.controller.test_ingest_late import PNG, a_sample, pieces

NOW = 1.8e9
AHEAD = NOW + 12 * 365 * DAY_S


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """An empty database with two devices."""
    database = Database.in_folder(tmp_path)
    database.create()
    with database.session() as session:
        session.add(Device(id="r1", target="t"))
        session.add(Device(id="r2", target="t"))
    yield database
    database.close()


def a_frame(seq: int, item: str, **changes: object) -> messages.Sample:
    """A sample with its picture."""
    image = b"\x89PNG" + item.encode() + str(seq).encode()
    return msgspec.structs.replace(a_sample(seq, item), image=image, image_sha256="", **changes)


def test_a_clock_that_was_ahead_silences_nothing_when_it_is_right(db: Database, tmp_path: Path) -> None:
    """Windows that begin or end twelve years ahead are evidence, and so are the right ones after them."""
    wrong = [a_window(2, start=AHEAD), a_window(3, start=NOW, seconds=AHEAD - NOW)]
    _, batch = store(db, tmp_path, HELLO, a_window(1, start=NOW), *wrong, now=NOW)
    assert len(batch.windows) == 3
    right = [a_window(seq, start=NOW + seq) for seq in range(4, 60)]
    _, batch = store(db, tmp_path, *right, now=NOW + 60)
    assert batch.windows == right


def test_windows_of_the_future_are_charted_when_they_came_and_pruned(db: Database, tmp_path: Path) -> None:
    """No row and no sum lies in a future that nobody has seen, and none stays for ever."""
    store(db, tmp_path, HELLO, a_window(1, start=AHEAD), now=NOW)
    with db.reading() as session:
        assert session.exec(select(func.max(Window.ts))).one() == NOW + CLOCK_S
        assert session.exec(select(func.max(Rollup.bucket))).one() <= NOW + CLOCK_S
    with db.session() as session:
        prune_windows(session, NOW + 31 * DAY_S, Retention(windows_days=30))
    assert total(db, Window.frames) == 0


def test_samples_go_in_the_order_in_which_they_came(db: Database, tmp_path: Path) -> None:
    """Dated into the future, a device's own samples go before what another sent later; and by age too."""
    ahead = [a_frame(seq, f"ahead-{seq}", taken_at=AHEAD) for seq in range(1, 4)]
    store(db, tmp_path, HELLO, *ahead, now=NOW)
    hello = msgspec.structs.replace(HELLO, device="r2", stream="s2")
    honest = [
        a_frame(seq, f"right-{seq}", taken_at=NOW - 60, device="r2", stream="s2") for seq in range(1, 4)
    ]
    store(db, tmp_path, hello, *honest, now=NOW + 1)
    with db.session() as session:
        for row in session.exec(select(Sample)).all():
            row.size = 2**20
    blobs = BlobStore(tmp_path / "blobs")
    with db.session() as session:
        prune_samples(session, blobs, NOW + 2, Retention(samples_mb=4))
    with db.reading() as session:
        left = session.exec(select(Sample).order_by(col(Sample.at), col(Sample.item))).all()
    assert [row.item for row in left] == ["ahead-3", "right-1", "right-2", "right-3"]
    assert left[0].taken_at == NOW + CLOCK_S
    with db.session() as session:
        prune_samples(session, blobs, NOW + 181 * DAY_S, Retention())
    assert total(db, Sample.size) == 0


@pytest.mark.parametrize("taken_at", [NOW - DAY_S, NOW, AHEAD])
def test_a_truth_is_written_to_its_own_frame_only(db: Database, tmp_path: Path, taken_at: float) -> None:
    """Another frame under the same name changes nothing; the truth of the first is taken, days later too."""
    monday = a_frame(1, "latest.png", taken_at=taken_at, truth=None)
    tuesday = a_frame(2, "latest.png", taken_at=NOW + 60, truth="Shirt")
    store(db, tmp_path, HELLO, monday, now=NOW)
    _, batch = store(db, tmp_path, tuesday, now=NOW + DAY_S)
    assert len(batch.rejected) == 1
    with db.reading() as session:
        assert session.exec(select(Sample)).one().truth == ""
    _, batch = store(db, tmp_path, msgspec.structs.replace(monday, seq=3, truth="Bag"), now=NOW + 2 * DAY_S)
    assert batch.rejected == []
    with db.reading() as session:
        row = session.exec(select(Sample)).one()
    assert row.truth == "Bag"
    assert BlobStore(tmp_path / "blobs").read(row.image_sha256) == monday.image


def test_a_truth_with_its_picture_again_leaves_no_pieces(db: Database, tmp_path: Path) -> None:
    """The pieces of a picture that is here already do not wait for anything."""
    store(db, tmp_path, HELLO, *pieces(1), a_sample(10))
    store(db, tmp_path, *pieces(11), a_sample(20, truth="Coat"))
    with db.reading() as session:
        assert session.exec(select(SamplePiece)).all() == []
        assert session.exec(select(Sample)).one().truth == "Coat"


def test_half_pictures_give_way_to_whole_ones(db: Database, tmp_path: Path) -> None:
    """A device with as many pieces as are kept still gets a picture through; the oldest half goes first."""
    store(db, tmp_path, HELLO)
    orphan = messages.Piece(device="r1", stream="s", seq=0, sha256="", offset=0, data=b"x")
    for start in range(1, PIECES + 1, 64):
        seqs = range(start, start + 64)
        store(
            db,
            tmp_path,
            *(msgspec.structs.replace(orphan, seq=seq, sha256=f"{seq:064x}") for seq in seqs),
            now=NOW + start,
        )
    whole = PNG + random.Random(7).randbytes(1000)
    digest = hashlib.sha256(whole).hexdigest()
    sent = pieces(PIECES + 1, whole)
    sample = a_sample(PIECES + 1 + len(sent), image_sha256=digest, image_bytes=len(whole))
    _, batch = store(db, tmp_path, *sent, sample, now=NOW + DAY_S)
    assert batch.rejected == []
    assert BlobStore(tmp_path / "blobs").read(digest) == whole
    with db.reading() as session:
        left = session.exec(select(SamplePiece.sha256)).all()
    assert min(left) == f"{len(sent) + 1:064x}"
    assert len(left) == PIECES - len(sent)
