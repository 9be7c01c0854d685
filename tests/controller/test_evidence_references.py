"""Detectors against a reference that is a sample, fed with frames that depend on each other; all seeded."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from edgewright.controller.evidence.blocking import Blocking
from edgewright.controller.evidence.edetector import ErrorRateDetector, MeanDetector
from edgewright.wire.histograms import SCHEMAS, Histogram
from tests.benchmarks.drift_streams import confidences

Floats = NDArray[np.float64]

RUN_LENGTH = 1000
WINDOWS = 200
"""Windows within which an alarm is early: a fifth of the run length."""

FRAMES = 20
"""A window's."""

TIMES = np.arange(1.0, WINDOWS + 1).tolist()


def windows_of(values: Floats, schema: str = "confidence") -> list[Histogram]:
    """The windows of a stream."""
    edges = np.array(SCHEMAS[schema].edges)
    rows = np.searchsorted(edges, values, side="right").reshape(-1, FRAMES)
    return [Histogram(schema, np.bincount(row, minlength=64).tolist()) for row in rows]


def merged(windows: list[Histogram]) -> Histogram:
    """All of them as one."""
    total = Histogram(windows[0].schema)
    for window in windows:
        total.merge(window)
    return total


def keeps(alarms: list[float]) -> bool:
    """Whether alarms within ``WINDOWS`` are at most as frequent as promised, up to two standard errors."""
    promised = WINDOWS / RUN_LENGTH
    slack = 2 * (promised * (1 - promised) / len(alarms)) ** 0.5
    return bool(np.mean(np.isfinite(alarms)) <= promised + slack)


def error_alarms(make: Callable[[int, int], ErrorRateDetector], tested: int) -> list[float]:
    """Alarms within ``WINDOWS`` against references of ``tested`` items, all at a rate of 0.1."""
    alarms = []
    for seed in range(80):
        rng = np.random.default_rng(seed)
        detector = make(tested, int(rng.binomial(tested, 0.1)))
        wrong = rng.binomial(FRAMES, 0.1, WINDOWS).tolist()
        detector.observe([FRAMES] * WINDOWS, wrong, TIMES)
        alarms.append(detector.alarmed_at)
    return alarms


@pytest.mark.parametrize("tested", [50, 400])
def test_a_sampled_reference_keeps_the_run_length(tested: int) -> None:
    """Over all references early alarms are as rare as promised, with many tested items or few."""
    assert keeps(error_alarms(lambda n, w: ErrorRateDetector.from_sample(n, w, RUN_LENGTH), tested))


def test_a_sample_taken_at_its_word_breaks_the_run_length() -> None:
    """The check can fail: with the sample's rate as the truth, early alarms against 50 items are frequent."""
    assert not keeps(error_alarms(lambda n, w: ErrorRateDetector((w + 0.5) / (n + 1), RUN_LENGTH), tested=50))


