"""Store and forward: the newest and most telling first, nothing lost before its acknowledgement, bounded."""

import itertools
import random
import sqlite3
from pathlib import Path

import msgspec
import pytest

from edgewright.agent.database import Database
from edgewright.agent.flight import FIRST_ROOM
from edgewright.agent.outbox import Outbox
from edgewright.agent.samplefiles import SampleFiles, hand_over
from edgewright.wire import messages, topics
from edgewright.wire.messages import Account, Ack, Lost, Piece, Report, Sample, Sequenced, Window
from edgewright.wire.numbering import AHEAD

REPORT = Report(device="", stream="", seq=0, sent_at=1.0, name="Tested")
ERROR = msgspec.structs.replace(REPORT, error=45, name="RunnerCrashed")
SAMPLE = Sample(
    device="",
    stream="",
    seq=0,
    taken_at=1.0,
    item="i",
    tag="",
    model="m",
    version=1,
    label="Bag",
    confidence=0.5,
    truth=None,
    reason="random",
    probability=0.01,
    image=bytes(10_000),
)
WINDOW = Window(
    device="",
    stream="",
    seq=0,
    start=1.0,
    seconds=5.0,
    model="m",
    version=1,
    tag="",
    frames=1,
    by_source={"active": 1},
    causes={},
    classes={"Bag": 1},
    histograms={},
    outcomes=(),
    truths={},
)
PICTURE = random.Random(4).randbytes(100_000)


def open_outbox(folder: Path, quota: int = 64 * 2**20) -> Outbox:
    """An outbox over a file."""
    return Outbox(Database(folder / "agent.db"), "robot-1", SampleFiles(folder / "samples"), quota)


def a_window(start: float) -> Window:
    """A window that begins then."""
    return msgspec.structs.replace(WINDOW, start=start)


def sent(batch: list[tuple[str, bytes]]) -> list[Sequenced]:
    """Published messages."""
    decoded = [messages.decode_up(payload) for _, payload in batch]
    return [message for message in decoded if isinstance(message, Sequenced)]


def numbers(batch: list[tuple[str, bytes]]) -> list[int]:
    """Their numbers."""
    return [message.seq for message in sent(batch)]


def answer(outbox: Outbox, through: int, **more: object) -> None:
    """An acknowledgement of this outbox's stream."""
    outbox.acknowledge(msgspec.structs.replace(Ack(stream=outbox.stream, through=through), **more), 0.0)


def test_numbers_count_from_one_over_restarts(tmp_path: Path) -> None:
    """Numbers go on without a gap, in the same stream, when the agent restarts."""
    first = open_outbox(tmp_path)
    first.put(REPORT, 0.0)
    assert numbers(first.due(0.0)) == [1]
    first.put(WINDOW, 0.0)
    second = open_outbox(tmp_path)
    second.put(SAMPLE, 0.0)
    batch = second.due(0.0)
    assert sorted(numbers(batch)) == [1, 2, 3]
    assert second.stream == first.stream
    assert {topic for topic, _ in batch} == {
        topics.up("robot-1", kind) for kind in ("report", "window", "sample")
    }


def test_number_is_not_used_again_after_everything_was_acknowledged(tmp_path: Path) -> None:
    """An outbox in which nothing waits goes on counting after a restart."""
    first = open_outbox(tmp_path)
    first.put(REPORT, 0.0)
    first.due(0.0)
    answer(first, 1)
    assert first.waiting == 0
    second = open_outbox(tmp_path)
    second.put(REPORT, 0.0)
    second.greeted(1, 0.0)
    answer(second, 1, hello=1)
    assert numbers(second.due(0.0)) == [2]


