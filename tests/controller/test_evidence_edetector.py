"""The e-detectors keep their run length and find what they promise to find; all streams are seeded."""

from collections.abc import Callable

import numpy as np
import pytest

from edgewright.controller.evidence.edetector import ErrorRateDetector, MeanDetector
from edgewright.wire.histograms import Histogram

RUN_LENGTH = 100
STREAMS = 150
HORIZON = 25
"""Blocks within which an alarm is early: a quarter of the run length."""

LONGEST = 10 * RUN_LENGTH
BLOCK = 6
TIMES = np.arange(1.0, LONGEST + 1).tolist()


def keeps(alarms: list[float]) -> bool:
    """Whether alarms within ``HORIZON`` are at most as frequent as promised, up to two standard errors."""
    promised = HORIZON / RUN_LENGTH
    slack = 2 * (promised * (1 - promised) / len(alarms)) ** 0.5
    return bool(np.mean(np.array(alarms) <= HORIZON) <= promised + slack)


def test_the_error_detector_keeps_its_run_length_at_the_edge_of_the_null() -> None:
    """At exactly the null rate, the worst case, early alarms are rare, and runs end."""
    alarms = []
    for seed in range(STREAMS):
        wrong = np.random.default_rng(seed).binomial(BLOCK, 0.1, LONGEST).tolist()
        detector = ErrorRateDetector(0.1, RUN_LENGTH)
        detector.observe([BLOCK] * LONGEST, wrong, TIMES)
        alarms.append(min(detector.alarmed_at, LONGEST))
    assert keeps(alarms)
    assert RUN_LENGTH <= np.mean(alarms) < 6 * RUN_LENGTH


def test_a_rate_above_the_null_breaks_the_run_length() -> None:
    """The check can fail: at a rate of 0.2 against a null of 0.1 early alarms are too frequent."""
    alarms = []
    for seed in range(STREAMS):
        wrong = np.random.default_rng(seed).binomial(BLOCK, 0.2, HORIZON).tolist()
        detector = ErrorRateDetector(0.1, RUN_LENGTH)
        detector.observe([BLOCK] * HORIZON, wrong, TIMES[:HORIZON])
        alarms.append(detector.alarmed_at)
    assert not keeps(alarms)


def test_the_mean_detector_keeps_its_run_length_under_dependence() -> None:
    """Blocks that follow each other with a conditional mean at the null keep the run length."""
    alarms = []
    for seed in range(STREAMS):
        signs = np.random.default_rng(seed).choice([-1.0, 1.0], HORIZON)
        # The spread is inherited from the last value: dependent, with the same conditional mean.
        spread = np.where(np.r_[-1.0, signs[:-1]] > 0, 0.19, 0.05)
        detector = MeanDetector(0.2, RUN_LENGTH)
        detector.observe((0.2 + spread * signs).tolist(), TIMES[:HORIZON])
        alarms.append(detector.alarmed_at)
    assert keeps(alarms)


def test_nothing_is_found_below_the_null() -> None:
    """A stream at the reference rate raises no alarm in 2,000 windows, on any of 20 seeds."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        detector = ErrorRateDetector(0.127, 100_000)
        wrong = rng.binomial(BLOCK, 0.09, 2000).tolist()
        detector.observe([BLOCK] * 2000, wrong, np.arange(2000.0).tolist())
        assert detector.alarmed_at == np.inf


def test_a_jump_from_9_to_35_percent_is_found_within_160_labelled_items() -> None:
    """The demo's drift: half of the streams alarm within 80 labelled items, all within 160."""
    delays = [delay_items(seed, after=0.35)[0] for seed in range(40)]
    assert np.median(delays) <= 80
    assert max(delays) <= 160


def test_the_onset_is_told() -> None:
    """The estimated onset of a jump lies within four windows of the true one on nine of ten streams."""
    missed = [abs(delay_items(seed, after=0.35)[1]) for seed in range(40)]
    assert np.quantile(missed, 0.9) <= 4


def delay_items(seed: int, after: float) -> tuple[int, float]:
    """Labelled items from the change to the alarm, and how far the onset's estimate is off in windows."""
    rng = np.random.default_rng(seed)
    detector = ErrorRateDetector(0.127, 100_000)
    before = 300
    detector.observe(
        [BLOCK] * before, rng.binomial(BLOCK, 0.09, before).tolist(), np.arange(float(before)).tolist()
    )
    for block in range(LONGEST):
        detector.observe([BLOCK], [int(rng.binomial(BLOCK, after))], [float(before + block)])
        if detector.alarm:
            return (block + 1) * BLOCK, detector.onset_at - before
    raise AssertionError("The jump was not found.")


