from pathlib import Path

import msgspec

from edgewright.agent.control import MAX_CONTROL_BYTES, SampleReady, connect_to, decode_up, listen_at
from edgewright.agent.line.capture import (
    MAX_SAMPLE_BYTES,
    WAITING_S,
    WAITING_SAMPLES,
    WaitingSamples,
)
from edgewright.agent.line.controllink import DATAGRAM_PICTURE_BYTES, ControlLink
from edgewright.agent.line.recent import Decided, RecentDecisions
from edgewright.agent.line.sampler import Reason
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
    """Waiting samples, and what they sent."""

    def __init__(self) -> None:
        self.sent: list[Sample] = []
        self.samples = WaitingSamples(self.sent.append)


def test_a_sample_goes_up_with_its_truth() -> None:
    """A sample is sent once, when the truth of its item comes, and says who told it."""
    kept = _Kept()
    kept.samples.keep(_sample("1"), 0.0)
    assert kept.sent == []
    kept.samples.label("1", "boot", "scanner")
    kept.samples.label("1", "boot", "scanner")
    assert kept.sent == [msgspec.structs.replace(_sample("1"), truth="boot", source="scanner")]


def test_unlabelled_samples_go_up_too() -> None:
    """After their time samples of every reason are sent without a truth, or an audit would lack those."""
    kept = _Kept()
    kept.samples.keep(_sample("1", "random"), 0.0)
    kept.samples.keep(_sample("2", "uncertain"), 0.0)
    kept.samples.expire(WAITING_S)
    assert kept.sent == []
    kept.samples.expire(WAITING_S + 1)
    assert [(sample.item, sample.truth) for sample in kept.sent] == [("1", None), ("2", None)]


def test_waiting_samples_are_bounded() -> None:
    """The oldest sample gives way when there are too many."""
    kept = _Kept()
    for i in range(WAITING_SAMPLES + 3):
        kept.samples.keep(_sample(str(i), "uncertain"), 0.0)
    assert [sample.item for sample in kept.sent] == ["0", "1", "2"]


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
