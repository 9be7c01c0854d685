"""An e-detector for histograms: any change of a signal's distribution, not of its mean alone.

It plays the game of two-sample testing by betting (Shekhar, Ramdas, "Nonparametric two-sample testing by
betting", IEEE Transactions on Information Theory 2023, Section 3; Podkopaev, Ramdas, "Sequential predictive
two-sample and independence testing", NeurIPS 2023): before each block a *witness* is chosen, a function on
the bins that was larger on the last blocks than in the reference; the block's mean of the witness is then bet
to be larger than the reference's. While nothing has changed no witness wins on average, whatever it is.

- *One bet a block.* Frames inside a block may depend on each other in any way; blocks must be conditionally
  centred at the reference (``Blocking.windows_per_block`` says how many windows that takes).
- *Mixture over lag and size.* Witnesses look back over half-lives of ``LAGS`` blocks, and each is bet on in
  ``SIZES``; their e-detectors are averaged, summed over all start times (``edetector.py``).
- *The reference is a sample.* It is split in two at random. One half teaches the witness, the other says what
  the witness's mean is, so that a witness cannot gain by the accidents of the half that it is held against;
  ``REFERENCE_ERRORS`` standard errors of that mean are added to it.
- *Bets in units of spread.* A block's win is divided by ``CLIP`` times its standard deviation, as the
  reference, the inflation and the blocks so far have it, and kept above -1. The deviation decides how sharp
  the bets are, not whether they are fair. What losses beyond it would have brought is paid in advance:
  ``GIVEN_AWAY``, more than twice what a normal distribution needs.

>>> reference = Histogram("unit", [40] * 64)
>>> detector = HistogramDetector(reference, run_length=10_000)
>>> for block in range(40):
...     detector.observe(Histogram("unit", [4] * 64), at=float(block))
>>> detector.alarm
False
>>> for block in range(40, 60):
...     detector.observe(Histogram("unit", [0] * 16 + [8] * 32 + [0] * 16), at=float(block))
>>> detector.alarm, detector.onset_at
(True, 41.0)
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgewright.controller.evidence.edetector import EDetector, Nulls
from edgewright.wire.errors import HistogramMismatchError
from edgewright.wire.histograms import Histogram

Floats = NDArray[np.float64]

LAGS: Final = np.array([4.0, 16.0, 64.0])
"""Half-lives of the witnesses' memories, in blocks."""

SIZES: Final = np.array([0.1, 0.3, 0.9])
"""Bets, as parts of what can be lost."""

CLIP: Final = 3.0
"""Standard deviations of a loss that is counted in full."""

GIVEN_AWAY: Final = 0.001
"""Standard deviations that cutting losses off is worth a block; 0.0004 for a normal distribution."""

LARGEST_WIN: Final = 4.0
"""In units of the largest loss."""

REFERENCE_ERRORS: Final = 2.0

SPREAD_HALF_LIFE: Final = 64.0
"""Blocks over which the blocks' own spread is remembered."""

_PRIOR_BLOCKS: Final = 16.0
"""Blocks that the spread by the reference counts for."""

_SMOOTHING: Final = np.array([1.0, 2.0, 3.0, 2.0, 1.0]) / 9.0
"""Neighbouring bins tell of each other; a witness from few blocks is noise without it."""

_SPLIT_SEED: Final = 20_26
"""The split of a reference is the same whenever it is made, so that a replay gives the same evidence."""