def test_after_an_outage_errors_go_first_then_the_newest(tmp_path: Path) -> None:
    """Errors, other reports, windows, telling samples, others: each kind from its newest to its oldest."""
    outbox = open_outbox(tmp_path)
    for second in range(3):
        outbox.put(msgspec.structs.replace(SAMPLE, reason="uncertain", taken_at=float(second)), 0.0)
        outbox.put(msgspec.structs.replace(SAMPLE, taken_at=float(second)), 0.0)
        outbox.put(a_window(float(second)), 0.0)
        outbox.put(msgspec.structs.replace(ERROR, sent_at=float(second)), 0.0)
        outbox.put(msgspec.structs.replace(REPORT, sent_at=float(second)), 0.0)
    told = sent(outbox.due(0.0))
    assert [message.sent_at for message in told if isinstance(message, Report)] == [2, 1, 0, 2, 1, 0]
    assert [message.start for message in told if isinstance(message, Window)] == [2, 1, 0]
    assert [type(message) for message in told] == [Report] * 6 + [Window] * 3 + [Sample] * 4
    assert [message.taken_at for message in told if isinstance(message, Sample)] == [2, 1, 0, 2]
    assert [message.seq for message in told] == list(range(1, 14))


def test_what_happens_now_overtakes_the_past(tmp_path: Path) -> None:
    """While a backlog is on its way a new error and a new window are sent at once."""
    outbox = open_outbox(tmp_path)
    for second in range(1000):
        outbox.put(a_window(float(second)), 0.0)
    backlog = outbox.due(0.0)
    assert len(backlog) == FIRST_ROOM
    outbox.put(ERROR, 0.0)
    assert [type(message) for message in sent(outbox.due(0.1))] == [Report]
    answer(outbox, 1)
    outbox.put(a_window(5000.0), 0.0)
    first = sent(outbox.due(0.2))[0]
    assert isinstance(first, Window)
    assert first.start == 5000.0


def test_never_more_numbers_than_the_controller_takes(tmp_path: Path) -> None:
    """Without an acknowledgement the numbers stay within what the controller's bitmap holds."""
    outbox = open_outbox(tmp_path)
    highest = 0
    for second in range(300):
        outbox.put(a_window(float(second)), 0.0)
        outbox.put(ERROR, 0.0)
        highest = max([highest, *numbers(outbox.due(float(second)))])
    assert highest == AHEAD
    assert numbers(outbox.due(1e6)) != []


def test_sends_again_what_is_missing_with_growing_pauses(tmp_path: Path) -> None:
    """Without progress what has no acknowledgement goes out again, each time later."""
    outbox = open_outbox(tmp_path)
    for _ in range(3):
        outbox.put(REPORT, 0.0)
    outbox.due(0.0)
    answer(outbox, 1)
    times = [second for second in range(200) if sorted(numbers(outbox.due(float(second)))) == [2, 3]]
    assert times[0] == 5
    assert [later - earlier for earlier, later in itertools.pairwise(times)] == [10, 20, 40, 60, 60]


def test_only_what_is_missing_goes_again(tmp_path: Path) -> None:
    """A message that others have overtaken is sent again after a second, and only that one."""
    outbox = open_outbox(tmp_path)
    for _ in range(6):
        outbox.put(REPORT, 0.0)
    outbox.due(0.0)
    outbox.acknowledge(Ack(stream=outbox.stream, through=2, beyond=b"\x0e"), 0.5)
    assert numbers(outbox.due(0.9)) == []
    outbox.acknowledge(Ack(stream=outbox.stream, through=2, beyond=b"\x0e"), 1.0)
    assert numbers(outbox.due(1.0)) == [3]
    assert outbox.waiting == 1


def test_hello_is_repeated_until_it_is_answered(tmp_path: Path) -> None:
    """An unanswered hello is due after 5 s, then 10, 20, 40, 60; another hello's answer does not end that."""
    outbox = open_outbox(tmp_path)
    outbox.greeted(4, 0.0)
    due = []
    for second in range(140):
        answer(outbox, 0, hello=3)
        if outbox.hello_due(float(second)):
            due.append(second)
            outbox.greeted(4, float(second))
    assert due == [5, 15, 35, 75, 135]
    answer(outbox, 0, hello=4)
    assert not outbox.hello_due(1e6)


def test_new_connection_sends_everything_again(tmp_path: Path) -> None:
    """What was on its way when the connection was lost is sent at once on the next one."""
    outbox = open_outbox(tmp_path)
    outbox.put(REPORT, 0.0)
    outbox.due(0.0)
    outbox.lost_connection()
    outbox.restart()
    assert numbers(outbox.due(0.1)) == [1]


