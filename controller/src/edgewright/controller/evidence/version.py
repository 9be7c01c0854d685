"""What the evidence says of one version: detectors and sums, fed by windows, frozen for readers.

Two questions are kept apart. *Harm*: has the error rate of labelled items risen above what testing promised,
by more than the tolerance? Only this raises an alarm. *Change*: has the confidence fallen below the
reference's? That is worth a note, and benign until harm is shown (Podkopaev, Ramdas, "Tracking the risk of a
deployed model and detecting harmful distribution shifts", ICLR 2022).

The error rate in testing is itself an estimate, so the null is its upper confidence bound plus the tolerance.
"""

from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from math import isfinite
from typing import Final

import msgspec

from edgewright.controller.evidence.confidence_sequence import Interval, rate_interval
from edgewright.controller.evidence.edetector import ErrorRateDetector, MeanDetector
from edgewright.controller.evidence.reference import Reference

INTERVAL_ALPHA: Final = 0.05

RECENT_BLOCKS: Final = 4096
"""Blocks that are remembered one by one, to say what happened since an onset."""


class VersionHealth(msgspec.Struct, frozen=True, kw_only=True):
    """The evidence of one version at one moment.

    Attributes:
        labelled, wrong: outcomes of its decisions so far.
        error_rate: estimate and 95 % confidence sequence over all of them.
        reference_rate, harm_rate: promised by testing, and from where on it is harm.
        evidence, threshold: e-detector of harm, and the average run length at which it alarms, in windows.
        harmed: whether the threshold is reached.
        onset_at: when the rise most likely began, seconds since the epoch; None without evidence.
        since_onset: labelled and wrong items since then.
        confidence, reference_confidence: means; None without values.
        change_evidence: e-detector of fallen confidence, same threshold.
        changed: whether that one is reached.
    """

    model: str
    version: int
    labelled: int
    wrong: int
    error_rate: Interval
    reference_rate: float
    harm_rate: float
    evidence: float
    threshold: float
    harmed: bool
    onset_at: float | None
    since_onset: tuple[int, int]
    confidence: float | None
    reference_confidence: float | None
    change_evidence: float
    changed: bool

    @property
    def harm_sentence(self) -> str:
        """One sentence with the numbers that raise an alarm."""
        labelled, wrong = self.since_onset
        since = datetime.fromtimestamp(self.onset_at or 0.0, UTC).strftime("%H:%M:%S")
        return (
            f"{self.model} v{self.version} does harm: of {labelled} labelled items since {since} UTC {wrong} "
            f"({wrong / max(labelled, 1):.0%}) were wrong, testing showed {self.reference_rate:.1%}, and "
            f"harm begins at {self.harm_rate:.1%}; by chance once in {self.threshold:,.0f} windows."
        )

    @property
    def change_sentence(self) -> str:
        """One sentence with the numbers of a change."""
        now, then = self.confidence or 0.0, self.reference_confidence or 0.0
        return (
            f"The confidence of {self.model} v{self.version} has fallen ({now:.3f} on average, {then:.3f} in "
            f"testing); whether that does harm is for the labelled items to show."
        )


class VersionEvidence:
    """Detectors and sums of one version; see the module's text."""

    def __init__(
        self, model: str, version: int, reference: Reference, *, tolerance: float, run_length: float
    ) -> None:
        self._of = (model, version)
        self._reference = reference
        self._harm = ErrorRateDetector(reference.harm_rate(tolerance), run_length)
        self._change = MeanDetector(reference.doubt_bound, run_length)
        self._recent: deque[tuple[float, int, int]] = deque(maxlen=RECENT_BLOCKS)
        self._labelled = 0
        self._wrong = 0
        self._confidence_sum = 0.0
        self._confidence_blocks = 0

    def observe_outcomes(self, blocks: Sequence[tuple[float, int, int]]) -> None:
        """Take blocks in order: time, labelled items, wrong ones."""
        self._recent.extend(blocks)
        self._labelled += sum(labelled for _, labelled, _ in blocks)
        self._wrong += sum(wrong for _, _, wrong in blocks)
        at, labelled, wrong = zip(*blocks, strict=True)
        self._harm.observe(labelled, wrong, at)

    def observe_confidence(self, blocks: Sequence[tuple[float, float]]) -> None:
        """Take blocks in order: time, mean confidence."""
        at, means = zip(*blocks, strict=True)
        self._confidence_sum += sum(means)
        self._confidence_blocks += len(blocks)
        if self._reference.doubt_n:
            self._change.observe([1.0 - mean for mean in means], at)

    def health(self) -> VersionHealth:
        """The evidence now."""
        onset = self._harm.onset_at if isfinite(self._harm.onset_at) else None
        since = [block for block in self._recent if onset is not None and block[0] >= onset]
        blocks, reference = self._confidence_blocks, self._reference
        return VersionHealth(
            model=self._of[0],
            version=self._of[1],
            labelled=self._labelled,
            wrong=self._wrong,
            error_rate=rate_interval(self._labelled, self._wrong, INTERVAL_ALPHA),
            reference_rate=reference.error_rate,
            harm_rate=self._harm.rate,
            evidence=self._harm.evidence,
            threshold=self._harm.run_length,
            harmed=self._harm.alarm,
            onset_at=onset,
            since_onset=(sum(block[1] for block in since), sum(block[2] for block in since)),
            confidence=self._confidence_sum / blocks if blocks else None,
            reference_confidence=1.0 - reference.doubt if reference.doubt_n else None,
            change_evidence=self._change.evidence,
            changed=self._change.alarm,
        )