def test_a_mean_that_rises_is_found() -> None:
    """A doubt of 0.10 that becomes 0.14 in blocks with a deviation of 0.05 is found within 150 blocks."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        detector = MeanDetector(0.11, 100_000)
        detector.observe(rng.normal(0.10, 0.05, 500).clip(0, 1).tolist(), np.arange(500.0).tolist())
        assert not detector.alarm
        detector.observe(rng.normal(0.14, 0.05, 150).clip(0, 1).tolist(), np.arange(500.0, 650.0).tolist())
        assert detector.alarm


def test_many_blocks_at_once_are_the_same_as_one_by_one() -> None:
    """How windows are batched changes neither evidence nor onset."""
    rng = np.random.default_rng(3)
    wrong = [*rng.binomial(BLOCK, 0.1, 40).tolist(), *rng.binomial(BLOCK, 0.3, 20).tolist()]
    at = np.arange(60.0).tolist()
    together, apart = ErrorRateDetector(0.1, 1e5), ErrorRateDetector(0.1, 1e5)
    together.observe([BLOCK] * 60, wrong, at)
    for block in range(60):
        apart.observe([BLOCK], wrong[block : block + 1], at[block : block + 1])
    assert together.log_evidence == pytest.approx(apart.log_evidence)
    assert together.onset_at == apart.onset_at


def test_an_alarm_in_the_middle_of_many_blocks_is_told() -> None:
    """When the evidence first reached the run length is the same however windows are batched."""
    wrong, at = [0] * 20 + [5] * 20 + [0] * 600, np.arange(640.0).tolist()
    together, apart = ErrorRateDetector(0.1, 1e4), ErrorRateDetector(0.1, 1e4)
    together.observe([BLOCK] * 640, wrong, at)
    for block in range(640):
        apart.observe([BLOCK], wrong[block : block + 1], at[block : block + 1])
    assert not together.alarm
    assert 20 <= together.alarmed_at < 40
    assert together.alarmed_at == apart.alarmed_at


def test_extreme_evidence_stays_a_number() -> None:
    """A million wrong items and a million right ones after them overflow nothing."""
    detector = ErrorRateDetector(0.1, 1e5)
    detector.observe([1000] * 1000, [1000] * 1000, np.arange(1000.0).tolist())
    assert detector.alarm
    assert np.isfinite(detector.evidence)
    detector.observe([1000] * 10_000, [0] * 10_000, np.arange(1000.0, 11_000.0).tolist())
    assert np.isfinite(detector.log_evidence)


def test_a_window_without_labels_changes_nothing() -> None:
    """Blocks with no labelled item leave the evidence as it was."""
    detector = ErrorRateDetector(0.1, 1e5)
    detector.observe([10], [3], [1.0])
    before = detector.log_evidence
    detector.observe([0, 0], [0, 0], [2.0, 3.0])
    detector.observe([], [], [])
    assert detector.log_evidence == before


@pytest.mark.parametrize(
    "wrong_call",
    [
        lambda: ErrorRateDetector(0.0, 100),
        lambda: ErrorRateDetector(0.1, 1.0),
        lambda: MeanDetector(1.0, 100),
        lambda: ErrorRateDetector(0.1, 100).observe([3], [4], [0.0]),
        lambda: ErrorRateDetector(0.1, 100).observe([3], [1], [0.0], inflation=0.5),
        lambda: ErrorRateDetector.from_sample(0, 0, 100),
        lambda: ErrorRateDetector.from_sample(10, 11, 100),
        lambda: MeanDetector.from_histogram(Histogram("unit"), 100),
        lambda: MeanDetector(0.1, 100).observe([float("nan")], [0.0]),
    ],
)
def test_what_is_no_observation_is_refused(wrong_call: Callable[[], object]) -> None:
    """Rates outside (0, 1), counts that cannot be and values that are no numbers raise at once."""
    with pytest.raises(ValueError, match=r"must be|has between|has items|has at least"):
        wrong_call()


def test_evidence_that_is_capped_ends_with_what_it_saw() -> None:
    """After two thousand bad blocks, fifty good ones end an alarm that has a ceiling, and no other."""
    capped, free = ErrorRateDetector(0.126, 100_000, ceiling=3.0), ErrorRateDetector(0.126, 100_000)
    for detector in (capped, free):
        detector.observe([20] * 2000, [8] * 2000, [float(at) for at in range(2000)])
        assert detector.alarm
        detector.observe([20] * 50, [1] * 50, [float(at) for at in range(2000, 2050)])
    assert (capped.alarm, free.alarm) == (False, True)
