"""Room in a full outbox: whatever waits, the quota holds, and what has a number stays what it is."""

import hashlib
import random
from pathlib import Path

import msgspec
import pytest

from edgewright.agent.outbox import HELD_MESSAGES
from edgewright.agent.outboxtable import Rank
from edgewright.agent.samplefiles import SampleFiles, hand_over
from edgewright.agent.windows import OVERLAP_SECONDS, follows
from edgewright.wire.errors import StorageFullError
from edgewright.wire.messages import MAX_IMAGE_BYTES, Account, Lost, Report, Sample, Sequenced
from tests.agent.test_outbox import ERROR, PICTURE, SAMPLE, WINDOW, a_window, answer, open_outbox, sent

MIB = 2**20
YEARS = 12 * 365 * 86400.0


def a_sample(second: float, image: bytes) -> Sample:
    """A telling sample of a picture."""
    return msgspec.structs.replace(SAMPLE, reason="uncertain", taken_at=second, image=image)


def on_disk(folder: Path) -> int:
    """Bytes of all pictures."""
    return sum(path.stat().st_size for path in (folder / "samples").iterdir())


def test_pictures_that_come_again_do_not_stop_making_room(tmp_path: Path) -> None:
    """A looping video of large frames keeps within the quota, on disk too, and costs no report."""
    rng = random.Random(1)
    frames = [rng.randbytes(MIB) for _ in range(5)]
    outbox = open_outbox(tmp_path, quota=8 * MIB)
    for second in range(25):
        outbox.put(a_sample(float(second), frames[second % 5]), float(second))
        outbox.put(ERROR, float(second))
        assert on_disk(tmp_path) <= 8 * MIB
    accounts = outbox.accounts
    assert accounts["report"] == Account(25, 25, 0)
    assert 5 <= accounts["sample"].waiting <= 8


def test_a_piece_that_was_sent_is_sent_again_as_it_was(tmp_path: Path) -> None:
    """A picture one of whose pieces has a number is kept while more telling ones overflow, and arrives."""
    outbox = open_outbox(tmp_path, quota=1_000_000)
    outbox.put(msgspec.structs.replace(SAMPLE, taken_at=0.0, image=PICTURE), 0.0)
    outbox.restart()
    first = outbox.due(0.0)
    outbox.lost_connection()
    for second in range(1, 40):
        outbox.put(a_sample(float(second), PICTURE[second:]), float(second))
    outbox = open_outbox(tmp_path, quota=1_000_000)
    outbox.restart()
    again = outbox.due(100.0)
    assert len(first) == 4
    assert set(first) <= set(again)
    answer(outbox, max(message.seq for message in sent(again)))
    arrived: list[float] = []
    for second in range(200, 300):
        batch = sent(outbox.due(float(second)))
        arrived += [message.taken_at for message in batch if isinstance(message, Sample)]
        answer(outbox, max((message.seq for message in batch), default=0))
    assert 0.0 in arrived


def test_new_pictures_do_not_leave_others_half_sent(tmp_path: Path) -> None:
    """On a link slower than the camera a picture that was begun goes on, so the quota holds on disk."""
    rng = random.Random(2)
    outbox = open_outbox(tmp_path, quota=2_000_000)
    arrived: list[Sequenced] = []
    for second in range(60):
        outbox.put(a_sample(float(second), rng.randbytes(240_000)), float(second))
        batch = sent(outbox.due(float(second)))
        arrived += batch
        answer(outbox, max((message.seq for message in arrived), default=0))
        assert on_disk(tmp_path) <= 2_000_000
    assert sum(isinstance(message, Sample) for message in arrived) > 15


