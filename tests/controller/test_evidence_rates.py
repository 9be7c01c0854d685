"""Intervals and comparisons of rates hold at all times at once; all streams are seeded."""

from math import log

import numpy as np
import pytest

from edgewright.controller.evidence.confidence_sequence import mean_interval, rate_interval, upper_bound_once
from edgewright.controller.evidence.paired import Pairs, log_evidence_better, lower_bound
from edgewright.controller.evidence.two_rates import Counts, log_evidence_not_worse, log_evidence_worse
from edgewright.wire.histograms import SCHEMAS, Histogram
from tests.benchmarks.drift_streams import confidences

LOOKS = (5, 10, 20, 40, 80, 160, 320, 640)


def test_the_interval_holds_at_all_looks_together() -> None:
    """Of 400 streams at most 5 % (and the chance of it) ever have the true rate outside."""
    rng = np.random.default_rng(1)
    broken = 0
    for _ in range(400):
        wrong = np.cumsum(rng.random(LOOKS[-1]) < 0.2)
        intervals = [rate_interval(n, int(wrong[n - 1]), 0.05) for n in LOOKS]
        broken += any(not low <= 0.2 <= high for low, _, high in intervals)
    assert broken <= 0.05 * 400 + 2 * (0.05 * 0.95 * 400) ** 0.5


def test_the_interval_narrows_around_the_estimate() -> None:
    """With 10,000 items a rate of 10 % is known to two points, and no labels say nothing."""
    low, estimate, high = rate_interval(10_000, 1000, 0.05)
    assert (low < estimate < high, estimate) == (True, 0.1)
    assert high - low < 0.025
    assert (rate_interval(0, 0, 0.05).low, rate_interval(0, 0, 0.05).high) == (0.0, 1.0)


def mean_looks(rho: float, inflation: float) -> float:
    """Share of 40 streams of confidences whose mean is ever outside of its 90 % interval, at five looks."""
    edges, broken = np.array(SCHEMAS["confidence"].edges), 0
    centres = np.array(Histogram("confidence").centres)
    many = np.searchsorted(edges, confidences(77, [(300_000, 0.91)], 0.0), side="right")
    truth = float(centres[many].mean())
    for seed in range(40):
        bins = np.searchsorted(edges, confidences(seed, [(2000, 0.91)], rho), side="right")
        looks = [np.bincount(bins[:n], minlength=64).tolist() for n in range(400, 2001, 400)]
        intervals = [mean_interval(Histogram("confidence", c), 0.1, inflation=inflation) for c in looks]
        broken += any(not low <= truth <= high for low, _, high in intervals)
    return broken / 40


@pytest.mark.parametrize(("rho", "inflation"), [(0.0, 1.0), (0.9, 19.0)])
def test_the_interval_of_a_mean_holds_at_all_looks_together(rho: float, inflation: float) -> None:
    """Of 40 streams at most 10 % (and the chance of it) ever have the true mean outside, dependent or not."""
    assert mean_looks(rho, inflation) <= 0.1 + 2 * (0.1 * 0.9 / 40) ** 0.5


def test_frames_taken_as_independent_break_the_interval_of_a_mean() -> None:
    """The check can fail: at a correlation of 0.9, without the inflation, most intervals miss."""
    assert mean_looks(0.9, 1.0) > 0.5


def test_the_interval_of_a_mean_adapts_to_the_spread() -> None:
    """Of 10,000 frames, a signal with a tenth of the spread has an interval at most a quarter as wide."""
    rng, widths = np.random.default_rng(8), []
    for spread in (0.02, 0.2):
        counts = np.histogram(rng.normal(0.5, spread, 10_000).clip(0, 0.999), 64, (0, 1))[0].tolist()
        low, mean, high = mean_interval(Histogram("unit", counts), 0.05)
        assert low < mean < high
        widths.append(high - low)
    assert widths[0] < widths[1] / 4
    assert mean_interval(Histogram("unit"), 0.05) == (0.0, 0.5, 1.0)


@pytest.mark.parametrize(("n", "wrong", "bound"), [(100, 0, 0.0295), (100, 10, 0.1637), (10, 10, 1.0)])
def test_the_bound_of_a_test_set_is_clopper_and_pearsons(n: int, wrong: int, bound: float) -> None:
    """The upper bounds are those of the published tables of the beta distribution."""
    assert upper_bound_once(n, wrong, 0.05) == pytest.approx(bound, abs=2e-4)


def test_a_bad_canary_passes_rarely_however_often_one_looks() -> None:
    """Exactly at the tolerance, of 150 streams with eight looks at most 5 % (and its chance) ever pass."""
    rng = np.random.default_rng(2)
    passed = 0
    for _ in range(150):
        canary, control = rng.random(LOOKS[-1]) < 0.15, rng.random(2 * LOOKS[-1]) < 0.10
        evidence = [
            log_evidence_not_worse(
                Counts(n, int(canary[:n].sum())), Counts(2 * n, int(control[: 2 * n].sum())), 0.05
            )
            for n in LOOKS
        ]
        passed += max(evidence) >= log(20)
    assert passed <= 0.05 * 150 + 2 * (0.05 * 0.95 * 150) ** 0.5


def test_an_equal_canary_is_stopped_rarely_however_often_one_looks() -> None:
    """With equal rates and no tolerance, of 150 streams at most 5 % (and its chance) are ever stopped."""
    rng = np.random.default_rng(3)
    stopped = 0
    for _ in range(150):
        canary, control = rng.random(LOOKS[-1]) < 0.1, rng.random(LOOKS[-1]) < 0.1
        evidence = [
            log_evidence_worse(Counts(n, int(canary[:n].sum())), Counts(n, int(control[:n].sum())), 0.0)
            for n in LOOKS
        ]
        stopped += max(evidence) >= log(20)
    assert stopped <= 0.05 * 150 + 2 * (0.05 * 0.95 * 150) ** 0.5


@pytest.mark.parametrize(("canary", "control"), [((0, 0), (0, 0)), ((0, 0), (50, 5)), ((50, 5), (0, 0))])
def test_without_labels_on_both_sides_nothing_is_shown(
    canary: tuple[int, int], control: tuple[int, int]
) -> None:
    """A comparison with an empty side has no evidence either way."""
    assert log_evidence_not_worse(Counts(*canary), Counts(*control), 0.02) <= 0.1
    assert log_evidence_worse(Counts(*canary), Counts(*control), 0.02) <= 0.1


def test_a_candidate_that_is_not_better_by_the_margin_passes_rarely() -> None:
    """At exactly the margin, of 400 streams with eight looks at most 5 % (and its chance) ever pass."""
    rng = np.random.default_rng(4)
    passed = 0
    for _ in range(400):
        differences = rng.choice([1, -1, 0], LOOKS[-1], p=[0.12, 0.10, 0.78])
        looks = [differences[:n] for n in LOOKS]
        evidence = [
            log_evidence_better(Pairs(int((d == 1).sum()), int((d == -1).sum()), int((d == 0).sum())), 0.02)
            for d in looks
        ]
        passed += max(evidence) >= log(20)
    assert passed <= 0.05 * 400 + 2 * (0.05 * 0.95 * 400) ** 0.5


def test_the_lower_bound_of_a_gain_is_where_the_evidence_ends() -> None:
    """Just below the bound the gain is shown, just above it is not."""
    pairs = Pairs(gained=30, lost=4, same=66)
    bound = lower_bound(pairs, 0.05)
    assert 0.0 < bound < pairs.difference
    assert log_evidence_better(pairs, bound - 1e-6) >= log(20) > log_evidence_better(pairs, bound + 1e-6)
