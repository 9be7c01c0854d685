"""From a binned confidence to the chance of being right, with its uncertainty.

A model's confidence is rarely the chance that it is right: networks are overconfident, and quantising one
moves its confidences again. Testing the shipped artifact tells, for each of the wire's 64 bins, how many
labelled frames fell into it and how many of them were decided rightly. This module turns those counts into a
monotone curve.

The logarithm of the odds of being right is taken as a Gaussian process over the bins' middles on the logit
scale: a straight line (Platt 1999; a temperature is such a line) plus smooth bumps whose size the counts
decide by their marginal likelihood. Its posterior is Laplace's approximation (Rasmussen, Williams, "Gaussian
processes for machine learning", 2006, Algorithms 3.1 and 5.1). One model gives the smoothing, the shrinkage
of sparse bins towards their neighbours, the extrapolation to bins without labels, and a covariance that is
wide exactly there. The last step makes the curve monotone by pooling adjacent violators (Ayer et al. 1955).

A device's own labels are a second layer: the same process starts from the first layer's posterior, widened by
how far a device may differ. How far is not known, so three answers are averaged by their marginal
likelihoods: few labels that agree move the curve little, many that disagree decide it (partial pooling).

A calibration is its layers of counts. Storing those and fitting again gives the same curve on any machine.

>>> from edgewright.wire.histograms import Histogram
>>> labelled, right = Histogram("confidence"), Histogram("confidence")
>>> for item in range(400):
...     labelled.add(0.95)
...     if item % 5: right.add(0.95)
>>> curve = Calibration.fit(labelled, right)
>>> round(curve.chance(0.95), 2)
0.8
>>> Calibration.of(curve.layers).chance(0.95) == curve.chance(0.95)
True
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final, NamedTuple, Self

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression
from scipy.special import expit, logit, ndtri, xlog1py, xlogy

from edgewright.wire.histograms import BINS, SCHEMAS, Histogram

Floats = NDArray[np.float64]

SCHEMA: Final = "confidence"

_EDGES: Final = np.log(np.array(SCHEMAS[SCHEMA].edges) / (1.0 - np.array(SCHEMAS[SCHEMA].edges)))
_STEP: Final = float(_EDGES[1] - _EDGES[0])
MIDDLES: Final[Floats] = np.concatenate([_EDGES[:1] - _STEP / 2, _EDGES + _STEP / 2])
"""Middles of the bins on the logit scale; the outer bins are taken to be as wide as the others."""

INTERCEPT_SD: Final = 1.0
SLOPE_SD: Final = 0.5
"""How far the line may lie from "the confidence is the chance": factors of e in odds, and a temperature."""

BUMP_WIDTH: Final = 2.0
"""Length scale of the bumps on the logit scale, about eight bins."""

BUMP_SIZES: Final = (0.05, 0.2, 0.5, 1.0, 2.0)
"""Standard deviations of the bumps among which the counts choose."""

OWN_INTERCEPT_SD: Final = 0.6
OWN_SLOPE_SD: Final = 0.2
OWN_BUMP_SIZE: Final = 0.2
OWN_SCALES: Final = (0.1, 0.3, 1.0)
"""How far a device's curve may lie from the one of testing, and the parts of that which are averaged."""

_NEWTON_STEPS: Final = 100
_CONVERGED: Final = 1e-9
_JITTER: Final = 1e-9

_SUREST: Final = 1e-9
"""No chance is nearer to 0 or 1 than this."""


class Layer(msgspec.Struct, frozen=True, array_like=True):
    """Counts of one place: labelled items in each bin, and how many of them were decided rightly."""

    labelled: tuple[int, ...]
    right: tuple[int, ...]


class _Process(NamedTuple):
    """Log odds of being right over the bins: mean and covariance."""

    mean: Floats
    covariance: Floats


