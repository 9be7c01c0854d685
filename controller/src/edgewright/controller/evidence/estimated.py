"""Harm without labels: the error rate that the confidences alone tell, where their calibration is trusted.

Each window bets once, on its mean chance of being wrong (``labelfree``), so frames may depend on each other
as they like. It is trusted while

- testing told how confidence and being right go together,
- the confidences lie where testing saw labels (``labelfree.MOST_UNSEEN``),
- and labels do not say otherwise: once ``ENOUGH_LABELS`` have come since the onset, they alone decide.

More than half of the robots have to show it: one camera, or one liar, is no fleet.
"""

from collections.abc import Sequence
from math import isfinite, sqrt
from typing import Final

import numpy as np

from edgewright.controller.evidence.calibration import Calibration
from edgewright.controller.evidence.confidence_sequence import Interval
from edgewright.controller.evidence.edetector import MeanDetector
from edgewright.controller.evidence.forgetting import Forgetting
from edgewright.controller.evidence.labelfree import MOST_UNSEEN, estimate, unseen_share
from edgewright.wire.histograms import Histogram

ENOUGH_LABELS: Final = 30
"""Labels since the onset, from which on they decide."""

CALIBRATION_SIGMAS: Final = 1.645
"""Standard deviations of the calibration that the null is raised by: one side, 5 %."""

HALF_LIFE: Final = 8.0
"""Windows after which one counts half in the means that forget."""

SETTLED_WINDOWS: Final = 4
"""Windows of a robot from which on its mean counts."""

_HIGHEST: Final = 0.98


class Estimated:
    """See the module's text."""

    def __init__(
        self, calibration: Calibration, reference: Histogram, harm_rate: float, run_length: float
    ) -> None:
        self._calibration = calibration
        weights = np.asarray(reference.counts, dtype=np.float64) / max(reference.total, 1)
        unsure = sqrt(max(float(weights @ calibration.covariance @ weights), 0.0))
        self._rate = min(harm_rate + CALIBRATION_SIGMAS * unsure, _HIGHEST)
        self._detector = MeanDetector(self._rate, run_length)
        self._doubts = 1.0 - calibration.chances
        self._robots = Forgetting(1, HALF_LIFE)
        self._all = Forgetting(len(self._doubts), HALF_LIFE)
        self._windows: dict[str, int] = {}

    def observe(self, windows: Sequence[tuple[float, str, Histogram]]) -> None:
        """Take windows in order: time, robot and confidences."""
        counts = np.array([confidence.counts for _, _, confidence in windows], dtype=np.float64)
        counts /= counts.sum(axis=1, keepdims=True)
        doubts = counts @ self._doubts
        self._detector.observe(doubts.tolist(), [at for at, _, _ in windows])
        names = [device for _, device, _ in windows]
        self._robots.observe(names, doubts[:, None])
        self._all.observe([""] * len(names), counts)
        for name in names:
            self._windows[name] = self._windows.get(name, 0) + 1

    @property
    def harmed(self) -> bool:
        """Whether the estimate shows harm of more than half of the robots, within what testing saw."""
        if not self._detector.alarm or unseen_share(self._lately(), self._calibration) > MOST_UNSEEN:
            return False
        settled = [name for name, windows in self._windows.items() if windows >= SETTLED_WINDOWS]
        return 2 * sum(float(self._robots.of(name)[0]) > self._rate for name in settled) > len(settled)

    @property
    def onset_at(self) -> float:
        """When the rise most likely began; 0 without evidence."""
        return self._detector.onset_at if isfinite(self._detector.onset_at) else 0.0

    @property
    def error_rate(self) -> Interval:
        """Of the last windows, for one look."""
        right = estimate(self._lately(), self._calibration)
        return Interval(1.0 - right.high, 1.0 - right.estimate, 1.0 - right.low)

    def _lately(self) -> Histogram:
        """The last windows' confidences, each window counting alike, as a histogram of about 1,000."""
        shares = np.nan_to_num(self._all.of(""))
        return Histogram("confidence", [round(1000.0 * share) for share in shares.tolist()])
