from pathlib import Path
from random import Random

import msgspec
import pytest

from edgewright.agent.control import MAX_CONTROL_BYTES, SampleReady, connect_to, decode_up, listen_at
from edgewright.agent.line.capture import (
    MAX_SAMPLE_BYTES,
    UNCERTAIN_SHARE,
    WAITING_S,
    WAITING_SAMPLES,
    ByteBudget,
    Reason,
    WaitingSamples,
    draw,
)
from edgewright.agent.line.controllink import DATAGRAM_PICTURE_BYTES, ControlLink
from edgewright.agent.line.recent import Decided, RecentDecisions
from edgewright.wire.messages import Sample


def _sample(item: str, reason: Reason = "random", image_bytes: int = 1000) -> Sample:
    return Sample(
        device="d",
        stream="",
        seq=0,
        taken_at=0.0,
        item=item,
        tag="",
        model="m",
        version=1,
        label="bag",
        confidence=0.4,
        truth=None,
        reason=reason,
        probability=0.1,
        image=bytes(image_bytes),
    )


class _Kept:
    """Waiting samples with an ample budget, and what they sent."""

    def __init__(self, bytes_per_s: float = 1e9) -> None:
        self.sent: list[Sample] = []
        self.samples = WaitingSamples(self.sent.append, ByteBudget(bytes_per_s, 0.0))


@pytest.mark.parametrize(("confidence", "reason"), [(0.99, "random"), (0.3, "uncertain")])
def test_captures_come_as_often_as_their_probability_says(confidence: float, reason: Reason) -> None:
    """Over 40,000 seeded frames the rate of each reason is within five deviations of its probability."""
    random, n = Random(11), 40_000
    drawn = [draw(random, 0.1, confidence) for _ in range(n)]
    hits = [d for d in drawn if d is not None and d.reason == reason]
    p = hits[0].probability
    assert {d.probability for d in hits} == {p}
    assert p == pytest.approx(0.1 if reason == "random" else 0.9 * UNCERTAIN_SHARE)
    assert len(hits) / n == pytest.approx(p, abs=5 * (p * (1 - p) / n) ** 0.5)


def test_confident_frames_are_only_drawn_at_random() -> None:
    """A sure decision is never captured as uncertain, and a share of 0 captures nothing at all."""
    random = Random(12)
    assert {d.reason for d in (draw(random, 0.2, 0.9) for _ in range(2000)) if d} == {"random"}
    assert not any(draw(random, 0.0, confidence) for confidence in (0.1, 0.9) for _ in range(2000))


def test_a_sample_goes_up_with_its_truth() -> None:
    """A sample is sent once, when the truth of its item comes."""
    kept = _Kept()
    kept.samples.keep(_sample("1"), 0.0)
    assert kept.sent == []
    kept.samples.label("1", "boot")
    kept.samples.label("1", "boot")
    assert kept.sent == [msgspec.structs.replace(_sample("1"), truth="boot")]


def test_unlabelled_samples_go_up_only_where_the_model_was_unsure() -> None:
    """After their time an uncertain sample is sent without a truth and a random one is dropped."""
    kept = _Kept()
    kept.samples.keep(_sample("1", "random"), 0.0)
    kept.samples.keep(_sample("2", "uncertain"), 0.0)
    kept.samples.expire(WAITING_S)
    assert kept.sent == []
    kept.samples.expire(WAITING_S + 1)
    assert [sample.item for sample in kept.sent] == ["2"]
    assert kept.samples.dropped == 1


def test_waiting_samples_are_bounded() -> None:
    """The oldest sample gives way when there are too many."""
    kept = _Kept()
    for i in range(WAITING_SAMPLES + 3):
        kept.samples.keep(_sample(str(i), "uncertain"), 0.0)
    assert [sample.item for sample in kept.sent] == ["0", "1", "2"]


def test_the_byte_budget_bounds_what_goes_up() -> None:
    """In ten seconds at 1000 bytes a second 12,000 bytes pass, the two saved seconds included."""
    kept = _Kept(bytes_per_s=1000.0)
    for i in range(100):
        kept.samples.keep(_sample(str(i), "uncertain", image_bytes=500), i / 10)
    kept.samples.close()
    assert 20 <= len(kept.sent) <= 24
    assert len(kept.sent) + kept.samples.dropped == 100


def test_a_sample_too_large_for_the_way_up_is_dropped() -> None:
    """A frame whose PNG exceeds the bound of a sample is counted and never sent."""
    kept = _Kept()
    kept.samples.keep(_sample("1", "uncertain", MAX_SAMPLE_BYTES + 1), 0.0)
    kept.samples.close()
    assert (kept.sent, kept.samples.dropped) == ([], 1)


def test_a_picture_larger_than_the_bucket_passes_and_is_paid_back() -> None:
    """10,000 bytes pass a full bucket of 2,000; the next pass when ten seconds have paid for them."""
    budget = ByteBudget(1000.0, 0.0)
    assert [second for second in range(31) if budget.take(10_000, float(second))] == [0, 10, 20, 30]


def test_a_large_picture_reaches_the_supervisor_as_a_file(tmp_path: Path) -> None:
    """What no datagram takes is written to the folder, and the sample names it; a small one goes along."""
    path = tmp_path / "line.sock"
    with listen_at(path) as listener, connect_to(path) as supervisor:
        link = ControlLink(listener, tmp_path)
        assert link.accept()
        for size in (1000, DATAGRAM_PICTURE_BYTES + 1):
            link.send(SampleReady(_sample("1", image_bytes=size)))
        small, large = (decode_up(supervisor.recv(MAX_CONTROL_BYTES)) for _ in range(2))
        link.leave()
    assert isinstance(small, SampleReady)
    assert isinstance(large, SampleReady)
    assert (len(small.sample.image), len(large.sample.image)) == (1000, 0)
    assert large.sample.image_bytes == DATAGRAM_PICTURE_BYTES + 1
    assert (tmp_path / f"{large.sample.image_sha256}.line").read_bytes() == bytes(DATAGRAM_PICTURE_BYTES + 1)


def test_large_pictures_that_wait_are_bounded_in_bytes() -> None:
    """Not more than 32 MiB of pictures wait for their truths; the oldest give way."""
    kept = _Kept()
    for i in range(10):
        kept.samples.keep(_sample(str(i), "uncertain", MAX_SAMPLE_BYTES), float(i))
    assert [sample.item for sample in kept.sent] == [str(i) for i in range(6)]


def test_a_truth_finds_its_decision_once() -> None:
    """The join is by item; a second truth, or one of an unknown item, is only counted."""
    recent = RecentDecisions()
    recent.remember("1", Decided(2, "bag", "sku"))
    assert recent.take("1") == Decided(2, "bag", "sku")
    assert recent.take("1") is None
    assert recent.take("never seen") is None
    assert recent.unknown == 2


def test_recent_decisions_are_bounded() -> None:
    """Only the newest decisions are kept, and deciding an item again makes it new."""
    recent = RecentDecisions(capacity=3)
    for item in ("1", "2", "3", "1", "4"):
        recent.remember(item, Decided(1, item, ""))
    assert [item for item in ("1", "2", "3", "4") if recent.take(item)] == ["1", "3", "4"]