class Calibration:
    """The chance of being right for each bin of confidence; see the module's text.

    Attributes:
        layers: the counts that it was made of: testing's, then those of the device where there are any.
        chances: for each of the 64 bins, ascending.
        covariance: of the chances, 64 x 64.
        labelled: for each bin, the labelled items of all layers.
    """

    def __init__(self, layers: Sequence[Layer], process: _Process) -> None:
        self.layers = tuple(layers)
        self._process = process
        self.labelled: Floats = np.sum([layer.labelled for layer in layers], axis=0, dtype=np.float64)
        spread = np.diag(process.covariance)
        # The mean of a chance whose log odds are normal (MacKay, Neural Computation 4, 1992).
        odds = process.mean / np.sqrt(1.0 + np.pi * spread / 8.0)
        rising = np.asarray(isotonic_regression(expit(odds)).x, dtype=np.float64)
        self.chances: Floats = np.clip(rising, _SUREST, 1.0 - _SUREST)
        slope = self.chances * (1.0 - self.chances)
        self.covariance: Floats = slope[:, None] * process.covariance * slope[None, :]

    @classmethod
    def fit(cls, labelled: Histogram, right: Histogram) -> Self:
        """The curve of testing.

        Args:
            labelled: confidences of all labelled items.
            right: confidences of those that were decided rightly.

        Raises:
            ValueError: the histograms are not confidences, or a bin has more right items than labelled ones.
        """
        return cls.of((_layer(labelled, right),))

    @classmethod
    def of(cls, layers: Sequence[Layer]) -> Self:
        """The curve of stored layers; the first is testing's.

        Raises:
            ValueError: there is none, or one makes no sense.
        """
        if not layers:
            raise ValueError("A calibration has at least one layer of counts.")
        for layer in layers:
            check_layer(layer)
        process = _of_testing(layers[0])
        for layer in layers[1:]:
            process = _of_device(process, layer)
        return cls(layers, process)

    def recalibrated(self, labelled: Histogram, right: Histogram) -> "Calibration":
        """This curve with a device's own labels added.

        Raises:
            ValueError: as for ``fit``.
        """
        layer = _layer(labelled, right)
        return type(self)((*self.layers, layer), _of_device(self._process, layer))

    def chance(self, confidence: float) -> float:
        """The chance that a decision of this confidence is right."""
        return float(self.chances[self.bin(confidence)])

    @staticmethod
    def bin(confidence: float) -> int:
        """The bin of a confidence among the 64.

        Raises:
            ValueError: it is not in [0, 1].
        """
        if not 0.0 <= confidence <= 1.0:
            raise ValueError(f"A confidence lies in [0, 1], not {confidence}.")
        return bisect_right(SCHEMAS[SCHEMA].edges, confidence)

    def lowest_chances(self, alpha: float) -> Floats:
        """For each bin a bound that the chance of being right lies below with probability ``alpha``."""
        sure = np.clip(self.chances, 1e-12, 1.0 - 1e-12)
        spread = np.sqrt(np.diag(self._process.covariance))
        bound: Floats = expit(logit(sure) + ndtri(alpha) * spread)
        return bound

    def unseen(self) -> NDArray[np.bool_]:
        """For each bin whether neither it nor a neighbour has a labelled item: there the curve is a guess."""
        padded = np.concatenate([[0.0], self.labelled, [0.0]])
        near = padded[:-2] + padded[1:-1] + padded[2:]
        return np.asarray(near == 0.0, dtype=np.bool_)


def _layer(labelled: Histogram, right: Histogram) -> Layer:
    if labelled.schema != SCHEMA or right.schema != SCHEMA:
        raise ValueError(f"A calibration is made of {SCHEMA} histograms.")
    layer = Layer(tuple(labelled.counts), tuple(right.counts))
    check_layer(layer)
    return layer


def check_layer(layer: Layer) -> None:
    """Refuse counts that make no sense.

    Raises:
        ValueError: the counts are not of 64 bins, or a bin has more right items than labelled ones.
    """
    if len(layer.labelled) != BINS or len(layer.right) != BINS:
        raise ValueError(f"A layer of a calibration has {BINS} bins.")
    if any(not 0 <= r <= n for n, r in zip(layer.labelled, layer.right, strict=True)):
        raise ValueError("A bin has between 0 and all of its labelled items right.")


