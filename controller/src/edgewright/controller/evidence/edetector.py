"""E-detectors: sequential change detection whose false-alarm rate is a number that the operator sets.

An e-detector is a process ``M`` with ``E[M at tau] <= E[tau]`` for every stopping time ``tau`` and every
distribution of the class "nothing has changed". Stopping when ``M >= A`` therefore takes at least ``A`` units
on average while nothing changes: the average run length is kept, whatever the distribution in the class
(Shin, Ramdas, Rinaldo, "E-detectors: a nonparametric framework for sequential change detection", NEJSDS 2023,
Definition 2.2 and Proposition 2.4).

The detectors here are of the Shiryaev-Roberts kind (their equation 11): the sum over all start times of an
e-process that begins to bet there, which is a mixture over lags, from a change just now to one long ago. They
bet on a grid of sizes at once; a weighted mean of e-detectors is an e-detector (their Section 4.1), so the
grid costs at most ``log(number of bets)`` in delay and nothing in validity.

Units. A block is what one window of one device tells, and run lengths count blocks: a detector that is asked
for 100,000 raises a false alarm once in 100,000 windows at most, on average, however many frames they have.
A window of 2 s makes that 56 hours of one device; of ten devices that feed one detector, 5.6 hours.

Dependence. Frames are worth less than independent ones; ``inflation`` (``blocking.py``) says how much less,
and the evidence of a block is divided by it. That is an e-process again where frames that lie ``inflation``
apart are conditionally centred: the block is then as many interleaved e-processes, of which the geometric
mean is taken, and by Hoelder's inequality its expectation is at most 1 however they depend on each other. For
longer, mixing dependence it holds in the limit of many frames, where sums behave as Brownian motion with the
long-run variance. A larger inflation, as a larger block, never breaks the promise (Jensen's inequality).

The promise for a short time. ``E[M]`` after ``x`` blocks is at most ``x``, so by Markov's inequality the
chance of a false alarm within any ``x`` blocks from the start is at most ``x / run_length``. This is stronger
than a long run on average, and it is what the simulations check.

The reference is a sample itself (``from_sample``, ``from_histogram``). Each value ``theta`` that it may have
come from is tested with the product of an e-value ``R`` of the sample against ``theta`` and the e-detector
``M`` against ``theta``; the evidence is the least of the products. Given the sample, an alarm is one of ``M``
at ``A / R``: its chance within ``x`` blocks is at most ``x R / A``, and the run is at least ``A / R`` on
average. ``E[R] <= 1``, so over all samples the chance is at most ``x / A`` and the run, by Jensen's
inequality, at least ``A``: the promise is kept, the accidents of the reference included. By Markov's
inequality at most one reference in ``k`` makes it ``k`` times worse. This needs a reference that is
independent of what is monitored.

>>> detector = ErrorRateDetector(rate=0.1, run_length=10_000)
>>> detector.observe([20] * 3, [2] * 3, at=[0.0, 2.0, 4.0]); detector.alarm
False
>>> detector.observe([20] * 4, [9] * 4, at=[6.0, 8.0, 10.0, 12.0]); detector.alarm, detector.onset_at
(True, 6.0)
>>> tested = ErrorRateDetector.from_sample(labelled=400, wrong=40, run_length=10_000, tolerance=0.02)
>>> tested.observe([20] * 6, [9] * 6, at=[0.0, 2.0, 4.0, 6.0, 8.0, 10.0]); tested.alarm
True
"""

from collections.abc import Callable, Sequence
from math import exp, inf, log, log1p, sqrt
from typing import Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from edgewright.controller.evidence.blocking import moments
from edgewright.wire.histograms import SCHEMAS, Histogram

Floats = NDArray[np.float64]

BETS: Final = 8
"""Sizes of change that are bet on at once; twice as many changed the delay by less than 3 % in simulation."""

SMALLEST_BET: Final = 0.02
LARGEST_BET: Final = 0.70
"""Bets as parts of the room above the null: from a rise that just matters to nearly everything wrong."""

REFERENCE_BETS: Final = (0.75, 1.5, 3.0)
"""Sizes, in standard errors of the reference, by which ``R`` bets that a null is too high; ``R`` also keeps
an equal part in hand."""

REFERENCE_STEP: Final = 0.2
"""Distance of the nulls that stand for all, in standard errors of the reference."""

MOST_NULLS: Final = 48

_HIGHEST_NULL: Final = 0.98
_LOWEST_NULL: Final = 1e-3
"""Nulls stay inside (0, 1)."""

_MAX_LOG: Final = 700.0
"""Beyond this the exponential overflows a double; evidence is reported as this much at most."""