def test_picture_of_a_sample_that_arrived_goes_with_its_last_row(tmp_path: Path) -> None:
    """Nothing is left in the folder once everything was acknowledged and forgotten."""
    outbox = open_outbox(tmp_path)
    for second in range(20):
        outbox.put(a_sample(float(second), PICTURE[second:]), 0.0)
    for second in range(60):
        batch = sent(outbox.due(float(second)))
        answer(outbox, max((message.seq for message in batch), default=0))
    assert outbox.waiting == 0
    for second in range(100, 170):
        outbox.put(a_window(float(second)), 0.0)
        batch = sent(outbox.due(float(second)))
        answer(outbox, max((message.seq for message in batch), default=0))
    outbox.put(ERROR, 0.0)
    assert list((tmp_path / "samples").iterdir()) == []


@pytest.mark.parametrize(("size", "quota"), [(MAX_IMAGE_BYTES + 1, 512 * MIB), (MIB // 8 + 1, MIB)])
@pytest.mark.parametrize("by_line", [False, True])
def test_too_large_a_picture_is_told_as_lost(tmp_path: Path, size: int, quota: int, by_line: bool) -> None:
    """A picture beyond the contract, or an eighth of the quota, leaves no file and no row."""
    outbox, image = open_outbox(tmp_path, quota), bytes(size)
    sample = a_sample(1.0, image)
    if by_line:
        digest = hand_over(tmp_path / "samples", image)
        sample = msgspec.structs.replace(sample, image=b"", image_sha256=digest)
    outbox.put(sample, 0.0)
    assert outbox.accounts == {"sample": Account(1, 0, 1)}
    assert [type(message) for message in sent(outbox.due(0.0))] == [Lost]
    assert [path.suffix for path in (tmp_path / "samples").iterdir()] == [".line"] * by_line


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    """A picture that the disk does not take is an error and no file."""
    files = SampleFiles(tmp_path)
    (tmp_path / hashlib.sha256(PICTURE).hexdigest()).mkdir()
    with pytest.raises(StorageFullError):
        files.keep(PICTURE)
    assert [path.is_dir() for path in tmp_path.iterdir()] == [True]


def test_windows_over_a_clock_that_was_set_back_stay_two() -> None:
    """A later window that began before the other ended by more than a correction is no neighbour."""
    ahead = a_window(YEARS)
    assert follows(a_window(0.0), a_window(5.0 - OVERLAP_SECONDS))
    assert not follows(ahead, a_window(5.0))
    assert not follows(a_window(0.0), ahead)


def test_windows_of_a_clock_that_was_ahead_are_merged_first(tmp_path: Path) -> None:
    """An hour of windows dated into the future keeps none of the others from being merged; none is lost."""
    outbox = open_outbox(tmp_path, quota=400_000)
    starts = [YEARS + 5.0 * n for n in range(200)] + [5.0 * n for n in range(3000)]
    with outbox._database.transaction():  # one commit, so that it takes a second
        for number, start in enumerate(starts):
            outbox.put(msgspec.structs.replace(WINDOW, start=start), 5.0 * number)
    assert outbox.accounts["window"].given_up == 0
    table = outbox._table  # how they are kept is what is asked
    rows = table.unsent(Rank.WINDOW, HELD_MESSAGES)
    assert sum(row.counted for row in rows) == len(starts)
    assert max(row.until - row.since for row in rows) < YEARS / 2


def test_a_month_that_waits_is_read_in_the_order_of_an_index(tmp_path: Path) -> None:
    """No question about what waits sorts all of it."""
    outbox = open_outbox(tmp_path, quota=60_000)
    asked: list[str] = []
    connection = outbox._database.connection  # its questions are what is looked at
    connection.set_trace_callback(asked.append)
    for second in range(300):
        report = Report(device="", stream="", seq=0, sent_at=float(second), name="Tested")
        outbox.put(report if second % 2 else a_window(float(second)), float(second))
    outbox.due(0.0)
    connection.set_trace_callback(None)
    queries = {query for query in asked if query.startswith("SELECT * FROM messages WHERE seq IS NULL")}
    plans = [connection.execute(f"EXPLAIN QUERY PLAN {query}").fetchall() for query in queries]
    assert len(plans) > 4
    assert not [plan for plan in plans if any("TEMP B-TREE" in row[-1] for row in plan)]
