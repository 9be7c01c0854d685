"""The detector of changed histograms keeps its run length and finds what a mean does not; all seeded."""

import numpy as np
import pytest
from numpy.typing import NDArray

from edgewright.controller.evidence.edetector import MeanDetector
from edgewright.controller.evidence.histogram_detector import HistogramDetector
from edgewright.wire.errors import HistogramMismatchError
from edgewright.wire.histograms import SCHEMAS, Histogram
from tests.benchmarks.drift_streams import confidences

Floats = NDArray[np.float64]

RUN_LENGTH = 200
HORIZON = 40
"""Blocks within which an alarm is early: a fifth of the run length."""

STREAMS = 30


def blocks_of(values: Floats, frames: int, schema: str = "unit") -> list[Histogram]:
    """Histograms of so many frames each."""
    rows = np.searchsorted(np.array(SCHEMAS[schema].edges), values, side="right").reshape(-1, frames)
    return [Histogram(schema, np.bincount(row, minlength=64).tolist()) for row in rows]


def whole(blocks: list[Histogram]) -> Histogram:
    """All of them as one."""
    total = Histogram(blocks[0].schema)
    for block in blocks:
        total.merge(block)
    return total


def early(reference_mean: float) -> float:
    """Share of streams with a mean of 0.91 that alarm within ``HORIZON`` blocks, against such a reference."""
    found = []
    for seed in range(STREAMS):
        tested = confidences(seed, [(20 * 100, reference_mean)], 0.9)
        stream = confidences(seed + 500, [(HORIZON * 100, 0.91)], 0.9)
        detector = HistogramDetector(whole(blocks_of(tested, 100, "confidence")), RUN_LENGTH, inflation=19.0)
        for at, block in enumerate(blocks_of(stream, 100, "confidence")):
            detector.observe(block, float(at), inflation=19.0)
        found.append(bool(np.isfinite(detector.alarmed_at)))
    return float(np.mean(found))


def test_the_run_length_is_kept_with_a_small_reference_and_dependent_frames() -> None:
    """With a correlation of 0.9 and 20 blocks as the reference, early alarms are as rare as promised."""
    promised = HORIZON / RUN_LENGTH
    assert early(0.91) <= promised + 2 * (promised * (1 - promised) / STREAMS) ** 0.5


def test_a_reference_that_is_off_breaks_the_run_length() -> None:
    """The check can fail: against a reference with a mean of 0.84 early alarms are too frequent."""
    assert early(0.84) > 0.5


def test_a_change_of_shape_with_the_same_mean_is_found() -> None:
    """A signal that spreads without moving its mean is found within 60 blocks; its mean tells nothing."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        tested = rng.normal(0.5, 0.10, 4000).clip(0, 1)
        stream = np.r_[rng.normal(0.5, 0.10, 2000), rng.normal(0.5, 0.16, 3000)].clip(0, 1)
        reference = whole(blocks_of(tested, 50))
        detector, mean = HistogramDetector(reference, 10_000), MeanDetector.from_histogram(reference, 10_000)
        for at, block in enumerate(blocks_of(stream, 50)):
            detector.observe(block, float(at))
            mean.observe_histograms([block], [float(at)])
        assert 40 <= detector.alarmed_at < 100
        assert 34 <= detector.onset_at <= 60
        assert mean.alarmed_at == np.inf


def test_a_replay_gives_the_same_evidence() -> None:
    """Two detectors that see the same blocks have the same evidence to the last digit."""
    blocks = blocks_of(np.random.default_rng(1).beta(5, 2, 3000), 50)
    pair = [HistogramDetector(whole(blocks[:20]), 1000) for _ in range(2)]
    for detector in pair:
        for at, block in enumerate(blocks[20:]):
            detector.observe(block, float(at))
    assert pair[0].log_evidence == pair[1].log_evidence


def test_empty_blocks_are_none_and_other_schemas_are_refused() -> None:
    """An empty histogram changes nothing; one of another signal, or too small a reference, raises."""
    reference = Histogram("unit", [10] * 64)
    detector = HistogramDetector(reference, 1000)
    detector.observe(Histogram("unit"), 0.0)
    assert detector.log_evidence == -np.inf
    with pytest.raises(HistogramMismatchError):
        detector.observe(Histogram("confidence"), 1.0)
    with pytest.raises(ValueError, match="at least 4"):
        HistogramDetector(Histogram("unit", [3] + [0] * 63), 1000)
