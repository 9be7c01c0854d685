from math import inf, isfinite
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright.agent.line.statistics import SIGNALS, Tally, score
from edgewright.agent.windows import OTHER
from edgewright.wire.cell import Decision
from edgewright.wire.histograms import Histogram
from edgewright.wire.messages import MAX_WINDOW_BYTES, encode

_logits = st.lists(st.floats(-1e4, 1e4, width=32), min_size=2, max_size=40)


def _decision(
    label: str, confidence: float = 0.9, source: Literal["active", "standby", "fallback"] = "active"
) -> Decision:
    return Decision(item="i", label=label, confidence=confidence, source=source, version=3)


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
    tally.add_outcome(2, "bag", "bag")
    tally.add_outcome(2, "bag", "boot")
    tally.add_outcome(3, "boot", "boot")
    window = tally.window("robot-1", 1.0)
    assert [(o.version, o.labelled, o.wrong) for o in window.outcomes] == [(2, 2, 1), (3, 1, 0)]
    assert window.truths == {"bag": (1, 0), "boot": (2, 1)}


def test_a_tally_without_frames_and_outcomes_is_empty() -> None:
    """Nothing is sent of a time in which nothing happened."""
    tally = Tally("m", 1, "", 0.0)
    assert tally.empty
    tally.add_outcome(1, "bag", "bag")
    assert not tally.empty


def test_a_window_of_many_classes_fits_into_its_limit() -> None:
    """With 5,000 labels of any length and full histograms a window stays within 2 KB and loses no frame."""
    rng = np.random.default_rng(5)
    tally = Tally("m" * 64, 2**31, "t" * 64, started=1.7e9)
    frames = 20_000
    for i, (p, latency) in enumerate(zip(rng.random(frames), rng.lognormal(8, 3, frames), strict=True)):
        label = f"class {i % 5000} " + "x" * (i % 90)
        logits = [float(p) * 20, 0.0, float(rng.random())]
        tally.add(_decision(label), score(logits, 1.0), "", float(latency))
        tally.add_image(float(p), float(p) / 2, float(latency))
        tally.add_outcome(i % 3, label, f"truth {i % 700}")
    window = tally.window("d" * 64, 10.0)
    assert len(encode(window)) <= MAX_WINDOW_BYTES - 64
    assert sum(window.classes.values()) == window.frames == frames
    assert sum(labelled for labelled, _ in window.truths.values()) == frames
    assert window.classes[OTHER] > 0


def test_values_that_are_not_finite_are_set_apart() -> None:
    """An image statistic that is no number is counted as invalid and breaks nothing."""
    tally = Tally("m", 1, "", 0.0)
    tally.add_image(float("nan"), 0.1, inf)
    window = tally.window("robot-1", 1.0)
    assert Histogram.unpack(window.histograms["brightness"]).invalid == 1
    assert Histogram.unpack(window.histograms["sharpness"]).invalid == 1
    assert isfinite(Histogram.unpack(window.histograms["contrast"]).mean())
