"""Two rates, compared while the labels still arrive.

Both functions return the logarithm of an e-process, so ``P(ever >= log(1/alpha)) <= alpha`` however often one
looks. They are universal inference with a running maximum (Wasserman, Ramdas, Balakrishnan, "Universal
inference", PNAS 2020, Section 7): a mixture of likelihoods over the alternative, divided by the largest
likelihood under the null. For every rate pair of the null the mixture over the true likelihood is a
martingale, and the largest likelihood is at least the true one. They depend on counts only, so labels may
come late, in any order and at any pace on either side.

>>> log_evidence_not_worse(Counts(60, 5), Counts(180, 62), tolerance=0.02) > 3.0
True
"""

from functools import cache
from math import log, log1p
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

GRID: Final = 64
"""Points a side of the mixture; finer ones change the evidence by less than 0.01 up to 1,000 items a side."""

SEARCHES: Final = 60
"""Steps of the golden-section search along the null's edge."""

_GOLDEN: Final = (5**0.5 - 1) / 2
_TINY: Final = 1e-9


class Counts(NamedTuple):
    """Labelled items and how many of them were wrong."""

    labelled: int
    wrong: int

    @property
    def rate(self) -> float:
        """The observed rate; not a number without labels."""
        return self.wrong / self.labelled if self.labelled else float("nan")


def log_evidence_not_worse(canary: Counts, control: Counts, tolerance: float) -> float:
    """Evidence against "the canary's error rate is above the control's by ``tolerance`` or more"."""
    return _log_evidence(canary, control, tolerance, alternative=-1)


def log_evidence_worse(canary: Counts, control: Counts, tolerance: float) -> float:
    """Evidence against "the canary's error rate is at most the control's plus ``tolerance``"."""
    return _log_evidence(canary, control, tolerance, alternative=1)


def _log_evidence(canary: Counts, control: Counts, tolerance: float, alternative: int) -> float:
    rates, room = _mixture(round(tolerance, 6), alternative)
    joint = _log_likelihood(canary, rates)[:, None] + _log_likelihood(control, rates)[None, :]
    mixture = float(np.logaddexp.reduce(joint[room])) - float(np.log(np.count_nonzero(room)))
    return mixture - _largest_under_null(canary, control, tolerance, alternative)


@cache
def _mixture(tolerance: float, alternative: int) -> tuple[Floats, NDArray[np.bool_]]:
    """Rates of the grid, and which pairs (canary, control) of them belong to the alternative.

    The points are even in the arcsine of the root, Jeffreys' prior for one rate.
    """
    rates = np.sin((np.arange(GRID) + 0.5) / GRID * np.pi / 2) ** 2
    gap = rates[:, None] - rates[None, :] - tolerance
    return rates, gap * alternative > 0


def _largest_under_null(canary: Counts, control: Counts, tolerance: float, alternative: int) -> float:
    free = [c.wrong / c.labelled if c.labelled else None for c in (canary, control)]
    if free[0] is None or free[1] is None or (free[0] - free[1] - tolerance) * alternative <= 0:
        # Without labels on a side that side can be made to fit; then, or inside the null, nothing binds.
        return sum(_peak(c) for c in (canary, control))
    low, high = max(0.0, -tolerance), min(1.0, 1.0 - tolerance)

    def along_edge(control_rate: float) -> float:
        return _log_at(canary, control_rate + tolerance) + _log_at(control, control_rate)

    # The likelihood is concave along the edge, so the search cannot be caught by a lesser top.
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = along_edge(left), along_edge(right)
    for _ in range(SEARCHES):
        if at_left < at_right:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = along_edge(right)
        else:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = along_edge(left)
    return max(at_left, at_right)


def _peak(counts: Counts) -> float:
    return _log_at(counts, counts.wrong / max(counts.labelled, 1))


def _log_at(counts: Counts, rate: float) -> float:
    safe = min(max(rate, _TINY), 1.0 - _TINY)
    return counts.wrong * log(safe) + (counts.labelled - counts.wrong) * log1p(-safe)


def _log_likelihood(counts: Counts, rates: Floats) -> Floats:
    value: Floats = counts.wrong * np.log(rates) + (counts.labelled - counts.wrong) * np.log1p(-rates)
    return value
