"""Audits give the true accuracy and the alarm of a concept drift; all streams are seeded."""

from math import inf

import numpy as np
import pytest

from edgewright.controller.evidence.audits import AUDIT_ERROR, AuditedErrorDetector, ConceptDetector
from edgewright.controller.evidence.calibration import Calibration
from edgewright.controller.evidence.confidence_sequence import Interval
from edgewright.controller.evidence.prediction_powered import (
    AuditedItem,
    RectifiedSequence,
    accuracy,
    accuracy_weighed,
)
from edgewright.wire.histograms import Histogram
from tests.controller.confident_model import Decisions, decisions, histogram

FRAMES = 2000
RUN_LENGTH = 20_000.0


@pytest.fixture(scope="module")
def curve() -> Calibration:
    """What testing learned, from 20,000 labels."""
    rows = decisions(np.random.default_rng(99), 20_000)
    return Calibration.fit(histogram(rows.confidence), histogram(rows.confidence[rows.right]))


def true_accuracy(flips: float) -> float:
    """Of the process that the frames come from."""
    return float(decisions(np.random.default_rng(98), 400_000, flips=flips).chance.mean())


def items(rows: Decisions, probabilities: np.ndarray | None = None) -> list[AuditedItem]:
    """All rows as audits."""
    chosen = np.ones(rows.right.size) if probabilities is None else probabilities
    return [
        AuditedItem(*row)
        for row in zip(rows.confidence.tolist(), rows.right.tolist(), chosen.tolist(), strict=True)
    ]


def part(rows: Decisions, chosen: slice | np.ndarray) -> Decisions:
    """Some of the rows."""
    return Decisions(rows.confidence[chosen], rows.chance[chosen], rows.right[chosen])


@pytest.mark.parametrize("flips", [0.0, 0.25])
@pytest.mark.parametrize("audits", [10, 100])
def test_the_interval_holds_the_truth_with_and_without_drift(
    curve: Calibration, flips: float, audits: int
) -> None:
    """95 % intervals of 10 and of 100 audits hold the true accuracy, also where the calibration is wrong."""
    truth, found = true_accuracy(flips), []
    for seed in range(200):
        rows = decisions(np.random.default_rng(seed), FRAMES, flips=flips)
        audited = part(rows, slice(audits))
        found.append(
            accuracy(
                histogram(rows.confidence),
                histogram(audited.confidence),
                histogram(audited.confidence[audited.right]),
                curve,
            )
        )
    assert np.mean([x.low <= truth <= x.high for x in found]) > 0.90
    errors = np.array([x.estimate for x in found]) - truth
    assert abs(errors.mean()) < 3 * errors.std() / np.sqrt(len(errors))


def test_predictions_make_the_estimate_sharper(curve: Calibration) -> None:
    """The estimates of 100 audits scatter less than the audits' own share of right ones."""
    powered, plain = [], []
    for seed in range(150):
        rows = decisions(np.random.default_rng(seed), FRAMES)
        audited = part(rows, slice(100))
        powered.append(accuracy_weighed(histogram(rows.confidence), items(audited), curve).estimate)
        plain.append(audited.right.mean())
    assert np.std(powered) < np.std(plain)


def test_weights_undo_a_known_selection(curve: Calibration) -> None:
    """Audits that prefer doubtful frames are right ten points too seldom; weighted they are unbiased."""
    truth, found, naive = true_accuracy(0.1), [], []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        rows = decisions(rng, FRAMES, flips=0.1)
        chances = np.where(rows.confidence < 0.9, 0.2, 0.03)
        chosen = rng.random(FRAMES) < chances
        audits = items(part(rows, chosen), chances[chosen])
        found.append(accuracy_weighed(histogram(rows.confidence), audits, curve))
        naive.append(rows.right[chosen].mean())
    errors = np.array([x.estimate for x in found]) - truth
    assert abs(errors.mean()) < 3 * errors.std() / np.sqrt(len(errors))
    assert np.mean(naive) < truth - 0.07
    assert np.mean([x.low <= truth <= x.high for x in found]) >= 0.90


def test_a_sequence_holds_the_truth_at_all_times_at_once(curve: Calibration) -> None:
    """Looked at after every 10 of 200 audits, at most 3 of 20 sequences ever miss, and they shrink."""
    truth, missed, width = true_accuracy(0.1), 0, []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        frames, rows = histogram(decisions(rng, 5000).confidence), decisions(rng, 200, flips=0.1)
        sequence, looks = RectifiedSequence(), []
        for start in range(0, 200, 10):
            sequence.observe(items(part(rows, slice(start, start + 10))), frames, curve)
            looks.append(sequence.interval)
        missed += any(not x.low <= truth <= x.high for x in looks)
        width.append(looks[-1].high - looks[-1].low)
    assert missed <= 3
    assert np.mean(width) < 0.25


def test_a_weighted_sequence_holds_the_truth(curve: Calibration) -> None:
    """With audits that prefer doubtful frames, a sequence that knows it holds the truth on 7 of 8 streams."""
    truth, held = true_accuracy(0.0), 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        rows = decisions(rng, 3000)
        chances = np.where(rows.confidence < 0.9, 0.2, 0.05)
        chosen = rng.random(3000) < chances
        sequence = RectifiedSequence(smallest_probability=0.05)
        sequence.observe(items(part(rows, chosen), chances[chosen]), histogram(rows.confidence), curve)
        low, _, high = sequence.interval
        held += low <= truth <= high
        assert high - low < 0.35
    assert held >= 7


