"""The true accuracy from a few audited items and the confidences of all frames.

Prediction-powered inference (Angelopoulos, Bates, Fannjiang, Jordan, Zrnic, Science 2023): the mean predicted
chance over all frames, plus a rectifier, the mean of ``right - chance`` over audited items. It is unbiased
whatever the predictions are worth, also under concept drift, and narrower than the audits alone the better
they predict. A factor on the predictions, estimated from the same audits, keeps it from being wider than the
audits alone (Angelopoulos, Duchi, Zrnic, "PPI++: efficient prediction-powered inference", 2023).

The predictions are the calibrated chances of the bins, so histograms are enough. Items that were chosen with
unequal chances are weighted by one over those chances (Horvitz, Thompson 1952; Hajek 1971).

``accuracy`` and ``accuracy_weighed`` are for one look. ``RectifiedSequence`` holds at all times at once: it
bets on the bounded rectified residuals (Waudby-Smith, Ramdas, "Estimating means of bounded random variables
by betting", JRSS-B 2024, Section 4; with predictions as in Csillag, Struchiner, Goedert, "Prediction-powered
e-values", ICML 2025). Detectors of a fall are in ``audits``.
"""

from collections.abc import Sequence
from math import sqrt
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from edgewright.controller.evidence.calibration import SCHEMA, Calibration, Layer, check_layer
from edgewright.controller.evidence.confidence_sequence import Interval
from edgewright.wire.histograms import Histogram

Floats = NDArray[np.float64]

ALPHA: Final = 0.05

GRID: Final = 400
"""Accuracies that a sequence tests at once; the interval is exact to one part in so many, outwards."""

BOLDEST: Final = 0.5
"""Largest bet as a part of what could ruin the bettor (Waudby-Smith and Ramdas use one half)."""


class AuditedItem(NamedTuple):
    """One decision that somebody checked.

    Attributes:
        confidence: of the decision, in [0, 1].
        right: whether it was right.
        probability: chance with which the item was chosen to be audited, in (0, 1].
    """

    confidence: float
    right: bool
    probability: float = 1.0


class _Weighed(NamedTuple):
    """Audits as arrays: predicted chance, right or wrong, and weight, with the mean of the weights at 1."""

    chance: Floats
    right: Floats
    weight: Floats


def accuracy(
    confidence: Histogram,
    labelled: Histogram,
    right: Histogram,
    calibration: Calibration,
    *,
    alpha: float = ALPHA,
    effective: float | None = None,
) -> Interval:
    """True accuracy of the frames, from evenly chosen audits; for one look.

    Args:
        confidence: of all frames.
        labelled: of the audited items.
        right: of those audited items that were decided rightly.
        calibration: what predicts; it need not hold.
        alpha: chance of an interval that misses.
        effective: effective number of independent frames, where neighbours depend on each other.

    Raises:
        ValueError: a histogram is of another schema, or a bin has more right items than labelled ones.
    """
    if {confidence.schema, labelled.schema, right.schema} != {SCHEMA}:
        raise ValueError(f"An accuracy is estimated from {SCHEMA} histograms.")
    check_layer(Layer(tuple(labelled.counts), tuple(right.counts)))
    good = np.asarray(right.counts)
    bad = np.asarray(labelled.counts) - good
    chance = np.concatenate([np.repeat(calibration.chances, good), np.repeat(calibration.chances, bad)])
    outcome = np.concatenate([np.ones(good.sum()), np.zeros(bad.sum())])
    audits = _Weighed(chance, outcome, np.ones(outcome.size))
    return _powered(confidence, audits, calibration, alpha, effective)


