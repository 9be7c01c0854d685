"""Windows that merge, and what goes first from one that is too large."""

import msgspec
import numpy as np
import pytest

from edgewright.agent.line.statistics import SIGNALS, Tally, score
from edgewright.agent.preprocess import ImageStatistics, Look
from edgewright.agent.windows import OTHER, fits, fitted, follows, merged_windows
from edgewright.wire.cell import Decision, Outcome
from edgewright.wire.histograms import Histogram
from edgewright.wire.messages import MAX_WINDOW_BYTES, Outcomes, Window
from edgewright.wire.moments import DIMS, Moments

SOURCES = ("", "gripper", "operator")


def _window(frames: int, classes: int, *, seed: int = 1, tag: str = "sku", grace: bool = False) -> Window:
    """A window with every signal, a truth for every second frame, and three sources."""
    rng = np.random.default_rng(seed)
    tally = Tally("garment-packing", 3, tag, 1.7e9, grace=grace)
    for i in range(frames):
        label, logits = f"class {i // 2 % classes:02}", (rng.normal(size=classes + 1) * 3).tolist()
        scores = score(logits, 1.0)
        decision = Decision(
            item=str(i), label=label, confidence=scores.confidence, source="active", version=3
        )
        tally.add(decision, scores, "", float(rng.lognormal(8, 1)))
        optics = rng.beta(5, 5, 4) * (1, 0.5, 900, 0.2)
        embedding = rng.normal(0.1, 0.1, DIMS).astype(np.float32)
        tally.add_look(Look(ImageStatistics(*optics.tolist()), np.zeros((8, 8, 3), np.uint8), embedding))
        if i % 2:
            truth = f"class {(i // 2 + (i % 14 == 1)) % classes:02}"
            tally.add_outcome(3, label, Outcome(str(i), truth, SOURCES[i % 3], 0.5), scores.confidence)
    return tally.window("robot-1", 300.0)


@pytest.mark.parametrize(("frames", "classes"), [(100, 10), (3000, 10), (3000, 64)])
def test_a_window_of_everything_fits(frames: int, classes: int) -> None:
    """With all signals, labels, truths and three sources, a window is one message of at most 2 KB."""
    window = _window(frames, classes)
    assert fits(window)
    assert len(msgspec.msgpack.encode(window)) <= MAX_WINDOW_BYTES
    assert sum(window.classes.values()) == window.frames == frames
    assert sum(labelled for labelled, _ in window.truths.values()) == frames // 2
    assert sum(told.labelled for told in window.outcomes) == frames // 2
    assert Histogram.unpack(window.histograms["labelled_confidence"]).total == frames // 2


def test_ten_classes_lose_nothing() -> None:
    """A line of ten classes sends every signal and every label of 3,000 frames."""
    window = _window(3000, 10)
    assert window.histograms.keys() == SIGNALS.keys()
    assert Moments.unpack(window.embedding).n == 3000
    assert OTHER not in window.classes
    assert len(window.classes) == len(window.truths) == 10


def test_what_goes_first_is_rare_or_implied() -> None:
    """As more has to go, rare labels go first, then margin and entropy, the embedding, optics, all labels."""
    window = _window(3000, 10)
    smaller, gone = window, list[tuple[int, bool, bool, bool]]()
    for padding in range(0, MAX_WINDOW_BYTES, 16):
        smaller = fitted(msgspec.structs.replace(window, device="d" * padding))
        signals = smaller.histograms
        state = (len(smaller.classes), "margin" in signals, bool(smaller.embedding), "contrast" in signals)
        if not gone or gone[-1] != state:
            gone.append(state)
    assert gone == [
        (10, True, True, True),
        (10, False, True, True),
        (10, False, False, True),
        (10, False, False, False),
        (1, False, False, False),
    ]
    kept = {"confidence", "labelled_confidence", "right_confidence", "latency_us", "sharpness"}
    assert smaller.histograms.keys() == kept
    assert (smaller.outcomes, smaller.frames) == (window.outcomes, window.frames)


def _next(window: Window) -> Window:
    return msgspec.structs.replace(window, start=window.start + window.seconds)


def test_windows_in_grace_stay_apart_from_settled_ones() -> None:
    """Only two windows that are both in grace, or both settled, become one."""
    settled, grace = _window(50, 4), _window(50, 4, grace=True)
    assert follows(settled, _next(settled))
    assert follows(grace, _next(grace))
    assert not follows(settled, _next(grace))
    assert not follows(grace, _next(settled))


def test_merging_adds_embeddings_outcomes_and_unknown_truths() -> None:
    """A merged window tells of both: moments exactly, outcomes by version and source."""
    one = msgspec.structs.replace(_window(60, 4), unknown_truths=2)
    other = msgspec.structs.replace(_next(_window(90, 4, seed=2)), unknown_truths=3)
    both = merged_windows(one, other)
    assert both is not None
    moments = Moments.unpack(one.embedding)
    moments.merge(Moments.unpack(other.embedding))
    assert both.embedding == moments.pack()
    assert both.unknown_truths == 5
    assert [told.source for told in both.outcomes] == sorted(SOURCES)
    for told in both.outcomes:
        parts = [part for part in one.outcomes + other.outcomes if part.source == told.source]
        assert told == Outcomes(3, *_sums(parts))


def _sums(parts: list[Outcomes]) -> tuple[int, int, str, float, float, float]:
    return (
        sum(part.labelled for part in parts),
        sum(part.wrong for part in parts),
        parts[0].source,
        sum(part.weight for part in parts),
        sum(part.wrong_weight for part in parts),
        sum(part.weight_squares for part in parts),
    )


def test_a_window_without_an_embedding_takes_the_other_ones() -> None:
    """A window of an older agent, which embeds nothing, merges; one whose embedding is nonsense does not."""
    one, other = _window(60, 4), _next(_window(60, 4, seed=2))
    both = merged_windows(msgspec.structs.replace(one, embedding=b""), other)
    assert both is not None
    assert both.embedding == other.embedding
    assert merged_windows(msgspec.structs.replace(one, embedding=b"\x09\x09"), other) is None