@pytest.mark.parametrize(
    "ack",
    [
        Ack(stream="another", through=1),
        Ack(stream="", through=1),
        Ack(stream="mine", through=2),
        Ack(stream="mine", through=2**62),
        Ack(stream="mine", through=0, beyond=b"\xff" * 16),
        Ack(stream="mine", through=-5),
    ],
)
def test_acknowledgement_of_what_was_not_sent_is_ignored(tmp_path: Path, ack: Ack) -> None:
    """An acknowledgement of another stream, or of numbers that were never given, deletes nothing."""
    outbox = open_outbox(tmp_path)
    outbox.put(REPORT, 0.0)
    outbox.due(0.0)
    stream = outbox.stream if ack.stream == "mine" else ack.stream
    outbox.acknowledge(msgspec.structs.replace(ack, stream=stream), 0.0)
    assert outbox.waiting == 1


def test_controller_that_goes_back_hears_again_what_is_held(tmp_path: Path) -> None:
    """A restored controller's answer to the hello brings acknowledged messages back, samples as fillers."""
    outbox = open_outbox(tmp_path)
    for second in range(70):
        outbox.put(a_window(float(second)) if second else SAMPLE, 0.0)
    for _ in range(20):
        batch = numbers(outbox.due(0.0))
        answer(outbox, max(batch, default=70))
    assert outbox.waiting == 0
    outbox.greeted(2, 0.0)
    answer(outbox, 3)
    assert outbox.waiting == 0
    answer(outbox, 3, hello=2)
    again: list[Sequenced] = []
    for _ in range(20):
        again += sent(outbox.due(0.0))
        answer(outbox, max([message.seq for message in again]))
    assert sorted(message.seq for message in again) == list(range(4, 71))
    assert sum(isinstance(message, Lost) for message in again) == 1
    assert sum(isinstance(message, Window) for message in again) == 66
    answer(outbox, 3, hello=2)
    assert outbox.waiting == 0


def test_large_picture_goes_in_pieces_and_its_sample_last(tmp_path: Path) -> None:
    """Four pieces at a time, none lost over a restart; the sample goes when all have arrived."""
    outbox = open_outbox(tmp_path)
    outbox.put(msgspec.structs.replace(SAMPLE, image=PICTURE), 0.0)
    assert len(list((tmp_path / "samples").iterdir())) == 1
    assert outbox.due(0.0, samples=False) == []
    pieces = sent(outbox.due(0.0))
    assert [type(message) for message in pieces] == [Piece] * 4
    outbox = open_outbox(tmp_path)
    pieces = sent(outbox.due(0.0))
    assert [type(message) for message in pieces] == [Piece] * 4
    answer(outbox, 3)
    assert sent(outbox.due(0.1)) == []
    answer(outbox, 4)
    (sample,) = sent(outbox.due(0.2))
    assert isinstance(sample, Sample)
    assert (sample.image, sample.image_bytes) == (b"", len(PICTURE))
    whole = {message.offset: message.data for message in pieces if isinstance(message, Piece)}
    assert b"".join(whole[offset] for offset in sorted(whole)) == PICTURE


def test_picture_of_the_line_is_taken_over_and_others_are_swept(tmp_path: Path) -> None:
    """A file that the line wrote is kept over a restart with its sample; one that no sample names is not.

    What the line has not been told to be taken is its own, and a sample without its picture is told as lost.
    """
    outbox, folder = open_outbox(tmp_path), tmp_path / "samples"
    mine, untold = (hand_over(folder, picture) for picture in (PICTURE, PICTURE[2:]))
    SampleFiles(folder).keep(PICTURE[1:])
    outbox.put(msgspec.structs.replace(SAMPLE, image=b"", image_sha256=mine), 0.0)
    outbox.put(msgspec.structs.replace(SAMPLE, image=b"", image_sha256="0" * 64), 0.0)
    outbox = open_outbox(tmp_path)
    assert {path.name for path in folder.iterdir()} == {mine, f"{mine}.line", f"{untold}.line"}
    assert outbox.accounts == {"sample": Account(2, 1, 1)}