def test_a_sequence_without_audits_says_nothing(curve: Calibration) -> None:
    """Before the first audit the interval is everything."""
    low, _, high = RectifiedSequence().interval
    assert (low, high) == (0.0, 1.0)
    frames = histogram(decisions(np.random.default_rng(0), 100).confidence)
    assert accuracy_weighed(frames, [AuditedItem(0.9, right=True)], curve) == Interval(0.0, 0.5, 1.0)


def concept_alarm(curve: Calibration, seed: int, flips: float, before: int, audits: int) -> float:
    """The audit, counted from the change, at which the alarm rang; infinite if it did not."""
    rng = np.random.default_rng(seed)
    rows = [*items(decisions(rng, before)), *items(decisions(rng, audits, flips=flips))]
    detector = ConceptDetector(curve, RUN_LENGTH)
    detector.observe(rows, [float(number) for number in range(1, len(rows) + 1)])
    return detector.alarmed_at - before


@pytest.mark.parametrize(("flips", "audits"), [(0.1, 350), (0.25, 80)])
def test_a_concept_drift_is_found(curve: Calibration, flips: float, audits: int) -> None:
    """Flips of 10 and 25 % after 300 audits are found within 350 and 80 audits on 32 of 40 streams."""
    delays = [concept_alarm(curve, seed, flips, 300, audits) for seed in range(40)]
    assert min(delays) > 0
    assert sum(delay <= audits for delay in delays) >= 32


@pytest.mark.parametrize("flips", [0.0, AUDIT_ERROR])
def test_no_drift_and_mistaken_audits_raise_no_alarm(curve: Calibration, flips: float) -> None:
    """Looked at after each of 1,000 audits, at most 1 of 20 streams alarms; so too if 1 % of audits err."""
    alarms = [concept_alarm(curve, seed, flips, 0, 1000) for seed in range(20)]
    assert sum(delay < inf for delay in alarms) <= 1


def test_harder_inputs_are_no_concept_drift(curve: Calibration) -> None:
    """Where inputs move to the border, accuracy falls by 8 points and the concept's detector stays silent."""
    for seed in range(10):
        rows = decisions(np.random.default_rng(seed), 1000, spread=1.8)
        detector = ConceptDetector(curve, RUN_LENGTH)
        detector.observe(items(rows), [0.0] * 1000)
        assert detector.alarmed_at == inf


def test_the_error_rate_detector_sees_what_harms(curve: Calibration) -> None:
    """Harder inputs raise the audited error rate from 16 to 24 %: found on 9 of 10 streams, never before."""
    found = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        still, moved = decisions(rng, 400), decisions(rng, 800, spread=1.8)
        detector = AuditedErrorDetector(0.17, curve, RUN_LENGTH)
        detector.observe(items(still), histogram(decisions(rng, 5000).confidence), [1.0] * 400)
        assert not detector.alarm
        detector.observe(items(moved), histogram(decisions(rng, 5000, spread=1.8).confidence), [2.0] * 800)
        found += detector.alarmed_at == 2.0
    assert found >= 9


def test_a_preference_for_doubtful_frames_is_no_alarm(curve: Calibration) -> None:
    """Audits of mostly doubtful frames alarm, though nothing changed, unless their probabilities are told."""
    told, untold = 0, 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        rows = decisions(rng, 4000)
        chances = np.where(rows.confidence < 0.9, 0.6, 0.05)
        chosen = rng.random(4000) < chances
        frames, audited = histogram(rows.confidence), part(rows, chosen)
        knows = AuditedErrorDetector(0.18, curve, RUN_LENGTH, smallest_probability=0.05)
        knows.observe(items(audited, chances[chosen]), frames, [0.0] * audited.right.size)
        deceived = AuditedErrorDetector(0.18, curve, RUN_LENGTH)
        deceived.observe(items(audited), frames, [0.0] * audited.right.size)
        told, untold = told + knows.alarm, untold + deceived.alarm
    assert told == 0
    assert untold >= 4


def test_nonsense_is_refused(curve: Calibration) -> None:
    """Impossible probabilities, other schemas, more right than labelled and empty frames are refused."""
    frames = histogram(decisions(np.random.default_rng(0), 100).confidence)
    for probability in (0.0, 1.5, float("nan")):
        with pytest.raises(ValueError, match="audited"):
            accuracy_weighed(frames, [AuditedItem(0.9, right=True, probability=probability)], curve)
        with pytest.raises(ValueError, match="audited"):
            ConceptDetector(curve, 10.0).observe(
                [AuditedItem(0.9, right=True, probability=probability)], [0.0]
            )
    with pytest.raises(ValueError, match="below"):
        RectifiedSequence(smallest_probability=0.5).observe(
            [AuditedItem(0.9, right=True, probability=0.1)], frames, curve
        )
    with pytest.raises(ValueError, match="right"):
        accuracy(frames, Histogram("confidence"), frames, curve)
    with pytest.raises(ValueError, match="confidence"):
        accuracy(Histogram("unit"), frames, frames, curve)
    with pytest.raises(ValueError, match="frames"):
        AuditedErrorDetector(0.1, curve, 10.0).observe([], Histogram("confidence"), [])
    with pytest.raises(ValueError, match="errors"):
        ConceptDetector(curve, 10.0, audit_error=0.5)