def test_a_larger_reference_finds_sooner() -> None:
    """A rise from 5 to 10 % is found sooner against 4,000 tested items than against 400."""
    delays = []
    for tested in (400, 4000):
        found = []
        for seed in range(20):
            wrong = np.random.default_rng(seed).binomial(FRAMES, 0.1, WINDOWS).tolist()
            detector = ErrorRateDetector.from_sample(tested, tested // 20, 5000)
            detector.observe([FRAMES] * WINDOWS, wrong, TIMES)
            found.append(detector.alarmed_at)
        delays.append(np.median(found))
    assert delays[1] < delays[0] < 150


def test_the_tolerance_moves_the_null() -> None:
    """A rise within the tolerance raises no alarm where the same rise without one does."""
    wrong = np.random.default_rng(5).binomial(FRAMES, 0.13, 300).tolist()
    alarms = []
    for tolerance in (0.0, 0.05):
        detector = ErrorRateDetector.from_sample(4000, 400, 1000, tolerance=tolerance)
        detector.observe([FRAMES] * 300, wrong, np.arange(300.0).tolist())
        alarms.append(bool(np.isfinite(detector.alarmed_at)))
    assert alarms == [True, False]


def draw(kind: str, seed: int, frames: int) -> Floats:
    """Values in [0, 1] of one distribution."""
    rng = np.random.default_rng(seed)
    if kind == "bernoulli":
        return np.where(rng.random(frames) < 0.3, 0.999, 0.001)
    if kind == "heavy":
        # A Pareto tail with an infinite variance, cut where the signal ends.
        return np.minimum(0.01 * rng.pareto(1.5, frames), 0.999)
    return rng.beta(20.0, 2.0, frames)


@pytest.mark.parametrize("kind", ["beta", "bernoulli", "heavy"])
def test_the_mean_detector_keeps_its_run_length_for_any_distribution(kind: str) -> None:
    """Skewed, binary and heavy-tailed signals at the edge of the null keep the run length."""
    centres = np.array(Histogram("unit").centres)
    counts = np.array(merged(windows_of(draw(kind, 999, 200_000), "unit")).counts)
    null, alarms = float(counts @ centres / counts.sum()), []
    for seed in range(40):
        detector = MeanDetector(null, RUN_LENGTH)
        detector.observe_histograms(windows_of(draw(kind, seed, WINDOWS * FRAMES), "unit"), TIMES)
        alarms.append(detector.alarmed_at)
    assert keeps(alarms)


def confidence_alarms(rho: float, *, measured: bool) -> list[float]:
    """Alarms of the detector of fallen confidence within ``WINDOWS``, against a reference of 200 windows."""
    alarms = []
    for seed in range(30):
        windows = windows_of(confidences(seed, [((200 + WINDOWS) * FRAMES, 0.91)], rho))
        blocking = Blocking()
        if measured:
            blocking.observe_histograms(windows[:200])
        worth = blocking.inflation
        tested = merged(windows[:200])
        detector = MeanDetector.from_histogram(tested, RUN_LENGTH, inflation=worth, falling=True)
        detector.observe_histograms(windows[200:], TIMES, inflation=worth)
        alarms.append(detector.alarmed_at)
    return alarms


@pytest.mark.parametrize("rho", [0.0, 0.9])
def test_measured_dependence_keeps_the_run_length(rho: float) -> None:
    """With a sampled reference and a measured inflation, early alarms are rare, video or not."""
    assert keeps(confidence_alarms(rho, measured=True))


def test_frames_taken_as_independent_break_the_run_length() -> None:
    """The check can fail: at a correlation of 0.9, without the inflation, early alarms are frequent."""
    assert not keeps(confidence_alarms(0.9, measured=False))


def test_a_fallen_confidence_is_found_in_dependent_frames() -> None:
    """A fall from 0.91 to 0.88 at a correlation of 0.9 is found on nine of ten streams in 6,000 frames."""
    found = []
    for seed in range(10):
        windows = windows_of(confidences(seed, [(5000, 0.91), (6000, 0.88)], 0.9))
        blocking = Blocking()
        blocking.observe_histograms(windows[:200])
        detector = MeanDetector.from_histogram(
            merged(windows[:200]), 2500, inflation=blocking.inflation, falling=True
        )
        detector.observe_histograms(windows[200:], np.arange(350.0).tolist(), inflation=blocking.inflation)
        found.append(50 <= detector.alarmed_at < np.inf)
    assert np.mean(found) >= 0.9


def test_a_larger_inflation_means_less_evidence() -> None:
    """Evidence of the same frames falls as they are worth less, and both look the same way."""
    windows = windows_of(confidences(1, [(1000, 0.85)], 0.0))
    logs = []
    for inflation in (1.0, 3.0, 9.0):
        detector = MeanDetector(0.09, 1000, falling=True)
        detector.observe_histograms(windows, np.arange(50.0).tolist(), inflation=inflation)
        logs.append(detector.log_evidence)
    assert logs[0] > logs[1] > logs[2] > 0.0


def test_windows_without_frames_are_no_blocks() -> None:
    """Empty histograms change nothing."""
    detector = MeanDetector(0.5, 1000)
    detector.observe_histograms([Histogram("unit"), Histogram("unit")], [0.0, 1.0])
    assert detector.log_evidence == -np.inf