def accuracy_weighed(
    confidence: Histogram,
    items: Sequence[AuditedItem],
    calibration: Calibration,
    *,
    alpha: float = ALPHA,
    effective: float | None = None,
) -> Interval:
    """True accuracy of the frames, from audits with known, unequal chances of being chosen; for one look.

    Raises:
        ValueError: the histogram holds no confidences, or a probability is not in (0, 1].
    """
    if confidence.schema != SCHEMA:
        raise ValueError(f"An accuracy is estimated from a {SCHEMA} histogram.")
    weight = 1.0 / _probabilities(items)
    audits = _Weighed(
        np.array([calibration.chance(item.confidence) for item in items]),
        np.array([item.right for item in items], dtype=np.float64),
        weight / weight.mean() if weight.size else weight,
    )
    return _powered(confidence, audits, calibration, alpha, effective)


def _probabilities(items: Sequence[AuditedItem]) -> Floats:
    chosen = np.array([item.probability for item in items], dtype=np.float64)
    if np.any(~((chosen > 0.0) & (chosen <= 1.0))):
        raise ValueError("The chance of being audited lies in (0, 1].")
    return chosen


def _powered(
    confidence: Histogram, audits: _Weighed, calibration: Calibration, alpha: float, effective: float | None
) -> Interval:
    n, total = audits.right.size, confidence.total
    if n < 2 or not total:
        return Interval(0.0, 0.5, 1.0)
    frames = min(effective, total) if effective is not None else total
    shares = np.asarray(confidence.counts, dtype=np.float64) / total
    predicted = float(shares @ calibration.chances)
    spread = float(shares @ (calibration.chances - predicted) ** 2)
    power = _power(audits, spread, n / frames)
    residual = audits.right - power * audits.chance
    rectifier = float(np.mean(audits.weight * residual))
    estimate = power * predicted + rectifier
    slack = float(stdtrit(n - 1, 1.0 - alpha / 2)) * sqrt(
        power**2 * spread / frames + _variance(audits, residual, power) / n
    )
    return Interval(max(0.0, estimate - slack), min(max(estimate, 0.0), 1.0), min(1.0, estimate + slack))


def _power(audits: _Weighed, spread: float, ratio: float) -> float:
    """How much the predictions are trusted: PPI++'s tuning, kept between nothing and all."""
    if spread <= 0.0:
        return 0.0
    squares = audits.weight**2 / np.sum(audits.weight**2)
    chance = audits.chance - squares @ audits.chance
    right = audits.right - squares @ audits.right
    own = float(squares @ chance**2)
    return min(max(float(squares @ (chance * right)) / (max(own, spread) * (1.0 + ratio)), 0.0), 1.0)


def _variance(audits: _Weighed, residual: Floats, power: float) -> float:
    """Variance of one weighted residual, with two more items, one right and one wrong.

    Without them ten right audits would have no variance at all (Agresti, Coull 1998, for a plain rate).
    """
    middle = float(np.mean(audits.weight * residual))
    deviations = audits.weight * (residual - middle)
    chance = float(np.mean(audits.weight * audits.chance))
    added = [outcome - power * chance - middle for outcome in (0.0, 1.0)]
    return float((np.sum(deviations**2) + np.sum(np.square(added))) / (residual.size + 1))


