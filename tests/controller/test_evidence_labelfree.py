"""The accuracy is estimated from confidences alone, and says where it cannot be; all streams are seeded."""

import numpy as np
import pytest

from edgewright.controller.evidence.calibration import Calibration
from edgewright.controller.evidence.labelfree import MOST_UNSEEN, estimate, unseen_share
from edgewright.wire.histograms import Histogram
from tests.controller.confident_model import decisions, histogram

REFERENCE = 600
STREAMS = 25


def curve(rng: np.random.Generator, labels: int = REFERENCE) -> Calibration:
    """What testing learned."""
    rows = decisions(rng, labels)
    return Calibration.fit(histogram(rows.confidence), histogram(rows.confidence[rows.right]))


@pytest.mark.parametrize("spread", [3.0, 4.5, 1.8])
def test_the_interval_holds_the_truth(spread: float) -> None:
    """Where the inputs stay, get easier or harder, 95 % intervals hold the accuracy of 1,000 frames."""
    held, errors, raw = [], [], []
    for seed in range(STREAMS):
        rng = np.random.default_rng(seed)
        calibration = curve(rng)
        now = decisions(rng, 1000, spread=spread)
        low, middle, high = estimate(histogram(now.confidence), calibration)
        held.append(low <= now.right.mean() <= high)
        errors.append(middle - now.chance.mean())
        raw.append(now.confidence.mean() - now.chance.mean())
    assert np.mean(held) >= 0.85
    assert abs(np.mean(errors)) < 0.01 < 0.04 < np.mean(raw)


def test_dependent_frames_widen_the_interval() -> None:
    """A hundred effective frames of 10,000 give a wider interval with the same middle."""
    rng = np.random.default_rng(0)
    calibration, now = curve(rng), histogram(decisions(rng, 10_000).confidence)
    free, tied = estimate(now, calibration), estimate(now, calibration, effective=100)
    assert free.estimate == tied.estimate
    assert tied.high - tied.low > 1.5 * (free.high - free.low)
    assert estimate(now, calibration, effective=1e9) == free


def test_frames_do_not_outgrow_the_doubt_of_the_calibration() -> None:
    """A million frames against 200 labels of testing leave an interval as wide as those labels allow."""
    calibration = curve(np.random.default_rng(0), labels=200)
    now = Histogram(
        "confidence",
        [100 * n for n in histogram(decisions(np.random.default_rng(1), 10_000).confidence).counts],
    )
    low, _, high = estimate(now, calibration)
    assert high - low > 0.06


def test_flipped_labels_are_not_seen() -> None:
    """A concept drift leaves the estimate where it was, a fifth too high: audits have to see it."""
    rng = np.random.default_rng(0)
    calibration, now = curve(rng), decisions(rng, 5000, flips=0.25)
    assert estimate(histogram(now.confidence), calibration).estimate - now.right.mean() > 0.12


def test_confidences_that_testing_never_saw_are_told() -> None:
    """Frames in bins without labels are an extrapolation; those of testing are none."""
    rng = np.random.default_rng(0)
    rows = decisions(rng, 2000)
    sure = rows.confidence > 0.9
    calibration = Calibration.fit(
        histogram(rows.confidence[sure]), histogram(rows.confidence[sure & rows.right])
    )
    assert unseen_share(histogram(rows.confidence[sure]), calibration) == 0.0
    doubtful = histogram(rows.confidence[~sure])
    assert unseen_share(doubtful, calibration) > MOST_UNSEEN
    low, _, high = estimate(doubtful, calibration)
    assert high - low > 0.1


def test_an_empty_window_says_nothing() -> None:
    """Without frames the interval is everything, and nothing is unseen."""
    calibration, empty = curve(np.random.default_rng(0)), Histogram("confidence")
    assert (estimate(empty, calibration).low, estimate(empty, calibration).high) == (0.0, 1.0)
    assert unseen_share(empty, calibration) == 0.0


def test_nonsense_is_refused() -> None:
    """Another signal's histogram and no effective frames are refused."""
    calibration = curve(np.random.default_rng(0))
    with pytest.raises(ValueError, match="confidence"):
        estimate(Histogram("unit"), calibration)
    with pytest.raises(ValueError, match="positive"):
        estimate(Histogram("confidence"), calibration, effective=0.0)
