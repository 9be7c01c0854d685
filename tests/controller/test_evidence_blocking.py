"""The effective sample size of dependent frames is measured from window sums; all streams are seeded."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from edgewright.controller.evidence.blocking import Blocking, moments
from edgewright.wire.histograms import Histogram
from tests.benchmarks.drift_streams import confidences

Floats = NDArray[np.float64]


def blocking_of(values: Floats, frames: int) -> Blocking:
    """What windows of so many frames measure."""
    rows = values.reshape(-1, frames)
    blocking = Blocking()
    blocking.observe([frames] * len(rows), rows.mean(axis=1).tolist(), rows.var(axis=1).tolist())
    return blocking


@pytest.mark.parametrize("frames", [10, 50])
@pytest.mark.parametrize(("rho", "truth"), [(0.0, 1.0), (0.5, 3.0), (0.9, 19.0)])
def test_the_inflation_is_that_of_the_series(rho: float, truth: float, frames: int) -> None:
    """For an AR(1) the median measurement lies between the truth and 1.4 times it, whatever the window."""
    measured = [blocking_of(confidences(seed, [(8000, 0.91)], rho), frames).inflation for seed in range(9)]
    assert 0.95 * truth <= np.median(measured) <= 1.4 * truth


def test_errors_in_bursts_are_measured() -> None:
    """Errors that come ten at a time are worth about a tenth of independent ones."""
    bursts = np.repeat(np.random.default_rng(1).random(800) < 0.1, 10).astype(float)
    assert 7.0 <= blocking_of(bursts, 20).inflation <= 16.0


def test_blocks_hardly_depend_on_each_other() -> None:
    """Means of blocks of the advised size have a neighbours' correlation of at most 0.1."""
    values = confidences(3, [(200_000, 0.91)], 0.9)
    block = blocking_of(values[:20_000], 10).windows_per_block * 10
    means = values[: values.size // block * block].reshape(-1, block).mean(axis=1)
    assert np.corrcoef(means[1:], means[:-1])[0, 1] <= 0.1


def test_the_effective_number_makes_an_interval_cover() -> None:
    """Two standard errors by the effective number cover the mean of dependent windows nine times in ten."""
    covered = []
    for seed in range(60):
        values = confidences(seed, [(8000, 0.91)], 0.9)
        effective = blocking_of(values, 20).effective(8000)
        covered.append(abs(values.mean() - 0.91) <= 2 * values.std() / effective**0.5)
    assert np.mean(covered) >= 0.9


def test_a_change_that_is_being_found_is_not_taken_for_dependence() -> None:
    """After a jump of half a deviation in the last tenth the inflation is at most a quarter larger."""
    steady = confidences(4, [(8000, 0.91)], 0.9)
    jumped = np.r_[steady, confidences(5, [(800, 0.88)], 0.9)]
    assert blocking_of(jumped, 10).inflation <= 1.25 * blocking_of(steady, 10).inflation


def test_the_measurement_stays_until_a_quarter_more_windows_have_come() -> None:
    """What is measured holds for windows after it: it does not follow each window."""
    blocking = blocking_of(confidences(6, [(1000, 0.91)], 0.5), 10)
    before = blocking.inflation
    blocking.observe([10] * 20, [0.0, 1.0] * 10, [0.0] * 20)
    assert blocking.inflation == before
    blocking.observe([10] * 20, [0.0, 1.0] * 10, [0.0] * 20)
    assert blocking.inflation != before


def test_few_windows_and_constant_ones_are_worth_their_frames() -> None:
    """Without enough windows, or without any spread, frames are taken as independent."""
    assert blocking_of(confidences(7, [(150, 0.91)], 0.9), 10).inflation == 1.0
    assert blocking_of(np.full(1000, 0.5), 10).inflation == 1.0


def test_histograms_are_measured_as_sums_are() -> None:
    """Moments of a histogram are those of its bin centres, and an empty window is left out."""
    histogram = Histogram("unit", [10] + [0] * 62 + [10])
    frames, mean, variance = moments(histogram)
    assert (frames, mean, variance) == pytest.approx((20, 0.5, (0.5 - 1 / 128) ** 2))
    blocking = Blocking()
    blocking.observe_histograms([histogram, Histogram("unit"), histogram])
    assert blocking.windows == 2


@pytest.mark.parametrize(
    "wrong_call",
    [
        lambda: Blocking().observe([-1], [0.5], [0.1]),
        lambda: Blocking().observe([10], [float("nan")], [0.1]),
        lambda: Blocking().observe([10], [0.5], [-0.1]),
    ],
)
def test_what_is_no_window_is_refused(wrong_call: Callable[[], object]) -> None:
    """Negative counts, means that are no numbers and negative variances raise at once."""
    with pytest.raises(ValueError, match="A window has"):
        wrong_call()