class RectifiedSequence:
    """Confidence sequence for the accuracy, over audits that arrive one after another.

    Each audit bets against each accuracy ``a`` of a grid with ``1 + bet * w * (x - a)``, where
    ``x = right - power * chance + power * predicted``, ``predicted`` is the mean chance over all frames from
    which the item was drawn, and ``w`` is the smallest probability over the item's. Given the past, ``x - a``
    weighted so has mean zero at the true accuracy, so the capital is a test martingale; both bets and power
    look at earlier audits only. By Ville's inequality the accuracies whose capital never reached ``2/alpha``
    on either side hold the truth at all times at once, if the accuracy stays what it is.

    Attributes:
        audited: items so far.
    """

    def __init__(self, alpha: float = ALPHA, smallest_probability: float = 1.0) -> None:
        if not (0.0 < alpha < 1.0 and 0.0 < smallest_probability <= 1.0):
            raise ValueError("The level lies in (0, 1), and the smallest probability in (0, 1].")
        self.audited = 0
        self._alpha = alpha
        self._smallest = smallest_probability
        self._grid: Floats = np.linspace(0.0, 1.0, GRID + 1)
        self._capital: Floats = np.zeros((2, GRID + 1))
        self._highest: Floats = np.zeros((2, GRID + 1))
        # Two audits that never were, one right and one wrong: a start for the means.
        self._sums = _Sums(weight=2.0, right=1.0, chance=1.0, squares=1.0, products=0.5, chances=0.5)

    def observe(self, items: Sequence[AuditedItem], confidence: Histogram, calibration: Calibration) -> None:
        """Take audits in order.

        Args:
            items: drawn at random, with their probabilities, from the frames of ``confidence``.
            confidence: of all those frames.
            calibration: what predicts; it need not hold, and may change from call to call.

        Raises:
            ValueError: the histogram is empty or no confidences, or a probability is below the smallest.
        """
        if confidence.schema != SCHEMA or not confidence.total:
            raise ValueError(f"Audited items are drawn from the frames of a {SCHEMA} histogram.")
        weights = self._smallest / _probabilities(items)
        if np.any(weights > 1.0 + 1e-9):
            raise ValueError(f"An item was audited with a chance below {self._smallest}.")
        predicted = float(np.asarray(confidence.counts) @ calibration.chances) / confidence.total
        for item, weight in zip(items, weights.tolist(), strict=True):
            self._bet(float(item.right), calibration.chance(item.confidence), weight, predicted)
        self.audited += len(items)

    @property
    def interval(self) -> Interval:
        """The accuracies that are not excluded; all of [0, 1] before the first audit."""
        kept = np.flatnonzero(np.all(self._highest < np.log(2.0 / self._alpha), axis=0))
        estimate = self._sums.right / self._sums.weight
        if not kept.size:
            # The accuracy has moved so far that no single one explains all audits.
            return Interval(0.0, estimate, 1.0)
        low = self._grid[max(kept[0] - 1, 0)] if kept[0] else 0.0
        high = self._grid[min(kept[-1] + 1, GRID)] if kept[-1] < GRID else 1.0
        return Interval(float(low), min(max(estimate, float(low)), float(high)), float(high))

    def _bet(self, right: float, chance: float, weight: float, predicted: float) -> None:
        power, variance = self._sums.power_and_variance()
        x = right - power * (chance - predicted)
        least, most = -power * (1.0 - predicted), 1.0 + power * predicted
        size = sqrt(2.0 * np.log(2.0 / self._alpha) / (variance * self._aim()))
        up = np.minimum(size, BOLDEST / (self._grid - least + 1e-12))
        down = np.minimum(size, BOLDEST / (most - self._grid + 1e-12))
        gap = weight * (x - self._grid)
        self._capital += np.log1p(np.stack([up * gap, -down * gap]))
        self._highest = np.maximum(self._highest, self._capital)
        self._sums = self._sums.plus(right, chance, weight)

    def _aim(self) -> float:
        # Waudby-Smith and Ramdas, equation 26: bets fall with t log(t), so the interval shrinks for ever.
        t = self.audited + 1.0
        return t * float(np.log(t + 1.0))


class _Sums(NamedTuple):
    """Weighted sums over audits so far."""

    weight: float
    right: float
    chance: float
    squares: float
    products: float
    chances: float

    def plus(self, right: float, chance: float, weight: float) -> "_Sums":
        """With one audit more."""
        added = (1.0, right, chance, right * right, right * chance, chance * chance)
        return _Sums(*(old + weight * new for old, new in zip(self, added, strict=True)))

    def power_and_variance(self) -> tuple[float, float]:
        """The best factor on the predictions, and the variance of what they leave."""
        right, chance = self.right / self.weight, self.chance / self.weight
        own = self.chances / self.weight - chance**2
        joint = self.products / self.weight - right * chance
        power = min(max(joint / own, 0.0), 1.0) if own > 1e-9 else 0.0
        rest = self.squares / self.weight - right**2 - 2.0 * power * joint + power**2 * own
        return power, max(rest, 1e-4)