def _of_testing(layer: Layer) -> _Process:
    fits = [
        _posterior(_Process(MIDDLES, _wiggle(INTERCEPT_SD, SLOPE_SD, size, 0.0)), layer)
        for size in BUMP_SIZES
    ]
    return max(fits, key=lambda fit: fit[1])[0]


def _of_device(process: _Process, layer: Layer) -> _Process:
    weights = np.asarray(layer.labelled, dtype=np.float64)
    centre = float(np.average(MIDDLES, weights=weights)) if weights.any() else 0.0
    apart = _wiggle(OWN_INTERCEPT_SD, OWN_SLOPE_SD, OWN_BUMP_SIZE, centre)
    fits = [
        _posterior(_Process(process.mean, process.covariance + scale**2 * apart), layer)
        for scale in OWN_SCALES
    ]
    return _averaged([fit for fit, _ in fits], np.array([evidence for _, evidence in fits]))


def _averaged(processes: Sequence[_Process], log_evidence: Floats) -> _Process:
    """One process with the mean and covariance of a mixture."""
    parts = np.exp(log_evidence - log_evidence.max())
    parts /= parts.sum()
    means = np.array([process.mean for process in processes])
    mean = parts @ means
    between = (means - mean).T @ (parts[:, None] * (means - mean))
    within = np.tensordot(parts, np.array([process.covariance for process in processes]), axes=1)
    return _Process(mean, within + between)


def _wiggle(intercept: float, slope: float, bump: float, centre: float) -> Floats:
    """Covariance of a line around ``centre`` plus smooth bumps."""
    x = MIDDLES - centre
    gaps = x[:, None] - x[None, :]
    bumps = bump**2 * np.exp(-0.5 * (gaps / BUMP_WIDTH) ** 2)
    covariance: Floats = intercept**2 + slope**2 * np.outer(x, x) + bumps
    return covariance


def _posterior(prior: _Process, layer: Layer) -> tuple[_Process, float]:
    """Laplace's approximation given binomial counts, and the logarithm of the marginal likelihood."""
    n, right = (np.asarray(counts, dtype=np.float64) for counts in (layer.labelled, layer.right))
    k = prior.covariance + _JITTER * np.eye(BINS)
    f, a = prior.mean.copy(), np.zeros(BINS)
    reached = _objective(f, a, prior.mean, n, right)
    for _ in range(_NEWTON_STEPS):
        chance = expit(f)
        root = np.sqrt(n * chance * (1.0 - chance))
        b = root**2 * (f - prior.mean) + right - n * chance
        inner = np.eye(BINS) + root[:, None] * k * root[None, :]
        towards = b - root * np.linalg.solve(inner, root * (k @ b))
        f, a, value = _step(prior.mean, k, a, towards, n, right)
        if value - reached < _CONVERGED:
            break
        reached = value
    chance = expit(f)
    root = np.sqrt(n * chance * (1.0 - chance))
    factor = np.linalg.cholesky(np.eye(BINS) + root[:, None] * k * root[None, :])
    half = np.linalg.solve(factor, root[:, None] * k)
    evidence = _objective(f, a, prior.mean, n, right) - float(np.sum(np.log(np.diag(factor))))
    return _Process(f, k - half.T @ half), evidence


def _step(
    mean: Floats, k: Floats, a: Floats, towards: Floats, n: Floats, right: Floats
) -> tuple[Floats, Floats, float]:
    """The best of a Newton step and its halves; a full one may overshoot where all items are right."""
    trials = [a + share * (towards - a) for share in (1.0, 0.5, 0.25, 0.05)]
    places = [(mean + k @ trial, trial) for trial in trials]
    values = [_objective(f, trial, mean, n, right) for f, trial in places]
    best = int(np.argmax(values))
    return (*places[best], values[best])


def _objective(f: Floats, a: Floats, mean: Floats, n: Floats, right: Floats) -> float:
    chance = np.clip(expit(f), 1e-300, 1.0 - 1e-16)
    likelihood = np.sum(xlogy(right, chance) + xlog1py(n - right, -chance))
    return float(likelihood - 0.5 * a @ (f - mean))