_AT_ONCE: Final = 256
"""Blocks that are taken in one step, which bounds the memory."""


class Nulls(NamedTuple):
    """Means that stand for all that the reference may have.

    Attributes:
        means: ascending.
        log_reference: logarithm of the reference's e-value that goes with each.
    """

    means: Floats
    log_reference: Floats

    @classmethod
    def known(cls, mean: float) -> Self:
        """The reference is known exactly."""
        return cls(np.array([mean]), np.zeros(1))


class EDetector:
    """A mixture of Shiryaev-Roberts e-detectors, one a null and a bet, kept as logarithms.

    Subclasses turn observations into the logarithms of one-step e-values. Evidence may be kept up to
    ``e^ceiling`` times what an alarm needs: what is thrown away leaves an e-detector one, and an alarm ends
    soon after what it saw.

    Attributes:
        run_length: average number of blocks without a false alarm.
        nulls: what "nothing has changed" may mean.
        alarmed_at: time of the first block at which the evidence reached the run length, however many blocks
            were taken at once; infinite before.
    """

    def __init__(self, nulls: Nulls, run_length: float, bets: int = BETS, *, ceiling: float = inf) -> None:
        if not run_length > 1.0:
            raise ValueError(f"The average run length must be above 1, not {run_length}.")
        self.run_length = run_length
        self.nulls = nulls
        self.alarmed_at = inf
        self._most = log(run_length) + ceiling + log(bets)
        lanes = (nulls.means.size, bets)
        self._log_sums: Floats = np.full(lanes, -inf)
        self._best: Floats = np.zeros(lanes)
        self._best_since: Floats = np.full(lanes, inf)

    @property
    def log_evidence(self) -> float:
        """Natural logarithm of the e-detector; minus infinity before the first observation."""
        return float(np.min(self._each_null(self._log_sums)))

    @property
    def evidence(self) -> float:
        """The e-detector itself; an alarm is due when it reaches ``run_length``."""
        return exp(min(self.log_evidence, _MAX_LOG))

    @property
    def alarm(self) -> bool:
        """Whether the evidence has reached the run length, and has not fallen below it since."""
        return self.log_evidence >= log(self.run_length)

    @property
    def onset_at(self) -> float:
        """Time of the block at which the change most likely began; infinite before any evidence.

        The start time whose e-process is the largest, against the null that is hardest to exclude: the
        maximum-likelihood estimate of a CUSUM.
        """
        null = int(np.argmin(self._each_null(self._log_sums)))
        return float(self._best_since[null, int(np.argmax(self._best[null]))])

    def _each_null(self, log_sums: Floats) -> Floats:
        """The evidence against each null, with the reference's part."""
        each: Floats = np.logaddexp.reduce(log_sums, axis=-1) - log(log_sums.shape[-1])
        return each + self.nulls.log_reference

    def _take_blocks(self, blocks: int, steps: Callable[[slice], Floats], at: Floats) -> None:
        """Take blocks in order; ``steps`` gives some blocks x nulls x bets, logarithms of e-values."""
        for start in range(0, blocks, _AT_ONCE):
            some = slice(start, min(start + _AT_ONCE, blocks))
            self._advance(steps(some), at[some])

    def _advance(self, steps: Floats, at: Floats) -> None:
        sums = np.cumsum(steps, axis=0)
        before = sums - steps
        # M_T = e^(S_T) (M_0 + sum over blocks j up to T of e^(-S_before_j)), for all T, in logarithms.
        born = np.logaddexp.accumulate(-before, axis=0)
        path = sums + np.logaddexp(self._log_sums, born)
        self._log_sums = np.minimum(path[-1], self._most)
        reached = np.min(self._each_null(path), axis=1) >= log(self.run_length)
        if self.alarmed_at == inf and np.any(reached):
            self.alarmed_at = float(at[int(np.argmax(reached))])
        self._follow_best(sums, before, at)

    def _follow_best(self, sums: Floats, before: Floats, at: Floats) -> None:
        # The best start is where the running sum was lowest; ties keep the earlier start.
        carried = -self._best
        lowest = np.argmin(before, axis=0)
        low = np.take_along_axis(before, lowest[None], axis=0)[0]
        moved = (low < carried) | (self._best_since == inf)
        self._best_since = np.where(moved, at[lowest], self._best_since)
        self._best = sums[-1] - np.where(moved, low, carried)


