"""What the gates need to know of a candidate, measured by running it beside fp32."""

import platform
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgewright.controller.compiler.benches.seam import Bench, Speed
from edgewright.controller.compiler.candidate import Candidate
from edgewright.controller.compiler.gates import Comparison, Measurement, PairedClass, Race
from edgewright.controller.compiler.subject import Feeds, Outputs, Subject
from edgewright.controller.compiler.targets import Target

NEAR_THE_LIMIT: Final = 0.15
"""Where the latency ratio is closer to its limit than this share, one race decides nothing."""

MOST_RACES: Final = 3

_TINY: Final = 1e-12
"""Mean square below which a tensor counts as zero."""

_SUM_TOLERANCE: Final = 1e-3
"""How far the sum of a row may be from 1 for the row to count as probabilities."""


def measure(
    subject: Subject, target: Target, reference: Outputs, candidate: Candidate, bench: Bench
) -> tuple[Outputs, Measurement]:
    """Run a candidate on the holdout beside fp32, and race it where this machine is of the target's kind.

    Args:
        subject: what is compiled.
        target: for what.
        reference: outputs of the model as it came, for the holdout.
        candidate: what is measured; the one with the source's own bytes is the reference itself.
        bench: the target's runtime.

    Returns:
        The candidate's outputs for the holdout, and what the gates judge.

    Raises:
        UnknownOperatorError: the runtime cannot load the candidate.
        InputShapeError: the runtime cannot run it.
    """
    is_reference = candidate.model == subject.model
    outputs = bench.outputs(candidate.model, subject.holdout)
    race = None
    if platform.machine() == target.machine:
        race = _race(bench, subject, candidate)
    return outputs, Measurement(
        name=candidate.name,
        precision=candidate.precision,
        length=len(candidate.model),
        fp32_length=len(subject.model),
        comparison=compare_outputs(reference, outputs, subject),
        race=race,
        latency_limit_us=_tightest(subject.latency_us, target.latency_us),
        memory_limit_mb=_tightest(subject.memory_mb, target.memory_mb),
        is_reference=is_reference,
    )


def compare_outputs(reference: Outputs, candidate: Outputs, subject: Subject) -> Comparison:
    """A candidate's outputs beside the reference's.

    The decision output is compared by decision and by logits. Another one is compared by decision where its
    last axis holds probabilities in the reference, by relative error where it has fractions, and by the share
    of elements that differ where it has none.

    Args:
        reference: fp32's outputs for the subject's holdout.
        candidate: the candidate's for the same.
        subject: which outputs count, labels and truths.
    """
    agreements: list[float] = []
    errors: dict[str, float] = {}
    finite = True
    for port in subject.outputs:
        theirs, ours = reference[port.name], candidate[port.name]
        if ours.shape != theirs.shape:
            errors[port.name] = float("inf")
            continue
        finite = finite and _is_finite(ours)
        decides = port.name == subject.decision
        if decides or _is_distribution(theirs):
            agreements.append(_agreement(theirs, ours))
        elif not _is_fractional(theirs):
            agreements.append(float(np.mean(ours == theirs)))
        if _is_fractional(theirs):
            errors[port.name] = relative_error(theirs, ours, centred=decides)
    return Comparison(finite, min(agreements, default=None), errors, _paired(reference, candidate, subject))


