from math import inf, isfinite, nan
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright.agent.line.batching import BATCH, Counts, add_moments
from edgewright.agent.line.statistics import MAX_WEIGHT, SIGNALS, Tally, score
from edgewright.agent.preprocess import ImageStatistics, Look
from edgewright.agent.windows import OTHER
from edgewright.wire.cell import Decision, Outcome
from edgewright.wire.histograms import Histogram
from edgewright.wire.messages import MAX_WINDOW_BYTES, Outcomes, encode
from edgewright.wire.moments import DIMS, Moments

_logits = st.lists(st.floats(-1e4, 1e4, width=32), min_size=2, max_size=40)


def _decision(
    label: str, confidence: float = 0.9, source: Literal["active", "standby", "fallback"] = "active"
) -> Decision:
    return Decision(item="i", label=label, confidence=confidence, source=source, version=3)


def _look(*statistics: float, embedding: float = 0.1) -> Look:
    return Look(
        ImageStatistics(*statistics), np.zeros((8, 8, 3), np.uint8), np.full(DIMS, embedding, np.float32)
    )


@settings(derandomize=True)
@given(_logits, st.floats(0.05, 20))
def test_scores_equal_the_textbook(logits: list[float], temperature: float) -> None:
    """Confidence, margin and entropy equal a float64 softmax in numpy, for any logits and temperature."""
    scaled = np.array(logits) / temperature
    weights = np.exp(scaled - scaled.max())
    p = np.sort(weights / weights.sum())[::-1]
    entropy = -sum(x * np.log(x) for x in p if x > 0) / np.log(len(p))
    found = score(logits, temperature)
    assert logits[found.best] == max(logits)
    assert found[1:] == pytest.approx((p[0], p[0] - p[1], entropy), abs=1e-9)


def test_one_class_is_certain() -> None:
    """A model of one class has confidence 1 and no division by zero."""
    assert score([3.0], 1.0) == (0, 1.0, 1.0, 0.0)


def test_a_window_counts_every_frame_once() -> None:
    """Sources and classes add up to the frames; only the active model's scores are in the histograms."""
    tally = Tally("m", 3, "sku", started=100.0)
    scores = score([4.0, 1.0, 0.0], 1.0)
    for _ in range(5):
        tally.add(_decision("bag", scores.confidence), scores, "", 800.0)
    tally.add(_decision("boot", 0.7, "standby"), scores, "RunnerHang", 9000.0)
    tally.add(_decision("manual lane", 0.0, "fallback"), None, "NoModel", 50.0)
    window = tally.window("robot-1", 10.0)
    assert window.frames == 7
    assert window.by_source == {"active": 5, "standby": 1, "fallback": 1}
    assert window.classes == {"bag": 5, "boot": 1, "manual lane": 1}
    assert window.causes == {"RunnerHang": 1, "NoModel": 1}
    totals = {signal: Histogram.unpack(data).total for signal, data in window.histograms.items()}
    assert totals["latency_us"] == 7
    assert totals["confidence"] == totals["margin"] == totals["entropy"] == 5
    assert window.histograms.keys() == SIGNALS.keys()


def test_outcomes_are_counted_by_the_version_that_decided() -> None:
    """A truth that comes after a swap is counted against the old version, and by its true class."""
    tally = Tally("m", 3, "", started=0.0)
    tally.add_outcome(2, "bag", Outcome("1", "bag"))
    tally.add_outcome(2, "bag", Outcome("2", "boot"))
    tally.add_outcome(3, "boot", Outcome("3", "boot"))
    window = tally.window("robot-1", 1.0)
    assert [(o.version, o.labelled, o.wrong) for o in window.outcomes] == [(2, 2, 1), (3, 1, 0)]
    assert window.truths == {"bag": (1, 0), "boot": (2, 1)}


def test_a_tally_without_frames_and_outcomes_is_empty() -> None:
    """Nothing is sent of a time in which nothing happened."""
    tally = Tally("m", 1, "", 0.0)
    assert tally.empty
    tally.add_outcome(1, "bag", Outcome("1", "bag"))
    assert not tally.empty
    unknown = Tally("m", 1, "", 0.0)
    unknown.unknown_truths += 1
    assert not unknown.empty


def test_a_window_of_many_classes_fits_into_its_limit() -> None:
    """With 5,000 labels of any length and full histograms a window stays within 2 KB and loses no frame."""
    rng = np.random.default_rng(5)
    tally = Tally("m" * 64, 2**31, "t" * 64, started=1.7e9)
    frames = 20_000
    for i, (p, latency) in enumerate(zip(rng.random(frames), rng.lognormal(8, 3, frames), strict=True)):
        label = f"class {i % 5000} " + "x" * (i % 90)
        logits = [float(p) * 20, 0.0, float(rng.random())]
        tally.add(_decision(label), score(logits, 1.0), "", float(latency))
        tally.add_look(_look(float(p), float(p) / 2, float(latency), float(p)))
        tally.add_outcome(i % 3, label, Outcome("i", f"truth {i % 700}", "s" * i, float(p)))
    window = tally.window("d" * 64, 10.0)
    assert len(encode(window)) <= MAX_WINDOW_BYTES - 64
    assert sum(window.classes.values()) == window.frames == frames
    assert sum(labelled for labelled, _ in window.truths.values()) == frames
    assert window.classes[OTHER] > 0


