"""An interval that holds at all times at once, and a bound that holds once.

``rate_interval`` covers the truth simultaneously after every observation with probability ``1 - alpha``: a
page may show it live and a person may stop when they please. ``upper_bound_once`` is for a sample of fixed
size that is looked at once: a version's held-out test set.
"""

from collections.abc import Callable
from math import inf, lgamma, log, log1p
from typing import NamedTuple

import numpy as np

BISECTIONS = 50
"""Halvings of [0, 1]: far below the last digit that anybody reads."""


class Interval(NamedTuple):
    """An interval and its centre."""

    low: float
    estimate: float
    high: float


def rate_interval(n: int, wrong: int, alpha: float) -> Interval:
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


def _log_likelihood(n: int, wrong: int, rate: float) -> float:
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