def test_full_outbox_gives_up_samples_first_the_least_telling_before(tmp_path: Path) -> None:
    """Over the quota random samples go before uncertain ones, and reports and windows stay; it is told."""
    outbox = open_outbox(tmp_path, quota=60_000)
    outbox.put(REPORT, 0.0)
    outbox.put(WINDOW, 0.0)
    for second in range(4):
        for reason in ("uncertain", "random"):
            sample = msgspec.structs.replace(SAMPLE, reason=reason, taken_at=float(second))
            outbox.put(sample, 0.0)
    told = sent(outbox.due(0.0))
    assert [type(message) for message in told] == [Report, Lost, Window, *[Sample] * 4]
    assert {message.reason for message in told if isinstance(message, Sample)} == {"uncertain"}
    (lost,) = [message for message in told if isinstance(message, Lost)]
    assert (lost.what, lost.messages, lost.since) == ("sample", outbox.accounts["sample"].given_up, 0.0)


def test_full_outbox_with_pictures_stays_within_its_quota_on_disk(tmp_path: Path) -> None:
    """Pictures count against the quota, and the files of those that are given up go with them."""
    outbox = open_outbox(tmp_path, quota=1_000_000)
    for number in range(40):
        outbox.put(msgspec.structs.replace(SAMPLE, image=PICTURE[number:]), 0.0)
        assert sum(path.stat().st_size for path in (tmp_path / "samples").iterdir()) <= 1_000_000
    given_up = outbox.accounts["sample"].given_up
    assert given_up > 25
    assert len(list((tmp_path / "samples").iterdir())) == 40 - given_up


def test_too_large_a_window_is_not_kept(tmp_path: Path) -> None:
    """A window beyond 2 KB takes no number."""
    outbox = open_outbox(tmp_path)
    outbox.put(msgspec.structs.replace(WINDOW, tag="x" * 3000), 0.0)
    outbox.put(REPORT, 0.0)
    assert numbers(outbox.due(0.0)) == [1]


def test_outbox_of_an_older_agent_goes_on(tmp_path: Path) -> None:
    """Messages that protocol 2 had numbered keep their numbers, and the next one follows them."""
    database = Database(tmp_path / "agent.db")
    connection = database.connection
    for index in ("unsent", "numbered", "pictures"):
        connection.execute(f"DROP INDEX {index}")
    connection.execute("DROP TABLE messages")
    connection.execute("CREATE TABLE messages (seq INTEGER PRIMARY KEY, kind TEXT, payload BLOB)")
    connection.execute("CREATE INDEX messages_by_kind ON messages (kind, seq)")
    for column in ("next_id", "through", "made", "given_up", "line", "line_taken"):
        connection.execute(f"ALTER TABLE outbox DROP COLUMN {column}")
    for seq, kind, message in ((5, "report", REPORT), (6, "window", WINDOW), (7, "sample", SAMPLE)):
        payload = messages.encode(msgspec.structs.replace(message, seq=seq))
        connection.execute("INSERT INTO messages VALUES (?, ?, ?)", (seq, kind, payload))
    connection.execute("UPDATE outbox SET next_seq = 8, bytes = 11000")
    _undo_later_steps(connection)
    connection.execute("PRAGMA user_version = 4")
    database.close()
    outbox = open_outbox(tmp_path)
    outbox.put(REPORT, 0.0)
    assert outbox.oldest == 5
    assert sorted(numbers(outbox.due(0.0))) == [5, 6, 7, 8]


def _undo_later_steps(connection: sqlite3.Connection) -> None:
    """Take away what later schema steps have added to other tables."""
    for table in ("qualification", "candidates"):
        connection.execute(f"DROP TABLE {table}")
    known = {"id", "assignment", "state", "error", "detail", "slot", "fetched_bytes", "updated_at", "threads"}
    for _, name, *_ in connection.execute("PRAGMA table_info(deployments)").fetchall():
        if name not in known:
            connection.execute(f"ALTER TABLE deployments DROP COLUMN {name}")
    for _, name, *_ in connection.execute("PRAGMA table_info(device)").fetchall():
        if name == "running":
            connection.execute(f"ALTER TABLE device DROP COLUMN {name}")
