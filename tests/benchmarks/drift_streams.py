"""Streams for drift detectors: seeded, the same for every peer, with a change at a known place.

- *Errors*: independent, 1 where the decision was wrong.
- *Confidences*: an AR(1) series of normal values with correlation ``rho``, mapped by its ranks to a
  Beta margin (a Gaussian copula): bounded, skewed and dependent as the confidences of a video. Margins have
  the precision ``PRECISION`` whatever their mean.
"""

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.stats import beta, norm

Floats = NDArray[np.float64]

BEFORE: Final = 5000
"""Frames before the change."""

WITHIN: Final = 2000
"""Frames after it in which an alarm counts as its detection."""

PRECISION: Final = 22.0
"""Sum of a Beta margin's parameters; at a mean of 0.91 the deviation is 0.06."""

_TABLE: Final = 4001


def errors(seed: int, parts: list[tuple[int, float]]) -> Floats:
    """Independent errors; each part has a length and a rate."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.random(n) < rate for n, rate in parts]).astype(np.float64)


def confidences(seed: int, parts: list[tuple[int, float]], rho: float) -> Floats:
    """Confidences of one latent series; each part has a length and a mean."""
    rng = np.random.default_rng(seed)
    n = sum(length for length, _ in parts)
    noise = rng.normal(size=n) * (1.0 - rho**2) ** 0.5
    noise[0] /= (1.0 - rho**2) ** 0.5
    latent = np.asarray(lfilter([1.0], [1.0, -rho], noise))
    values, start = [], 0
    for length, mean in parts:
        scores, margin = _margin(mean)
        values.append(np.interp(latent[start : start + length], scores, margin))
        start += length
    return np.concatenate(values)


@cache
def _margin(mean: float) -> tuple[Floats, Floats]:
    """Normal scores and the Beta quantiles that belong to them."""
    scores = np.linspace(-6.0, 6.0, _TABLE)
    quantiles = beta.ppf(norm.cdf(scores), mean * PRECISION, (1.0 - mean) * PRECISION)
    return scores, np.asarray(quantiles)
