"""E-detectors: sequential change detection whose false-alarm rate is a number that the operator sets.

An e-detector is a process ``M`` with ``E[M at tau] <= E[tau]`` for every stopping time ``tau`` and every
distribution of the class "nothing has changed". Stopping when ``M >= A`` therefore takes at least ``A`` units
on average while nothing changes: the average run length is kept, whatever the distribution in the class
(Shin, Ramdas, Rinaldo, "E-detectors: a nonparametric framework for sequential change detection", NEJSDS 2023,
Definition 2.2 and Proposition 2.4).

The detectors here are of the Shiryaev-Roberts kind (their equation 11): the sum over all start times of an
e-process that begins to bet there. They bet on a grid of sizes at once; a weighted mean of e-detectors is an
e-detector (their Section 4.1), so the grid costs at most ``log(number of bets)`` in delay and nothing in
validity.

Units and blocks. A block is what one window of one device tells, and run lengths count blocks: a detector
that is asked for 100,000 raises a false alarm once in 100,000 windows at most, on average. Neighbouring
frames depend on each other, so a block's mean confidence is one observation, however many frames it has.
Outcomes of distinct items are taken as independent given the rate; how many of them a block has must not
depend on whether they are wrong.

>>> detector = ErrorRateDetector(rate=0.1, run_length=10_000)
>>> detector.observe([20] * 3, [2] * 3, at=[0.0, 2.0, 4.0]); detector.alarm
False
>>> detector.observe([20] * 4, [9] * 4, at=[6.0, 8.0, 10.0, 12.0]); detector.alarm, detector.onset_at
(True, 6.0)
"""

from collections.abc import Sequence
from math import exp, inf, log
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BETS: Final = 8
"""Sizes of change that are bet on at once; twice as many changed the delay by less than 3 % in simulation."""

SMALLEST_BET: Final = 0.02
LARGEST_BET: Final = 0.70
"""Bets as parts of the room above the null: from a rise that just matters to nearly everything wrong."""

_MAX_LOG: Final = 700.0
"""Beyond this the exponential overflows a double; evidence is reported as this much at most."""


class EDetector:
    """A mixture of Shiryaev-Roberts e-detectors, one a bet, kept as logarithms.

    Subclasses turn observations into the logarithms of one-step e-values.

    Attributes:
        run_length: average number of blocks without a false alarm.
        onset_at: time of the block at which the change most likely began: the start time whose e-process is
            the largest, the maximum-likelihood estimate of a CUSUM; infinite before any evidence.
    """

    def __init__(self, run_length: float) -> None:
        if not run_length > 1.0:
            raise ValueError(f"The average run length must be above 1, not {run_length}.")
        self.run_length = run_length
        self._log_sums: Floats = np.full(BETS, -inf)
        self._best: Floats = np.zeros(BETS)
        self._best_since: Floats = np.full(BETS, inf)

    @property
    def log_evidence(self) -> float:
        """Natural logarithm of the e-detector; minus infinity before the first observation."""
        return float(np.logaddexp.reduce(self._log_sums)) - log(BETS)

    @property
    def evidence(self) -> float:
        """The e-detector itself; an alarm is due when it reaches ``run_length``."""
        return exp(min(self.log_evidence, _MAX_LOG))

    @property
    def alarm(self) -> bool:
        """Whether the evidence has reached the run length."""
        return self.log_evidence >= log(self.run_length)

    @property
    def onset_at(self) -> float:
        """See the class."""
        return float(self._best_since[int(np.argmax(self._best))])

    def _advance(self, steps: Floats, at: Floats) -> None:
        """Take blocks in order.

        Args:
            steps: blocks x bets, logarithms of the blocks' e-values.
            at: blocks, times in seconds.
        """
        sums = np.cumsum(steps, axis=0)
        before = sums - steps
        # M_T = e^(S_T) (M_0 + sum over blocks j of e^(-S_before_j)), all at once and in logarithms.
        born = np.logaddexp.reduce(-before, axis=0)
        self._log_sums = sums[-1] + np.logaddexp(self._log_sums, born)
        self._follow_best(sums, before, at)

    def _follow_best(self, sums: Floats, before: Floats, at: Floats) -> None:
        # The best start is where the running sum was lowest; ties keep the earlier start.
        carried = -self._best
        lowest = np.argmin(before, axis=0)
        low = before[lowest, np.arange(BETS)]
        moved = (low < carried) | (self._best_since == inf)
        self._best_since = np.where(moved, at[lowest], self._best_since)
        self._best = sums[-1] - np.where(moved, low, carried)


class ErrorRateDetector(EDetector):
    """Alarm when the error rate of labelled items has risen above ``rate``.

    The e-processes are likelihood ratios of Bernoulli(``q``) to Bernoulli(``rate``), ``q`` above ``rate``.
    Their expectation is at most 1 for every true rate up to ``rate``, because the ratio grows with the number
    of errors (Shin et al., Section 3.2, the one-sided exponential family).
    """

    def __init__(self, rate: float, run_length: float) -> None:
        super().__init__(run_length)
        if not 0.0 < rate < 1.0:
            raise ValueError(f"The rate must be between 0 and 1, not {rate}.")
        worse = rate + (1.0 - rate) * np.geomspace(SMALLEST_BET, LARGEST_BET, BETS)
        self.rate = rate
        self._wrong_step: Floats = np.log(worse / rate)
        self._right_step: Floats = np.log((1.0 - worse) / (1.0 - rate))

    def observe(self, labelled: Sequence[int], wrong: Sequence[int], at: Sequence[float]) -> None:
        """Take blocks in order: labelled items, how many of them were wrong, and the block's time."""
        n, w, t = (np.asarray(x, dtype=np.float64) for x in (labelled, wrong, at))
        if np.any(w < 0) or np.any(w > n):
            raise ValueError("A block has between 0 and all of its labelled items wrong.")
        some = n > 0
        if not np.any(some):
            return
        n, w, t = n[some], w[some], t[some]
        steps = w[:, None] * self._wrong_step + (n - w)[:, None] * self._right_step
        self._advance(steps, t)


class MeanDetector(EDetector):
    """Alarm when the mean of blocks in [0, 1] has risen above ``mean``.

    The e-processes bet: ``1 + bet * (x - mean)`` is not negative for ``x`` in [0, 1] and has expectation at
    most 1 while the conditional mean is at most ``mean`` (Waudby-Smith, Ramdas, "Estimating means of bounded
    random variables by betting", JRSS-B 2024, Section 4; used as the baseline of Shin et al., Section 4.2).
    """

    def __init__(self, mean: float, run_length: float) -> None:
        super().__init__(run_length)
        if not 0.0 < mean < 1.0:
            raise ValueError(f"The mean must be between 0 and 1, not {mean}.")
        self.mean = mean
        self._bets: Floats = np.geomspace(SMALLEST_BET, LARGEST_BET, BETS) / mean

    def observe(self, means: Sequence[float], at: Sequence[float]) -> None:
        """Take blocks in order: each block's mean, and its time."""
        x, t = np.asarray(means, dtype=np.float64), np.asarray(at, dtype=np.float64)
        if np.any(~((x >= 0.0) & (x <= 1.0))):
            raise ValueError("A block's mean must be between 0 and 1.")
        if x.size:
            self._advance(np.log1p(self._bets * (x - self.mean)[:, None]), t)