class ErrorRateDetector(EDetector):
    """Alarm when the error rate of labelled items has risen above ``rate``.

    The e-processes are likelihood ratios of Bernoulli(``q``) to Bernoulli(``rate``), ``q`` above ``rate``.
    Their expectation is at most 1 for every true rate up to ``rate``, because the ratio grows with the number
    of errors (Shin et al., Section 3.2, the one-sided exponential family). How many items a block has must
    not depend on whether they are wrong.

    Attributes:
        rate: from where on it is harm; of a sampled reference the sample's rate plus the tolerance.
    """

    def __init__(
        self, rate: float, run_length: float, nulls: Nulls | None = None, *, ceiling: float = inf
    ) -> None:
        if not 0.0 < rate < 1.0:
            raise ValueError(f"The rate must be between 0 and 1, not {rate}.")
        super().__init__(nulls or Nulls.known(rate), run_length, ceiling=ceiling)
        null = self.nulls.means[:, None]
        worse = null + (1.0 - null) * np.geomspace(SMALLEST_BET, LARGEST_BET, BETS)
        self.rate = rate
        self._wrong_step: Floats = np.log(worse / null)
        self._right_step: Floats = np.log((1.0 - worse) / (1.0 - null))

    @classmethod
    def from_sample(
        cls, labelled: int, wrong: int, run_length: float, *, tolerance: float = 0.0, inflation: float = 1.0
    ) -> Self:
        """A detector of "above the rate that this sample came from, by more than ``tolerance``"."""
        if not 0 <= wrong <= labelled or not labelled:
            raise ValueError("A reference has items, and between 0 and all of them wrong.")
        n, w = labelled / inflation, wrong / inflation
        # One imagined error of two: a sample without errors has a standard error, too.
        centre = (w + 1.0) / (n + 2.0)

        def log_value(rate: float) -> float:
            return _log_sample_value(n, w, rate)

        nulls = _nulls(centre, sqrt(centre * (1.0 - centre) / n), log_value, run_length, tolerance)
        return cls(_inside(wrong / labelled + tolerance), run_length, nulls)

    def observe(
        self,
        labelled: Sequence[float],
        wrong: Sequence[float],
        at: Sequence[float],
        *,
        inflation: float = 1.0,
    ) -> None:
        """Take blocks in order.

        Args:
            labelled: items of each block, or their effective number where they are weighted.
            wrong: how many of them were wrong.
            at: time of each block.
            inflation: items that tell as much as one independent item, at least 1.
        """
        n, w, t = (np.asarray(x, dtype=np.float64) for x in (labelled, wrong, at))
        if np.any(w < 0) or np.any(w > n):
            raise ValueError("A block has between 0 and all of its labelled items wrong.")
        _check_inflation(inflation)
        some = n > 0
        n, w, t = n[some] / inflation, w[some] / inflation, t[some]

        def steps(part: slice) -> Floats:
            wrongs, rights = w[part, None, None], (n - w)[part, None, None]
            both: Floats = wrongs * self._wrong_step + rights * self._right_step
            return both

        self._take_blocks(n.size, steps, t)


