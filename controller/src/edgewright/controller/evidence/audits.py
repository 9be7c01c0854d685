"""Alarms from audits: a few random frames that a person or a trusted machine checked.

Two nulls, two detectors; both may be looked at after every audit, and both keep the average run length that
is asked for, **counted in audited items** here.

``ConceptDetector``: *what is right given a confidence is what it was in testing*. Each audit bets a
likelihood ratio at its own confidence, so a confident decision that was wrong says much and a doubtful one
little. This finds flips of labels with a fraction of the audits that the error rate alone would need. No
change of the inputs is an alarm here as long as the calibration holds. Its null has room for audits that are
wrong themselves and for a calibration that was measured on few items.

``AuditedErrorDetector``: *the error rate is at most a bound*, whatever the reason. Each audit bets its
rectified residual ``wrong - power * (doubt - mean doubt of all frames)``: the doubt is a control variate
(Angelopoulos et al. 2023, as in ``prediction_powered``), so chance in the drawing of easy or hard frames
moves the evidence less.

Selection. Items must be drawn at random with known probabilities. With ``w = smallest probability / own
probability``, at most 1, ``1 + w (e - 1)`` is an e-value wherever ``e`` is one for an evenly drawn item, so
unequal probabilities keep the run length.

The e-processes are mixed and summed over start times as in ``edetector`` (Shin, Ramdas, Rinaldo 2023).
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgewright.controller.evidence.calibration import SCHEMA, Calibration
from edgewright.controller.evidence.edetector import EDetector, Nulls
from edgewright.controller.evidence.prediction_powered import AuditedItem
from edgewright.wire.histograms import Histogram

Floats = NDArray[np.float64]

AUDIT_ERROR: Final = 0.01
"""Share of audits that may be wrong themselves without being taken for a change."""

CALIBRATION_DELTA: Final = 0.05
"""Chance, bin by bin, that the calibration's bound is too low."""

FLIPS: Final[Floats] = np.geomspace(0.03, 0.5, 8)
"""Shares of labels, flipped at random, that are bet on at once."""

POWER: Final = 0.5
"""Factor on the doubt: the best in simulated flips of 10 %, where 0 costs 8 % more audits and 1, 3 %."""

BOLDNESS: Final[Floats] = np.geomspace(0.03, 0.8, 8)
"""Bets of ``AuditedErrorDetector`` as parts of the one that could lose everything at once."""


class ConceptDetector(EDetector):
    """Alarm when decisions are wrong more often than their confidence tells.

    The null bounds the chance of being wrong in each bin by ``n``: the calibration's upper bound, plus the
    audits' own errors. The alternatives are ``n (1-g) + (1-n) g`` for flips of a share ``g``. A ratio of the
    two grows with being wrong, so its expectation is at most 1 for every smaller chance.
    """

    def __init__(
        self,
        calibration: Calibration,
        run_length: float,
        *,
        audit_error: float = AUDIT_ERROR,
        smallest_probability: float = 1.0,
    ) -> None:
        if not 0.0 <= audit_error < 0.5:
            raise ValueError(f"The audits' share of errors lies in [0, 0.5), not {audit_error}.")
        self._calibration = calibration
        self._smallest = smallest_probability
        doubt = 1.0 - calibration.lowest_chances(CALIBRATION_DELTA)
        super().__init__(Nulls.known(audit_error), run_length, FLIPS.size)
        null = np.clip(doubt * (1.0 - audit_error) + (1.0 - doubt) * audit_error, 1e-4, 1.0 - 1e-4)
        worse = np.maximum(null[:, None] * (1.0 - FLIPS) + (1.0 - null[:, None]) * FLIPS, null[:, None])
        self._ratios: Floats = np.stack([(1.0 - worse) / (1.0 - null[:, None]), worse / null[:, None]])

    def observe(self, items: Sequence[AuditedItem], at: Sequence[float]) -> None:
        """Take audits in the order of their times, seconds.

        Raises:
            ValueError: a probability is not in (0, 1] or below the smallest.
        """
        if not items:
            return
        weights = _weights(items, self._smallest)
        bins = [self._calibration.bin(item.confidence) for item in items]
        wrong = [int(not item.right) for item in items]
        steps = np.log1p(weights[:, None] * (self._ratios[wrong, bins] - 1.0))
        self._take_blocks(len(items), lambda part: steps[part, None, :], np.asarray(at, dtype=np.float64))


class AuditedErrorDetector(EDetector):
    """Alarm when the error rate of all frames has risen above ``rate``.

    ``1 + bet * (x - rate)`` with ``x`` as in the module's text is not negative and has expectation at most 1
    while the frames' error rate is at most ``rate``, whatever the doubts are worth.
    """

    def __init__(
        self, rate: float, calibration: Calibration, run_length: float, *, smallest_probability: float = 1.0
    ) -> None:
        if not 0.0 < rate < 1.0:
            raise ValueError(f"The rate must be between 0 and 1, not {rate}.")
        super().__init__(Nulls.known(rate), run_length, BOLDNESS.size)
        self.rate = rate
        self._calibration = calibration
        self._smallest = smallest_probability

    def observe(self, items: Sequence[AuditedItem], confidence: Histogram, at: Sequence[float]) -> None:
        """Take audits in the order of their times.

        Args:
            items: drawn at random, with known probabilities, from the frames of ``confidence``.
            confidence: of all those frames.
            at: times, seconds.

        Raises:
            ValueError: the histogram is empty or no confidences, or a probability is not in (0, 1] or below
                the smallest.
        """
        if confidence.schema != SCHEMA or not confidence.total:
            raise ValueError(f"Audited items are drawn from the frames of a {SCHEMA} histogram.")
        if not items:
            return
        weights = _weights(items, self._smallest)
        doubts = 1.0 - self._calibration.chances
        mean = float(np.asarray(confidence.counts) @ doubts) / confidence.total
        doubt = doubts[[self._calibration.bin(item.confidence) for item in items]]
        wrong = np.array([not item.right for item in items], dtype=np.float64)
        gain = wrong - POWER * (doubt - mean) - self.rate
        bets = BOLDNESS / (self.rate + POWER * (float(doubts.max()) - mean))
        steps = np.log1p(bets * (weights * gain)[:, None])
        self._take_blocks(len(items), lambda part: steps[part, None, :], np.asarray(at, dtype=np.float64))


def _weights(items: Sequence[AuditedItem], smallest: float) -> Floats:
    chosen = np.array([item.probability for item in items], dtype=np.float64)
    if np.any(~((chosen > 0.0) & (chosen <= 1.0))):
        raise ValueError("The chance of being audited lies in (0, 1].")
    if np.any(chosen < smallest * (1.0 - 1e-9)):
        raise ValueError(f"An item was audited with a chance below {smallest}.")
    weights: Floats = np.minimum(smallest / chosen, 1.0)
    return weights