def relative_error(reference: NDArray[Any], candidate: NDArray[Any], *, centred: bool = False) -> float:
    """Root mean square of the difference over that of the reference.

    Args:
        reference: what is compared with.
        candidate: what is compared, of the same shape.
        centred: whether the mean over the last axis is taken off first.
    """
    theirs, ours = reference.astype(np.float64), candidate.astype(np.float64)
    if centred:
        theirs = theirs - theirs.mean(axis=-1, keepdims=True)
        ours = ours - ours.mean(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", over="ignore"):
        difference = float(np.mean((ours - theirs) ** 2)) if theirs.size else 0.0
        return float(np.sqrt(difference / max(float(np.mean(theirs**2)) if theirs.size else 0.0, _TINY)))


def decisions(outputs: Outputs, subject: Subject) -> NDArray[np.intp]:
    """Number of the label that each call is decided for."""
    logits = outputs[subject.decision]
    decided: NDArray[np.intp] = logits.reshape(len(logits), -1, len(subject.labels))[:, 0].argmax(axis=-1)
    return decided


def race_candidate(bench: Bench, fp32: bytes, candidate: bytes, feeds: Feeds, limit: float) -> Race:
    """Race a candidate against fp32; again where the ratio is near the limit.

    Args:
        bench: the target's runtime.
        fp32: the one artifact.
        candidate: the other one.
        feeds: their first call is raced with.
        limit: largest ratio that the gate allows.

    Raises:
        UnknownOperatorError: the runtime cannot load one.
        InputShapeError: the runtime cannot run one.
    """
    races: list[tuple[Speed, ...]] = [bench.race((fp32, candidate), feeds)]
    while len(races) < MOST_RACES and abs(_ratio(races[0]) - limit) <= NEAR_THE_LIMIT * limit:
        races.append(bench.race((fp32, candidate), feeds))
    return combine_races(races)


def combine_races(races: Sequence[tuple[Speed, ...]]) -> Race:
    """One race out of several of fp32 and a candidate, in that order."""
    ratios = [_ratio(race) for race in races]
    low, middle, high = (float(value) for value in np.percentile(ratios, [25, 50, 75]))
    return Race(
        latency_us=float(np.median([race[1].latency_us for race in races])),
        fp32_latency_us=float(np.median([race[0].latency_us for race in races])),
        ratio=middle,
        spread=(high - low) / 2,
        memory_mb=float(np.median([race[1].memory_mb for race in races])),
    )


def _race(bench: Bench, subject: Subject, candidate: Candidate) -> Race:
    if candidate.model != subject.model:
        limit = subject.gates.latency_ratio
        return race_candidate(bench, subject.model, candidate.model, subject.holdout, limit)
    (speed,) = bench.race((subject.model,), subject.holdout)
    return Race(speed.latency_us, speed.latency_us, 1.0, 0.0, speed.memory_mb)


def _tightest(*limits: float) -> float:
    """The smallest limit; 0 is none."""
    return min((limit for limit in limits if limit), default=0.0)


def _ratio(race: tuple[Speed, ...]) -> float:
    fp32, candidate = race
    return candidate.latency_us / max(fp32.latency_us, 1e-9)


def _paired(reference: Outputs, candidate: Outputs, subject: Subject) -> dict[str, PairedClass]:
    """Correctness by class; classes without a frame are left out."""
    if not subject.decision or not subject.labels or not len(subject.truths):
        return {}
    theirs, ours = decisions(reference, subject), decisions(candidate, subject)
    found = {}
    for number, label in enumerate(subject.labels):
        rows = subject.truths == number
        if not rows.any():
            continue
        right, fp32_right = ours[rows] == number, theirs[rows] == number
        found[label] = PairedClass(
            int(rows.sum()), int((fp32_right & ~right).sum()), int((right & ~fp32_right).sum())
        )
    return found


def _agreement(reference: NDArray[Any], candidate: NDArray[Any]) -> float:
    return float(np.mean(reference.argmax(axis=-1) == candidate.argmax(axis=-1)))


def _is_fractional(values: NDArray[Any]) -> bool:
    return bool(np.issubdtype(values.dtype, np.floating))


def _is_finite(values: NDArray[Any]) -> bool:
    return not _is_fractional(values) or bool(np.isfinite(values).all())


def _is_distribution(values: NDArray[Any]) -> bool:
    """Whether the last axis holds the probabilities of at least two classes."""
    if not _is_fractional(values) or values.ndim < 2 or values.shape[-1] < 2 or not values.size:
        return False
    sums = values.sum(axis=-1, dtype=np.float64)
    return bool((values >= 0).all() and np.all(np.abs(sums - 1) <= _SUM_TOLERANCE))
