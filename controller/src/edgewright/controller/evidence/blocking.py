"""How much independent evidence a window of dependent frames holds, measured from window sums alone.

Neighbouring frames of a video show almost the same picture: a thousand of them may tell no more than fifty
that were drawn apart. ``Blocking`` measures this from each window's frames, mean and variance:

- ``inflation``: how many frames tell as much about a mean as one independent frame; the integrated
  autocorrelation time. For an AR(1) with correlation ``rho`` it is ``(1 + rho) / (1 - rho)``.
- ``effective(frames)``: the effective sample size, for intervals and for the size of bets.
- ``windows_per_block``: how many windows, put together, make blocks whose means hardly depend on each other,
  for whoever needs blocks that may be exchanged.

The estimate is that of batch means (Flegal, Jones, "Batch means and spectral variance estimators in Markov
chain Monte Carlo", Annals of Statistics 2010, Section 2): the variance of block means times the frames of a
block tends to the long-run variance as blocks grow. Blocks are doubled until the correlation of neighbours is
at most ``SMALL_CORRELATION``, and what is left of it is taken for that of an AR(1).

The measurement is itself an estimate. ``inflation`` is raised by ``CAUTION`` standard errors of the
correlation, and it is at least 1: frames that repel each other are taken as independent. It is measured anew
only when a quarter more windows have come, for windows after those: a change of level, which is what the
detectors look for, would otherwise count as dependence while it is being found.

>>> blocking = Blocking()
>>> blocking.observe(frames=[50] * 64, means=[0.4, 0.6] * 32, variances=[0.25] * 64)
>>> blocking.inflation, blocking.windows_per_block, blocking.effective(500)
(1.0, 1, 500.0)
"""

from collections.abc import Sequence
from math import atanh, ceil, sqrt, tanh
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgewright.wire.histograms import Histogram

Floats = NDArray[np.float64]

REMEMBERED: Final = 4096
"""Windows that count; older ones are forgotten."""

FEWEST_BLOCKS: Final = 16
"""With fewer of them a correlation cannot be told from none."""

SMALL_CORRELATION: Final = 0.3
"""From here on the AR(1) that stands for the rest is off by less than 5 % for any AR(1) of frames."""

NO_CORRELATION: Final = 0.05
"""Of neighbouring blocks that are taken as exchangeable."""

LARGEST_CORRELATION: Final = 0.98
"""A correlation of 1 would make the inflation infinite."""

CAUTION: Final = 1.0
"""Standard errors that the inflation is raised by."""


class Spread(NamedTuple):
    """What blocks of one size show.

    Attributes:
        blocks: how many there are.
        per_frame: variance of a block's mean times its frames.
        correlation: of neighbouring blocks' means.
    """

    blocks: int
    per_frame: float
    correlation: float


class Blocking:
    """Measures the dependence of frames; see the module's text."""

    def __init__(self) -> None:
        self._frames: Floats = np.zeros(0)
        self._means: Floats = np.zeros(0)
        self._variances: Floats = np.zeros(0)
        self._seen = 0
        self._measured_at = 0
        self._measured = (1.0, 1)

    def observe(self, frames: Sequence[int], means: Sequence[float], variances: Sequence[float]) -> None:
        """Take windows in order: frames, and the mean and variance of the signal within each.

        Windows without frames are left out. The signal is any: a confidence, or 0 and 1 for right and wrong.
        """
        n, m, v = (np.asarray(x, dtype=np.float64) for x in (frames, means, variances))
        if np.any(n < 0) or not np.all(np.isfinite(m[n > 0])) or np.any(~(v[n > 0] >= 0.0)):
            raise ValueError("A window has at least 0 frames, a finite mean and a variance of at least 0.")
        some = n > 0
        self._frames = np.concatenate((self._frames, n[some]))[-REMEMBERED:]
        self._means = np.concatenate((self._means, m[some]))[-REMEMBERED:]
        self._variances = np.concatenate((self._variances, v[some]))[-REMEMBERED:]
        self._seen += int(np.count_nonzero(some))

    def observe_histograms(self, histograms: Sequence[Histogram]) -> None:
        """Take windows in order, each by the histogram of its signal."""
        rows = [moments(histogram) for histogram in histograms]
        self.observe([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows])

    @property
    def windows(self) -> int:
        """Windows that the measurement rests on."""
        return int(self._frames.size)

    @property
    def inflation(self) -> float:
        """Frames that tell as much as one independent frame; 1 until ``FEWEST_BLOCKS`` windows were seen."""
        return self._measure()[0]

    @property
    def windows_per_block(self) -> int:
        """Windows that make one block."""
        return self._measure()[1]

    def effective(self, frames: float) -> float:
        """How many independent frames tell as much about a mean as these."""
        return frames / self.inflation

    def _measure(self) -> tuple[float, int]:
        if self._seen > self._measured_at * 1.25:
            self._measured_at, self._measured = self._seen, self._inflation()
        return self._measured

    def _inflation(self) -> tuple[float, int]:
        size = 1
        spread = _spread(self._frames, self._means, size)
        if spread is None:
            return 1.0, 1
        frame_variance = float(np.average(self._variances, weights=self._frames))
        frame_variance += spread.per_frame / float(np.mean(self._frames))
        while spread.correlation > SMALL_CORRELATION:
            larger = _spread(self._frames, self._means, 2 * size)
            if larger is None:
                break
            size, spread = 2 * size, larger
        if frame_variance <= 0.0:
            return 1.0, size
        error = CAUTION / sqrt(spread.blocks)
        seen = min(max(spread.correlation, -LARGEST_CORRELATION), LARGEST_CORRELATION)
        correlation = tanh(atanh(seen) + error)
        long_run = spread.per_frame * (1.0 + correlation) / (1.0 - correlation)
        # What neighbours share is at their border, so it shrinks as blocks grow.
        return max(1.0, long_run / frame_variance), size * max(1, ceil(seen / NO_CORRELATION))


def moments(histogram: Histogram) -> tuple[int, float, float]:
    """Frames, mean and variance of a histogram by its bin centres; zeros where it is empty."""
    counts, centres = np.asarray(histogram.counts, dtype=np.float64), np.asarray(histogram.centres)
    total = float(counts.sum())
    if not total:
        return 0, 0.0, 0.0
    mean = float(counts @ centres) / total
    return int(total), mean, max(float(counts @ (centres - mean) ** 2) / total, 0.0)


def _spread(frames: Floats, means: Floats, size: int) -> Spread | None:
    """What blocks of ``size`` windows show; None where there are too few."""
    blocks = frames.size // size
    if blocks < FEWEST_BLOCKS:
        return None
    # The newest windows fill the blocks; what does not fill one is the oldest.
    n = frames[-blocks * size :].reshape(blocks, size)
    sums, sizes = (means[-blocks * size :].reshape(blocks, size) * n).sum(axis=1), n.sum(axis=1)
    off = (sums - sizes * sums.sum() / sizes.sum()) / np.sqrt(sizes)
    squares = float(off @ off)
    correlation = float(off[1:] @ off[:-1]) / squares if squares > 0.0 else 0.0
    return Spread(blocks, squares / (blocks - 1), correlation)
