"""Intervals that hold at all times at once, and a bound that holds once.

``rate_interval`` and ``mean_interval`` cover the truth simultaneously after every observation with
probability ``1 - alpha``: a page may show them live and a person may stop when they please. Both need counts
only, not their order, so they can be had of merged windows. ``upper_bound_once`` is for a sample of fixed
size that is looked at once: a version's held-out test set.

Of dependent frames both take the effective number (``blocking.py``): a rate as ``n`` and ``wrong`` divided by
the inflation, a mean by its argument.

>>> low, estimate, high = mean_interval(Histogram("unit", [0] * 31 + [500, 500] + [0] * 31), alpha=0.05)
>>> round(low, 3), round(estimate, 3), round(high, 3)
(0.496, 0.5, 0.504)
"""

from collections.abc import Callable
from math import inf, lgamma, log, log1p
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgewright.wire.histograms import SCHEMAS, Histogram

Floats = NDArray[np.float64]

BISECTIONS = 50
"""Halvings of [0, 1]: far below the last digit that anybody reads."""

BETS: Final = np.geomspace(1e-3, 0.9, 24)
"""Bets of a mean's interval, as parts of what can be lost: for ten frames to a hundred million."""


class Interval(NamedTuple):
    """An interval and its centre."""

    low: float
    estimate: float
    high: float


def rate_interval(n: float, wrong: float, alpha: float) -> Interval:
    """Confidence sequence for a Bernoulli rate after ``n`` items.

    Robbins' method of mixtures with a uniform prior: the ratio of the beta-binomial mixture to the likelihood
    at the true rate is a martingale, so by Ville's inequality it stays below ``1/alpha`` for ever with
    probability ``1 - alpha``; the interval holds all rates that it does not exclude (Robbins 1970; Howard,
    Ramdas, McAuliffe, Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences", Annals of
    Statistics 2021, Section 3.4). It depends on the counts only, not on their order.
    """
    if n == 0:
        return Interval(0.0, 0.5, 1.0)
    estimate = wrong / n
    mixture = lgamma(wrong + 1) + lgamma(n - wrong + 1) - lgamma(n + 2)

    def excluded(rate: float) -> bool:
        return mixture - _log_likelihood(n, wrong, rate) >= log(1 / alpha)

    low = 0.0 if wrong == 0 else _edge(0.0, estimate, excluded)
    high = 1.0 if wrong == n else _edge(1.0, estimate, excluded)
    return Interval(low, estimate, high)


def mean_interval(histogram: Histogram, alpha: float, *, inflation: float = 1.0) -> Interval:
    """Confidence sequence for the mean of a signal, from its histogram's bin centres.

    Betting against each mean ``m`` that it may have: ``1 + bet * (x - m)`` has expectation 1 at the true
    mean, so the wealth of a mixture of bets stays below ``2/alpha`` for ever with probability
    ``1 - alpha/2`` on each side (Waudby-Smith, Ramdas, "Estimating means of bounded random variables by
    betting", JRSS-B 2024, Theorem 1 and Section 4). The mixture stands in place of bets that follow the data,
    so that the interval depends on the counts alone (Orabona, Jun, "Tight concentrations and confidence
    sequences from the regret of universal portfolio", IEEE Transactions on Information Theory 2024). It
    adapts to the variance without being told it.

    Args:
        histogram: of all frames so far, in the signal's unit; it is taken as bounded by its schema.
        alpha: probability that the interval ever misses.
        inflation: frames that tell as much as one independent frame, at least 1.
    """
    schema = SCHEMAS[histogram.schema]
    if not histogram.total:
        return Interval(schema.low, (schema.low + schema.high) / 2, schema.high)
    width = schema.high - schema.low
    x = (np.asarray(histogram.centres) - schema.low) / width
    counts = np.asarray(histogram.counts, dtype=np.float64) / inflation
    mean = float(counts @ x / counts.sum())
    low = _lowest_mean(x, counts, mean, alpha / 2)
    high = 1.0 - _lowest_mean(1.0 - x, counts, 1.0 - mean, alpha / 2)
    return Interval(*(schema.low + width * value for value in (low, mean, high)))


def _lowest_mean(x: Floats, counts: Floats, mean: float, alpha: float) -> float:
    """The least mean that bets on more do not exclude; their wealth falls with it."""

    def excluded(m: float) -> bool:
        if m <= 0.0:
            return bool(mean > 0.0)
        logs = counts @ np.log1p(BETS * (x[:, None] / m - 1.0))
        return float(np.logaddexp.reduce(logs)) - log(BETS.size) >= log(1 / alpha)

    return _edge(0.0, mean, excluded)


def upper_bound_once(n: int, wrong: int, delta: float) -> float:
    """Exact upper confidence bound of a rate from one sample of fixed size.

    Clopper and Pearson 1934: the rate at which ``wrong`` or fewer errors have probability ``delta``.
    """
    if wrong >= n:
        return 1.0
    counts = np.arange(wrong + 1)
    log_choose = np.array([lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) for k in counts])

    def too_high(rate: float) -> bool:
        terms = log_choose + counts * log(rate) + (n - counts) * log1p(-rate)
        return float(np.logaddexp.reduce(terms)) <= log(delta)

    return _edge(1.0 - 1e-12, max(wrong / n, 1e-12), too_high)


def _log_likelihood(n: float, wrong: float, rate: float) -> float:
    if (rate <= 0.0 and wrong) or (rate >= 1.0 and wrong < n):
        return -inf
    errors = wrong * log(rate) if wrong else 0.0
    return errors + ((n - wrong) * log1p(-rate) if wrong < n else 0.0)


def _edge(outside: float, inside: float, excluded: Callable[[float], bool]) -> float:
    """Where ``excluded`` changes between a point outside and one inside; the outer side is returned."""
    if not excluded(outside):
        return outside
    for _ in range(BISECTIONS):
        middle = (outside + inside) / 2
        if excluded(middle):
            outside = middle
        else:
            inside = middle
    return outside
