"""Accuracy without labels: what the confidences alone say of how often a version is right.

If decisions of a calibrated confidence ``c`` are right with the chance ``p(c)``, the accuracy of any set of
decisions is the mean of ``p`` over them, wherever the inputs lie (confidence-based performance estimation,
NannyML's CBPE; Guillory et al., "Predicting with confidence on unseen distributions", ICCV 2021; compare
Garg et al., "Leveraging unlabeled data to predict out-of-distribution performance", ICLR 2022, whose Section
3 proves that no such method works without an assumption). The assumption here is that ``p`` still holds: the
inputs may shift, what is right given an input may not. **A concept drift is not seen by this module**; audits
see it (``prediction_powered``).

Only histograms of 64 bins are read; no row leaves a device.

>>> from edgewright.controller.evidence.calibration import Calibration
>>> labelled, right, now = (Histogram("confidence") for _ in range(3))
>>> for item in range(1000):
...     labelled.add(0.9 if item % 2 else 0.99)
...     if item % 2 == 0 or item % 10 < 7: right.add(0.9 if item % 2 else 0.99)
>>> for _ in range(1000): now.add(0.9)
>>> curve = Calibration.fit(labelled, right)
>>> [round(x, 2) for x in estimate(now, curve)], unseen_share(now, curve)
([0.55, 0.6, 0.65], 0.0)
"""

from math import log, sqrt
from typing import Final

import numpy as np
from scipy.special import expit, ndtri

from edgewright.controller.evidence.calibration import SCHEMA, Calibration
from edgewright.controller.evidence.confidence_sequence import Interval
from edgewright.wire.histograms import Histogram

ALPHA: Final = 0.05

MOST_UNSEEN: Final = 0.05
"""Above this share of frames in bins that testing never saw, an estimate is an extrapolation."""


def estimate(
    confidence: Histogram, calibration: Calibration, *, effective: float | None = None, alpha: float = ALPHA
) -> Interval:
    """Accuracy of the decisions in a histogram.

    The interval is for one look. It holds the uncertainty of the calibration (which does not fall with more
    frames) and that of the frames: ``m(1-m)/n`` at mean ``m``, which covers both the accuracy of these very
    frames and that of the process that they come from. It is symmetric on the logit scale.

    Args:
        confidence: of the decisions, labelled or not.
        calibration: the chance of being right for each bin.
        effective: effective number of independent frames, where neighbours depend on each other; at most all.
        alpha: chance of an interval that misses, while the calibration holds.

    Raises:
        ValueError: the histogram holds no confidences, or ``effective`` is not positive.
    """
    if confidence.schema != SCHEMA:
        raise ValueError(f"An accuracy is estimated from a {SCHEMA} histogram.")
    if effective is not None and not effective > 0.0:
        raise ValueError(f"An effective number of frames is positive, not {effective}.")
    total = confidence.total
    if not total:
        return Interval(0.0, 0.5, 1.0)
    frames = min(effective, total) if effective is not None else total
    weights = np.asarray(confidence.counts, dtype=np.float64) / total
    mean = float(weights @ calibration.chances)
    variance = float(weights @ calibration.covariance @ weights) + mean * (1.0 - mean) / frames
    slack = -ndtri(alpha / 2) * sqrt(variance) / (mean * (1.0 - mean))
    odds = log(mean / (1.0 - mean))
    return Interval(float(expit(odds - slack)), mean, float(expit(odds + slack)))


def unseen_share(confidence: Histogram, calibration: Calibration) -> float:
    """Share of frames whose confidence lies where the calibration saw no label, nor next to one.

    Above ``MOST_UNSEEN`` the estimate is an extrapolation: the page says so, and it must raise no alarm.
    """
    total = confidence.total
    if not total:
        return 0.0
    return float(np.asarray(confidence.counts)[calibration.unseen()].sum()) / total