def test_values_that_are_not_finite_are_set_apart() -> None:
    """An image statistic that is no number is counted as invalid and breaks nothing."""
    tally = Tally("m", 1, "", 0.0)
    tally.add(_decision("bag"), None, "", 800.0)
    tally.add_look(_look(nan, 0.1, inf, 0.0))
    window = tally.window("robot-1", 1.0)
    assert Histogram.unpack(window.histograms["brightness"]).invalid == 1
    assert Histogram.unpack(window.histograms["sharpness"]).invalid == 1
    assert isfinite(Histogram.unpack(window.histograms["contrast"]).mean())


_VALUES = st.lists(
    st.one_of(st.floats(width=64), st.sampled_from([0.0, 0.5, 1.0, nan, inf, -inf])), max_size=40
)


@settings(derandomize=True)
@given(_VALUES, _VALUES)
def test_counting_many_is_counting_each(one: list[float], other: list[float]) -> None:
    """Counted together, in two goes, values fall into the bins that they fall into one by one."""
    counts = Counts(SIGNALS)
    counts.add({"margin": one, "latency_us": other})
    counts.add({"margin": other, "confidence": one})
    expected = {signal: Histogram(schema) for signal, schema in SIGNALS.items()}
    for signal, values in (("margin", one + other), ("latency_us", other), ("confidence", one)):
        for value in values:
            expected[signal].add(value)
    assert counts.packed() == {signal: histogram.pack() for signal, histogram in expected.items()}


@settings(derandomize=True)
@given(st.lists(st.lists(st.floats(width=32), min_size=DIMS, max_size=DIMS), min_size=1, max_size=5))
def test_adding_vectors_together_is_adding_each(rows: list[list[float]]) -> None:
    """The moments of vectors added in one go are bit for bit those of the same added one by one."""
    together, each = Moments(), Moments()
    add_moments(together, [np.array(row, np.float32) for row in rows])
    each.add_many(rows)
    assert together == each


def test_batches_lose_no_frame() -> None:
    """Over several batches, and with pictures on some frames only, every value is counted once."""
    tally = Tally("m", 3, "", 0.0)
    frames = 2 * BATCH + 17
    for i in range(frames):
        tally.add(_decision("bag"), score([2.0, 0.0], 1.0), "", 800.0)
        if i % 3 == 0:
            tally.add_look(_look(0.5, 0.1, 40.0, 0.0))
    window = tally.window("robot-1", 1.0)
    totals = {signal: Histogram.unpack(data).total for signal, data in window.histograms.items()}
    looks = -(-frames // 3)
    assert totals["confidence"] == totals["latency_us"] == frames
    assert totals["brightness"] == totals["saturation"] == looks == Moments.unpack(window.embedding).n


def test_truths_of_this_version_say_how_right_its_confidences_were() -> None:
    """An active decision of the window's version enters the labelled confidences; a right one both."""
    tally = Tally("m", 3, "", 0.0)
    tally.add_outcome(3, "bag", Outcome("1", "bag"), confidence=0.9)
    tally.add_outcome(3, "bag", Outcome("2", "boot"), confidence=0.6)
    tally.add_outcome(2, "bag", Outcome("3", "bag"), confidence=0.8)
    tally.add_outcome(3, "bag", Outcome("4", "bag"), confidence=0.0)
    window = tally.window("robot-1", 1.0)
    labelled, right = (Histogram("confidence"), Histogram("confidence"))
    for confidence in (0.9, 0.6):
        labelled.add(confidence)
    right.add(0.9)
    assert window.histograms["labelled_confidence"] == labelled.pack()
    assert window.histograms["right_confidence"] == right.pack()


def test_outcomes_are_weighted_by_the_chance_of_being_told() -> None:
    """Each source has its own sums; an item that one in four are chosen for counts as four."""
    tally = Tally("m", 3, "", 0.0)
    tally.add_outcome(3, "bag", Outcome("1", "bag", "audit", 0.25))
    tally.add_outcome(3, "bag", Outcome("2", "boot", "audit", 0.5))
    tally.add_outcome(3, "bag", Outcome("3", "boot"))
    assert tally.window("robot-1", 1.0).outcomes == (
        Outcomes(3, 1, 1, "", 1.0, 1.0, 1.0),
        Outcomes(3, 2, 1, "audit", 6.0, 2.0, 20.0),
    )


def test_an_absurd_chance_outweighs_nothing() -> None:
    """A chance that is tiny, negative or no number weighs at most the limit, and the counts stay right."""
    tally = Tally("m", 3, "", 0.0)
    for chance in (1e-300, -1.0, nan, inf):
        tally.add_outcome(3, "bag", Outcome("1", "boot", "liar", chance))
    (told,) = tally.window("robot-1", 1.0).outcomes
    assert (told.labelled, told.wrong, told.weight) == (4, 4, 2 * MAX_WEIGHT + 1)


def test_sources_beyond_the_first_few_are_one() -> None:
    """A machine that names a new source for each item gets a bounded window that counts every item."""
    tally = Tally("m", 3, "", 0.0)
    for i in range(100):
        tally.add_outcome(3, "bag", Outcome(str(i), "bag", f"source {i}"))
    outcomes = tally.window("robot-1", 1.0).outcomes
    assert len(outcomes) <= 9
    assert sum(told.labelled for told in outcomes) == 100
    assert {told.source: told.labelled for told in outcomes}[OTHER] == 92
