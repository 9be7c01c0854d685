"""Store and forward: numbers without gaps, nothing lost before its acknowledgement, bounded."""

import itertools
from pathlib import Path

import pytest

from edgewright.agent.database import Database
from edgewright.agent.outbox import WINDOW_MESSAGES, Outbox
from edgewright.wire import messages, topics
from edgewright.wire.messages import Ack, Report, Sample, Window

REPORT = Report(device="", stream="", seq=0, sent_at=1.0, name="Tested")
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
    histograms={"confidence": bytes(900)},
    outcomes=(),
    truths={},
)


def open_outbox(folder: Path, quota: int = 64 * 2**20) -> Outbox:
    """An outbox over a file."""
    return Outbox(Database(folder / "agent.db"), "robot-1", quota)


def numbers(batch: list[tuple[str, bytes]]) -> list[int]:
    """Sequence numbers of published messages."""
    decoded = [messages.decode_up(payload) for _, payload in batch]
    return [message.seq for message in decoded if isinstance(message, (Report, Window, Sample))]


def test_numbers_count_from_one_over_restarts(tmp_path: Path) -> None:
    """Numbers go on without a gap, in the same stream, when the agent restarts."""
    first = open_outbox(tmp_path)
    first.put(REPORT, 0.0)
    first.put(WINDOW, 0.0)
    second = open_outbox(tmp_path)
    second.put(SAMPLE, 0.0)
    batch = second.due(0.0)
    assert numbers(batch) == [1, 2, 3]
    assert second.stream == first.stream
    assert [topic for topic, _ in batch] == [
        topics.up("robot-1", kind) for kind in ("report", "window", "sample")
    ]


def test_number_is_not_used_again_after_everything_was_acknowledged(tmp_path: Path) -> None:
    """An empty outbox that restarts goes on counting."""
    first = open_outbox(tmp_path)
    first.put(REPORT, 0.0)
    first.acknowledge(Ack(stream=first.stream, through=1), 0.0)
    assert (first.waiting, first.oldest) == (0, 2)
    second = open_outbox(tmp_path)
    second.put(REPORT, 0.0)
    assert numbers(second.due(0.0)) == [2]


def test_window_opens_with_acknowledgements(tmp_path: Path) -> None:
    """At most a window of messages is on its way; an acknowledgement lets the next ones out."""
    outbox = open_outbox(tmp_path)
    for _ in range(WINDOW_MESSAGES + 30):
        outbox.put(REPORT, 0.0)
    assert numbers(outbox.due(0.0)) == list(range(1, WINDOW_MESSAGES + 1))
    assert outbox.due(0.1) == []
    outbox.acknowledge(Ack(stream=outbox.stream, through=10), 0.2)
    assert numbers(outbox.due(0.2)) == list(range(WINDOW_MESSAGES + 1, WINDOW_MESSAGES + 11))


def test_sends_again_from_the_gap_with_growing_pauses(tmp_path: Path) -> None:
    """Without progress everything after the last acknowledgement goes out again, each time later."""
    outbox = open_outbox(tmp_path)
    for _ in range(3):
        outbox.put(REPORT, 0.0)
    outbox.due(0.0)
    outbox.acknowledge(Ack(stream=outbox.stream, through=1), 0.0)
    sent = [second for second in range(200) if numbers(outbox.due(float(second))) == [2, 3]]
    assert sent[0] == 5
    assert [later - earlier for earlier, later in itertools.pairwise(sent)] == [10, 20, 40, 60, 60]


def test_overdue_says_that_the_next_sending_repeats(tmp_path: Path) -> None:
    """Only what is on its way and waits too long is overdue, and sending it again ends that."""
    outbox = open_outbox(tmp_path)
    outbox.put(REPORT, 0.0)
    assert not outbox.overdue(1000.0)
    outbox.due(0.0)
    assert [outbox.overdue(4.9), outbox.overdue(5.0)] == [False, True]
    assert numbers(outbox.due(5.0)) == [1]
    assert not outbox.overdue(5.0)
    outbox.acknowledge(Ack(stream=outbox.stream, through=1), 6.0)
    assert not outbox.overdue(1000.0)


def test_new_messages_do_not_put_the_repetition_off(tmp_path: Path) -> None:
    """With a new message each second, the unacknowledged ones are still sent again after five."""
    outbox = open_outbox(tmp_path)
    sent: list[list[int]] = []
    for second in range(6):
        outbox.put(REPORT, 0.0)
        sent.append(numbers(outbox.due(float(second))))
    assert sent == [[1], [2], [3], [4], [5], [1, 2, 3, 4, 5, 6]]


def test_new_connection_sends_everything_again(tmp_path: Path) -> None:
    """What was on its way when the connection was lost is sent at once on the next one."""
    outbox = open_outbox(tmp_path)
    outbox.put(REPORT, 0.0)
    outbox.due(0.0)
    outbox.restart()
    assert numbers(outbox.due(0.1)) == [1]


@pytest.mark.parametrize("stream", ["another", ""])
def test_foreign_acknowledgement_is_ignored(tmp_path: Path, stream: str) -> None:
    """An acknowledgement of another stream deletes nothing."""
    outbox = open_outbox(tmp_path)
    outbox.put(REPORT, 0.0)
    outbox.acknowledge(Ack(stream=stream, through=1), 0.0)
    assert outbox.waiting == 1


def test_full_outbox_drops_samples_first_and_keeps_every_number(tmp_path: Path) -> None:
    """Over the quota the oldest samples become placeholders; reports, windows and numbers stay."""
    outbox = open_outbox(tmp_path, quota=50_000)
    outbox.put(REPORT, 0.0)
    outbox.put(WINDOW, 0.0)
    for _ in range(8):
        outbox.put(SAMPLE, 0.0)
    batch = outbox.due(0.0)
    assert numbers(batch) == list(range(1, 11))
    decoded = [messages.decode_up(payload) for _, payload in batch]
    assert decoded[0] != decoded[2]
    assert isinstance(decoded[1], Window)
    dropped = [message for message in decoded if isinstance(message, Report) and message.name == "Dropped"]
    assert [message.seq for message in dropped] == list(range(3, 3 + len(dropped)))
    assert 0 < len(dropped) < 8
    assert outbox.given_up == 0


def test_full_outbox_drops_windows_next(tmp_path: Path) -> None:
    """Where there are no samples left, the oldest windows become placeholders."""
    outbox = open_outbox(tmp_path, quota=20_000)
    for _ in range(30):
        outbox.put(WINDOW, 0.0)
    decoded = [messages.decode_up(payload) for _, payload in outbox.due(0.0)]
    assert isinstance(decoded[0], Report)
    assert isinstance(decoded[-1], Window)
    assert len(decoded) == 30


def test_months_without_a_controller_are_bounded(tmp_path: Path) -> None:
    """When placeholders alone exceed the quota the oldest numbers are given up, and that is told."""
    outbox = open_outbox(tmp_path, quota=10_000)
    for _ in range(250):
        outbox.put(WINDOW, 0.0)
    assert outbox.given_up > 0
    assert outbox.oldest == outbox.given_up + 1
    assert numbers(outbox.due(0.0))[0] == outbox.oldest


def test_too_large_a_window_is_not_kept(tmp_path: Path) -> None:
    """A window beyond 2 KB takes no number."""
    outbox = open_outbox(tmp_path)
    outbox.put(Window(**{f: getattr(WINDOW, f) for f in WINDOW.__struct_fields__} | {"tag": "x" * 3000}), 0.0)
    outbox.put(REPORT, 0.0)
    assert numbers(outbox.due(0.0)) == [1]