class MeanDetector(EDetector):
    """Alarm when the mean of a signal in [0, 1] has risen above ``mean``.

    The e-processes bet: ``1 + bet * (x - mean)`` is not negative for ``x`` in [0, 1] and has expectation at
    most 1 while the conditional mean is at most ``mean`` (Waudby-Smith, Ramdas, "Estimating means of bounded
    random variables by betting", JRSS-B 2024, Section 4; used as the baseline of Shin et al., Section 4.2).
    ``observe`` bets once a block, on its mean: valid however frames inside a block depend on each other.
    ``observe_histograms`` bets on every frame and divides by the inflation: far sharper where windows have
    many frames, because a bet on a block's mean cannot be as large as its small variance deserves.

    Attributes:
        mean: where the null ends; of a sampled reference the sample's mean plus the tolerance.
    """

    def __init__(
        self, mean: float, run_length: float, nulls: Nulls | None = None, *, falling: bool = False
    ) -> None:
        if not 0.0 < mean < 1.0:
            raise ValueError(f"The mean must be between 0 and 1, not {mean}.")
        super().__init__(nulls or Nulls.known(mean), run_length)
        self.mean = mean
        self._falling = falling
        self._bets: Floats = np.geomspace(SMALLEST_BET, LARGEST_BET, BETS) / self.nulls.means[:, None]

    @classmethod
    def from_histogram(
        cls,
        reference: Histogram,
        run_length: float,
        *,
        tolerance: float = 0.0,
        inflation: float = 1.0,
        falling: bool = False,
    ) -> Self:
        """A detector of "above the mean that this sample came from, by more than ``tolerance``".

        The signal is scaled to [0, 1] by its schema's ends; with ``falling`` it is one minus that, so that
        the detector alarms when a confidence has fallen. ``R`` is an asymptotic e-value, by the sample's own
        variance (Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas, "Time-uniform central limit theory and
        asymptotic confidence sequences", Annals of Statistics 2024).
        """
        n, centre, variance = moments(reference)
        if n < 2:
            raise ValueError("A reference has at least 2 frames.")
        low, high = SCHEMAS[reference.schema].low, SCHEMAS[reference.schema].high
        scaled = (centre - low) / (high - low)
        mean = 1.0 - scaled if falling else scaled
        # A sample of equal values has a standard error, too: as if one of its frames were off by the range.
        error = sqrt((variance / (high - low) ** 2 + 1.0 / n**2) * inflation / n)

        def log_value(null: float) -> float:
            return _log_normal_value((null - mean) / error)

        nulls = _nulls(mean, error, log_value, run_length, tolerance)
        return cls(_inside(mean + tolerance), run_length, nulls, falling=falling)

    def observe(self, means: Sequence[float], at: Sequence[float]) -> None:
        """Take blocks in order: each block's mean, and its time."""
        x, t = np.asarray(means, dtype=np.float64), np.asarray(at, dtype=np.float64)
        if np.any(~((x >= 0.0) & (x <= 1.0))):
            raise ValueError("A block's mean must be between 0 and 1.")
        self._take_blocks(x.size, lambda part: self._log_payoff(x[part]), t)

    def observe_histograms(
        self, histograms: Sequence[Histogram], at: Sequence[float], *, inflation: float = 1.0
    ) -> None:
        """Take blocks in order: each block's frames, and its time; blocks without frames are left out.

        Args:
            histograms: of one schema.
            at: time of each block.
            inflation: frames that tell as much as one independent frame, at least 1.
        """
        _check_inflation(inflation)
        pairs = [(histogram, when) for histogram, when in zip(histograms, at, strict=True) if histogram.total]
        if not pairs:
            return
        counts = np.array([histogram.counts for histogram, _ in pairs], dtype=np.float64) / inflation
        low, high = SCHEMAS[pairs[0][0].schema].low, SCHEMAS[pairs[0][0].schema].high
        x = (np.asarray(pairs[0][0].centres) - low) / (high - low)
        payoff = self._log_payoff(1.0 - x if self._falling else x)
        times = np.array([when for _, when in pairs])
        self._take_blocks(len(pairs), lambda part: np.tensordot(counts[part], payoff, axes=1), times)

    def _log_payoff(self, x: Floats) -> Floats:
        """Values x nulls x bets."""
        payoff: Floats = np.log1p(self._bets * (x[:, None, None] - self.nulls.means[:, None]))
        return payoff


def _nulls(
    centre: float, error: float, log_value: Callable[[float], float], run_length: float, tolerance: float
) -> Nulls:
    """The nulls of a sampled reference.

    Between two neighbours the e-value of the lower one and the null of the upper one stand for all: the
    e-value grows with the null and the evidence of the stream falls. Below the centre the part that ``R``
    keeps in hand holds, and the nulls end where the reference alone excludes the rest.
    """
    means, log_reference = [centre], [-log(len(REFERENCE_BETS) + 1)]
    while len(means) < MOST_NULLS and means[-1] + tolerance < _HIGHEST_NULL:
        value = log_value(means[-1])
        if value >= log(run_length):
            break
        log_reference.append(value)
        means.append(means[-1] + REFERENCE_STEP * error)
    return Nulls(np.array([_inside(mean + tolerance) for mean in means]), np.array(log_reference))


def _inside(mean: float) -> float:
    return min(max(mean, _LOWEST_NULL), _HIGHEST_NULL)


def _log_sample_value(n: float, wrong: float, rate: float) -> float:
    """E-value of a sample against "its rate is ``rate`` or more": likelihood ratios to lower rates."""
    lower = rate - np.array(REFERENCE_BETS) * sqrt(rate * (1.0 - rate) / n)
    lower = np.maximum(lower, rate / 100.0)
    ratios = wrong * np.log(lower / rate) + (n - wrong) * (np.log1p(-lower) - log1p(-rate))
    return _log_mean_with_one(ratios)


def _log_normal_value(z: float) -> float:
    """E-value of a standard score against "the mean is ``z`` standard errors above the sample's, or more"."""
    bets = np.array(REFERENCE_BETS)
    return _log_mean_with_one(bets * z - bets**2 / 2)


def _log_mean_with_one(logs: Floats) -> float:
    return float(np.logaddexp.reduce(np.append(logs, 0.0))) - log(logs.size + 1)


def _check_inflation(inflation: float) -> None:
    if not inflation >= 1.0:
        raise ValueError(f"The inflation must be at least 1, not {inflation}.")
