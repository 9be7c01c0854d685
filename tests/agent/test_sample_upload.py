"""Samples go behind everything else, and on where they were after a power cut."""

import random
from pathlib import Path

import msgspec

from edgewright.agent.outbox import SAMPLES_ON_THEIR_WAY, Outbox
from edgewright.wire.messages import PIECE_BYTES, Piece, Report, Sample, Sequenced, Window
from tests.agent.test_outbox import ERROR, REPORT, SAMPLE, a_window, answer, open_outbox, sent

PIECES = 7
PICTURE = random.Random(8).randbytes(PIECES * PIECE_BYTES - 100)


def _large(taken_at: float, reason: str = "random", truth: str | None = None) -> Sample:
    picture = PICTURE[int(taken_at) :]
    return msgspec.structs.replace(SAMPLE, taken_at=taken_at, reason=reason, truth=truth, image=picture)


def _kinds(batch: list[Sequenced]) -> list[str]:
    return [type(message).__name__ for message in batch]


def test_samples_wait_while_a_model_is_fetched(tmp_path: Path) -> None:
    """While the agent works on a model no sample and no piece gets a number; reports and windows go on."""
    outbox = open_outbox(tmp_path)
    outbox.put(_large(1.0), 0.0)
    outbox.put(msgspec.structs.replace(SAMPLE, reason="novel"), 0.0)
    for second in range(10):
        outbox.put(a_window(float(second)), 0.0)
        outbox.put(REPORT, 0.0)
        batch = sent(outbox.due(float(second), samples=False))
        assert set(_kinds(batch)) <= {"Window", "Report"}
        answer(outbox, max(message.seq for message in batch))
    assert outbox.accounts["sample"].waiting == 2
    assert _kinds(sent(outbox.due(11.0)))[0] == "Sample"


def test_reports_and_windows_go_before_samples(tmp_path: Path) -> None:
    """Of all that waits, errors go first, then reports, windows, hard cases and random samples."""
    outbox = open_outbox(tmp_path)
    outbox.put(_large(1.0), 0.0)
    outbox.put(msgspec.structs.replace(SAMPLE, reason="uncertain", taken_at=2.0), 0.0)
    outbox.put(a_window(3.0), 0.0)
    outbox.put(REPORT, 0.0)
    outbox.put(ERROR, 0.0)
    batch = sent(outbox.due(0.0))
    assert _kinds(batch)[:4] == ["Report", "Report", "Window", "Sample"]
    assert isinstance(batch[0], Report)
    assert batch[0].error
    assert set(_kinds(batch)[4:]) == {"Piece"}
    assert len(batch) - 3 <= SAMPLES_ON_THEIR_WAY


def test_pieces_that_are_on_their_way_leave_room_for_what_happens_now(tmp_path: Path) -> None:
    """With thirty pictures waiting, a window and a report that are made now go out with the next batch."""
    outbox = open_outbox(tmp_path)
    for second in range(30):
        outbox.put(_large(float(second)), 0.0)
    assert _kinds(sent(outbox.due(0.0))) == ["Piece"] * SAMPLES_ON_THEIR_WAY
    outbox.put(a_window(40.0), 0.0)
    outbox.put(ERROR, 0.0)
    assert _kinds(sent(outbox.due(0.1))) == ["Report", "Window"]


def test_a_power_cut_between_pieces_costs_no_piece_that_had_arrived(tmp_path: Path) -> None:
    """Cut after each of the pieces, the upload goes on with the first that the controller lacks."""
    for cut in range(1, PIECES):
        folder = tmp_path / str(cut)
        folder.mkdir()
        outbox = open_outbox(folder)
        outbox.put(_large(0.0), 0.0)
        arrived = _upload(outbox, until=cut)
        again = open_outbox(folder)  # The old one was never closed: what was not committed is gone.
        again.greeted(1, 0.0)
        answer(again, max(arrived, default=0), hello=1)
        rest = _upload(again, until=None)
        assert not set(arrived) & set(rest)
        whole = {piece.offset: piece.data for piece in {**arrived, **rest}.values()}
        assert b"".join(whole[offset] for offset in sorted(whole)) == PICTURE
        assert len(arrived) + len(rest) == PIECES


def _upload(outbox: Outbox, until: int | None) -> dict[int, Piece]:
    """Let a controller take pieces in their order, until so many or until the sample has come; by number."""
    arrived: dict[int, Piece] = {}
    for second in range(100):
        for message in sorted(sent(outbox.due(float(second))), key=lambda one: one.seq):
            if isinstance(message, Sample):
                return arrived
            assert isinstance(message, Piece)
            arrived[message.seq] = message
            answer(outbox, message.seq)
            if len(arrived) == until:
                return arrived
    raise AssertionError("the sample did not come")


def test_a_full_outbox_drops_random_samples_whatever_their_truth_says(tmp_path: Path) -> None:
    """What is given up for want of room depends on age alone: wrong ones survive as often as right ones."""
    outbox = open_outbox(tmp_path, quota=300_000)
    for second in range(60):
        truth = SAMPLE.label if second % 2 else "another"
        outbox.put(
            msgspec.structs.replace(SAMPLE, item=str(second), taken_at=float(second), truth=truth), 0.0
        )
    kept: list[int] = []
    for second in range(200):
        batch = sent(outbox.due(float(second)))
        kept += [int(message.item) for message in batch if isinstance(message, Sample)]
        answer(outbox, max((message.seq for message in batch), default=0))
    assert 20 <= len(set(kept)) < 60
    assert sorted(set(kept)) == list(range(60 - len(set(kept)), 60))
    assert not [message for message in sent(outbox.due(300.0)) if isinstance(message, Window)]
