"""Harm without labels: the error rate that the confidences alone tell, where their calibration is trusted.

Each window bets once, on its mean chance of being wrong (``labelfree``), so frames may depend on each other
as they like. It is trusted while

- testing told how confidence and being right go together,
- the confidences lie where testing saw labels (``labelfree.MOST_UNSEEN``),
- and labels do not say otherwise: once ``ENOUGH_LABELS`` have come since the onset, they alone decide.

More than half of the robots have to show it: one camera, or one liar, is no fleet. Each robot's confidences
are read by the calibration of its own target.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import isfinite, sqrt
from typing import Final, NamedTuple, Self

import numpy as np

from edgewright.controller.evidence.calibration import Calibration
from edgewright.controller.evidence.confidence_sequence import Interval
from edgewright.controller.evidence.edetector import MeanDetector
from edgewright.controller.evidence.forgetting import Forgetting
from edgewright.controller.evidence.labelfree import MOST_UNSEEN, estimate, unseen_share
from edgewright.controller.evidence.reference import Reference
from edgewright.wire.errors import MessageError
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


class Sure(NamedTuple):
    """The confidences of one window.

    Attributes:
        at: start of the window, seconds since the epoch.
        device: which robot's.
        target: of the robot, as ``targets`` names it.
        confidence: not empty.
    """

    at: float
    device: str
    target: str
    confidence: Histogram


class Estimated:
    """See the module's text.

    The targets' nulls differ by how well each is calibrated. Windows of the lower ones are raised by the
    difference, which leaves their mean below the highest null while it is below their own; so one detector
    serves all.
    """

    def __init__(
        self, tested: Mapping[str, tuple[Calibration, Histogram]], harm_rate: float, run_length: float
    ) -> None:
        rates = {target: _null(harm_rate, *test) for target, test in tested.items()}
        self._rate = max(rates.values())
        self._detector = MeanDetector(self._rate, run_length)
        self._calibrations = {target: calibration for target, (calibration, _) in tested.items()}
        self._doubts = {
            target: np.minimum(1.0 - calibration.chances + self._rate - rates[target], 1.0)
            for target, calibration in self._calibrations.items()
        }
        self._robots = Forgetting(1, HALF_LIFE)
        self._all = Forgetting(len(next(iter(self._doubts.values()))), HALF_LIFE)
        self._windows: dict[str, int] = {}
        self._target_of: dict[str, str] = {}

    @classmethod
    def of(cls, references: Mapping[str, Reference], harm_rate: float, run_length: float) -> Self | None:
        """Of the targets whose testing told what confidences are worth; None where none did."""
        tested = {
            target: test for target, reference in references.items() if (test := _test(reference)) is not None
        }
        return cls(tested, harm_rate, run_length) if tested else None

    def observe(self, windows: Sequence[Sure]) -> None:
        """Take windows in order."""
        for window in windows:
            self._windows[window.device] = self._windows.get(window.device, 0) + 1
            self._target_of[window.device] = window.target
        some = [window for window in windows if window.target in self._doubts]
        if not some:
            return
        counts = np.array([window.confidence.counts for window in some], dtype=np.float64)
        counts /= counts.sum(axis=1, keepdims=True)
        doubts = (counts * np.array([self._doubts[window.target] for window in some])).sum(axis=1)
        self._detector.observe(np.minimum(doubts, 1.0).tolist(), [window.at for window in some])
        self._robots.observe([window.device for window in some], doubts[:, None])
        self._all.observe([window.target for window in some], counts)

    @property
    def harmed(self) -> bool:
        """Whether the estimate shows harm of more than half of the robots, within what testing saw."""
        if not self._detector.alarm:
            return False
        within = {target for target in self._calibrations if self._is_within(target)}
        settled = [name for name, windows in self._windows.items() if windows >= SETTLED_WINDOWS]
        shown = [name for name in settled if self._target_of[name] in within]
        return 2 * sum(float(self._robots.of(name)[0]) > self._rate for name in shown) > len(settled)

    @property
    def onset_at(self) -> float:
        """When the rise most likely began; 0 without evidence."""
        return self._detector.onset_at if isfinite(self._detector.onset_at) else 0.0

    @property
    def error_rate(self) -> Interval:
        """Of the last windows, for one look; each target counts by its robots."""
        robots = Counter(target for target in self._target_of.values() if target in self._calibrations)
        right = [estimate(self._lately(target), self._calibrations[target]) for target in robots]
        wrong = np.array([(1.0 - one.high, 1.0 - one.estimate, 1.0 - one.low) for one in right])
        low, mean, high = np.average(wrong, axis=0, weights=list(robots.values())).tolist()
        return Interval(low, mean, high)

    def _is_within(self, target: str) -> bool:
        return unseen_share(self._lately(target), self._calibrations[target]) <= MOST_UNSEEN

    def _lately(self, target: str) -> Histogram:
        """The last windows' confidences, each window counting alike, as a histogram of about 1,000."""
        shares = np.nan_to_num(self._all.of(target))
        return Histogram("confidence", [round(1000.0 * share) for share in shares.tolist()])


def _null(harm_rate: float, calibration: Calibration, tested: Histogram) -> float:
    """The mean chance of being wrong from which on it is harm, as far as a calibration can say."""
    weights = np.asarray(tested.counts, dtype=np.float64) / max(tested.total, 1)
    unsure = sqrt(max(float(weights @ calibration.covariance @ weights), 0.0))
    return min(harm_rate + CALIBRATION_SIGMAS * unsure, _HIGHEST)


def _test(reference: Reference) -> tuple[Calibration, Histogram] | None:
    """The curve and the confidences of testing; None where it did not tell what they are worth."""
    try:
        labelled, right, confidence = (
            Histogram.unpack(reference.histograms[name])
            for name in ("labelled_confidence", "right_confidence", "confidence")
        )
        return (Calibration.fit(labelled, right), confidence) if labelled.total else None
    except (KeyError, ValueError, MessageError):
        return None
