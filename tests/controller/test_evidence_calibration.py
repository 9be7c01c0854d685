"""The chance of being right, bin by bin, is recovered from counts; all streams are seeded."""

import msgspec
import numpy as np
import pytest
from scipy.special import logit

from edgewright.controller.evidence.calibration import MIDDLES, Calibration, Layer
from edgewright.wire.histograms import BINS, Histogram
from tests.controller.confident_model import decisions, histogram


def fitted(labels: int, seed: int = 0, overconfidence: float = 1.8) -> Calibration:
    """The curve of a model that says ``overconfidence`` times the true log odds."""
    rows = decisions(np.random.default_rng(seed), labels, overconfidence=overconfidence)
    return Calibration.fit(histogram(rows.confidence), histogram(rows.confidence[rows.right]))


def test_many_labels_give_the_true_curve() -> None:
    """With 20,000 labels each bin between the thousandths lies within 0.02 of the true chance."""
    curve = fitted(20_000)
    truth = 1.0 / (1.0 + np.exp(-MIDDLES / 1.8))
    seen = curve.labelled >= 20
    assert seen.sum() > 30
    assert np.max(np.abs(curve.chances - truth)[seen]) < 0.02


def test_the_chance_never_falls_with_the_confidence() -> None:
    """Counts that fall with the confidence give a flat curve, not a falling one."""
    labelled, right = Histogram("confidence"), Histogram("confidence")
    for confidence, share in ((0.6, 90), (0.9, 70), (0.99, 50)):
        for item in range(100):
            labelled.add(confidence)
            if item < share:
                right.add(confidence)
    assert np.all(np.diff(Calibration.fit(labelled, right).chances) >= 0.0)


def test_fewer_labels_leave_more_doubt() -> None:
    """A hundredth of the labels widens the bounds, and bins without labels are wider than those with."""
    few, many = fitted(200), fitted(20_000)
    assert np.all(few.lowest_chances(0.05)[20:40] < many.lowest_chances(0.05)[20:40])
    apart = logit(few.chances) - logit(few.lowest_chances(0.05))
    assert apart[3] > 2 * apart[20]
    assert few.unseen()[3]
    assert not few.unseen()[20]


def test_a_device_of_its_own_is_learned() -> None:
    """Labels of a device whose confidences lie half as much again bring its curve at least twice as near."""
    testing = fitted(5000)
    rows = decisions(np.random.default_rng(1), 1500, overconfidence=2.7)
    own = testing.recalibrated(histogram(rows.confidence), histogram(rows.confidence[rows.right]))
    truth = 1.0 / (1.0 + np.exp(-MIDDLES / 2.7))
    usual = slice(20, 45)
    before = np.abs(testing.chances - truth)[usual].mean()
    assert np.abs(own.chances - truth)[usual].mean() < before / 2


def test_five_labels_of_a_device_hardly_move_the_curve() -> None:
    """Five right answers at a middling confidence, as likely as not, move the curve by less than 0.05."""
    testing = fitted(5000)
    five = Histogram("confidence")
    for _ in range(5):
        five.add(0.8)
    own = testing.recalibrated(five, five)
    assert np.max(np.abs(own.chances - testing.chances)[16:]) < 0.05


def test_no_label_of_a_device_moves_nothing_much() -> None:
    """Empty counts leave the most likely odds where they were; only the doubt grows."""
    testing, empty = fitted(5000), Histogram("confidence")
    own = testing.recalibrated(empty, empty)
    assert np.max(np.abs(own.chances - testing.chances)[16:]) < 0.02
    assert np.all(own.lowest_chances(0.05)[20:40] <= testing.lowest_chances(0.05)[20:40])


def test_a_stored_curve_is_the_same_curve() -> None:
    """Layers that went through JSON give the same numbers."""
    rows = decisions(np.random.default_rng(1), 300)
    curve = fitted(400).recalibrated(histogram(rows.confidence), histogram(rows.confidence[rows.right]))
    stored = msgspec.json.decode(msgspec.json.encode(curve.layers), type=tuple[Layer, ...])
    again = Calibration.of(stored)
    assert np.array_equal(again.chances, curve.chances)
    assert np.array_equal(again.covariance, curve.covariance)


@pytest.mark.parametrize("share", [0, 1])
def test_nothing_but_right_or_wrong_is_no_certainty(share: int) -> None:
    """Fifty items that were all right, or all wrong, leave the chance inside (0, 1) and finite."""
    labelled = Histogram("confidence")
    for _ in range(50):
        labelled.add(0.95)
    right = Histogram("confidence", [count * share for count in labelled.counts])
    curve = Calibration.fit(labelled, right)
    assert np.all((curve.chances > 0.0) & (curve.chances < 1.0))
    assert np.all(np.isfinite(curve.covariance))
    assert (curve.chance(0.95) > 0.9) == bool(share)


@pytest.mark.parametrize("count", [10_000, 10**17])
def test_absurd_counts_of_a_device_break_nothing(count: int) -> None:
    """Counts that no device can have, and that fall with the confidence, leave finite, ascending chances."""
    testing = fitted(400).layers[0]
    lies = Layer((count,) * BINS, tuple(count if bin_ < BINS // 2 else 0 for bin_ in range(BINS)))
    curve = Calibration.of((testing, lies))
    assert np.all(np.isfinite(curve.chances) & (curve.chances > 0.0) & (curve.chances < 1.0))
    assert np.all(np.diff(curve.chances) >= 0.0)
    assert np.all(np.isfinite(curve.covariance))


def test_nonsense_is_refused() -> None:
    """Other schemas, more right than labelled, wrong lengths and no layer at all are refused."""
    one, none = Histogram("confidence"), Histogram("confidence")
    one.add(0.9)
    with pytest.raises(ValueError, match="right"):
        Calibration.fit(none, one)
    with pytest.raises(ValueError, match="confidence"):
        Calibration.fit(Histogram("unit"), Histogram("unit"))
    with pytest.raises(ValueError, match="at least one"):
        Calibration.of(())
    with pytest.raises(ValueError, match=str(BINS)):
        Calibration.of((Layer((1,), (1,)),))
    with pytest.raises(ValueError, match="lies in"):
        Calibration.fit(one, one).chance(float("nan"))