class HistogramDetector(EDetector):
    """Alarm when the distribution of a signal has changed; see the module's text.

    Raises:
        ValueError: the reference has fewer than 4 frames.
    """

    def __init__(self, reference: Histogram, run_length: float, *, inflation: float = 1.0) -> None:
        super().__init__(Nulls.known(0.5), run_length, bets=LAGS.size * SIZES.size)
        if reference.total < 4:
            raise ValueError("A reference has at least 4 frames.")
        self._schema = reference.schema
        counts = np.asarray(reference.counts)
        half = np.random.default_rng(_SPLIT_SEED).multivariate_hypergeometric(counts, int(counts.sum()) // 2)
        self._taught: Floats = _smooth(half / half.sum())
        self._held: Floats = (counts - half) / (counts - half).sum()
        self._held_frames = float((counts - half).sum()) / inflation
        self._memory: Floats = np.zeros((LAGS.size, counts.size))
        self._weight: Floats = np.zeros(LAGS.size)
        self._squares: Floats = np.zeros(LAGS.size)
        self._last: Floats = np.zeros(LAGS.size)
        self._blocks = 0.0

    def observe(self, histogram: Histogram, at: float, *, inflation: float = 1.0) -> None:
        """Take a block; an empty one is none.

        Args:
            histogram: of the reference's schema.
            at: time of the block.
            inflation: frames that tell as much as one independent frame; sharpens the bets.

        Raises:
            HistogramMismatchError: the schemas differ.
        """
        if histogram.schema != self._schema:
            raise HistogramMismatchError(f"{histogram.schema!r} cannot be held against {self._schema!r}.")
        frames = histogram.total
        if not frames:
            return
        block = np.asarray(histogram.counts) / frames
        wins = self._play(block, frames / inflation)
        payoff = np.log1p(np.outer(wins, SIZES)).reshape(1, 1, -1)
        self._advance(payoff, np.array([at]))
        keep = 0.5 ** (1.0 / LAGS)
        self._memory = keep[:, None] * self._memory + (1.0 - keep)[:, None] * block
        self._weight = keep * self._weight + (1.0 - keep)

    def _play(self, block: Floats, effective: float) -> Floats:
        """What each lag's witness wins on the block, from -1 to ``LARGEST_WIN``."""
        if not np.any(self._weight):
            return np.zeros(LAGS.size)
        witness = self._witnesses()
        mean = witness @ self._held
        variance = np.maximum(witness**2 @ self._held - mean**2, 1e-12)
        won = witness @ block - mean - REFERENCE_ERRORS * np.sqrt(variance / self._held_frames)
        # In units of what the reference expects, so that wins of different witnesses can be compared.
        score = won / np.sqrt(variance / effective)
        spread = self._spread()
        self._remember(score)
        wins: Floats = np.clip((score / spread - GIVEN_AWAY) / CLIP, -1.0, LARGEST_WIN)
        return wins

    def _witnesses(self) -> Floats:
        """Lags x bins, in [-2, 2]: the difference in parts of the mean of both."""
        recent = np.apply_along_axis(_smooth, 1, self._memory / self._weight[:, None])
        floor = 1.0 / (recent.shape[1] * 10.0)
        witness: Floats = (recent - self._taught) / ((recent + self._taught) / 2.0 + floor)
        return witness

    def _spread(self) -> Floats:
        """Standard deviation of the scores, at least the 1 that the reference expects."""
        share = self._blocks / (self._blocks + _PRIOR_BLOCKS)
        seen = self._squares / max(self._blocks, 1.0)
        return np.sqrt(np.maximum(1.0 + share * (seen - 1.0), 1.0))

    def _remember(self, score: Floats) -> None:
        # Half the squared difference of neighbours (von Neumann, Annals of Mathematical Statistics 1941): the
        # change that is looked for does not count as spread, but for the one block at which it comes.
        keep = 0.5 ** (1.0 / SPREAD_HALF_LIFE)
        self._squares = keep * self._squares + (score - self._last) ** 2 / 2.0
        self._blocks = keep * self._blocks + 1.0
        self._last = score


def _smooth(proportions: Floats) -> Floats:
    """Proportions of neighbouring bins, mixed; what falls off an end stays there."""
    padded = np.pad(proportions, 2)
    mixed: Floats = np.convolve(padded, _SMOOTHING, mode="same")
    mixed[2:4] += mixed[1::-1]
    mixed[-4:-2] += mixed[:-3:-1]
    return mixed[2:-2]
