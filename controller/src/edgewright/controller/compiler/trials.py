"""Trying a target's candidates against the gates until one may ship."""

import platform
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from edgewright.controller.compiler.candidates import Calibration, Candidate, int8_candidates
from edgewright.controller.compiler.frames import Frames
from edgewright.controller.compiler.gates import Measurement, Verdict, choose, judge
from edgewright.controller.compiler.measure import compare_logits, measure_reference, median_latencies
from edgewright.controller.compiler.ort import Array, Session
from edgewright.controller.compiler.protocol import BuildRequest
from edgewright.controller.compiler.targets import Target
from edgewright.controller.model_toml import ModelSpec


@dataclass(frozen=True)
class Source:
    """The checked model and what was measured of it, shared by all targets."""

    request: BuildRequest
    spec: ModelSpec
    holdout: Frames
    inputs: Array
    fp32: Candidate
    logits: Array
    calibration: Calibration | None


@dataclass(frozen=True)
class Trial:
    """A candidate with its logits on the holdout frames, and the verdicts on it and on the others."""

    candidate: Candidate
    logits: Array
    verdicts: tuple[Verdict, ...]


def _candidates(source: Source, target: Target) -> Iterator[Candidate]:
    """The target's candidates that model.toml allows, fp32 last."""
    allowed = [precision for precision in target.precisions if precision in source.spec.gates.precisions]
    if "int8" in allowed and source.calibration is not None:
        yield from int8_candidates(source.calibration, target)
    if "fp32" in allowed:
        yield source.fp32


def try_candidates(source: Source, target: Target) -> Trial:
    """Try candidates until one passes that no later one can beat in size.

    Raises:
        GateFailedError: none passed.
    """
    verdicts: list[Verdict] = []
    tried: dict[str, tuple[Candidate, Array]] = {}
    for candidate in _candidates(source, target):
        if candidate.precision == "int8" and any(verdict.passed for verdict in verdicts):
            continue
        logits, measured = _measure(source, target, candidate)
        tried[candidate.name] = (candidate, logits)
        verdicts.append(judge(measured, source.spec.gates))
    chosen, logits = tried[choose(verdicts, target.name).name]
    return Trial(chosen, logits, tuple(verdicts))


def _measure(source: Source, target: Target, candidate: Candidate) -> tuple[Array, Measurement]:
    if candidate is source.fp32:
        return source.logits, measure_reference(candidate.name, len(candidate.model), source.logits)
    output, labels = source.spec.output.name, source.spec.model.labels
    session = Session(candidate.model, target.runtime.provider)
    logits = session.run(source.inputs, output)
    agreement, error, classes = compare_logits(source.logits, logits, source.holdout.classes(labels), labels)
    latency: float | None = None
    fp32_latency: float | None = None
    if platform.machine() == target.machine:
        sessions = [session, Session(source.fp32.model, target.runtime.provider)]
        latency, fp32_latency = median_latencies(sessions, source.inputs[:1], output)
    return logits, Measurement(
        name=candidate.name,
        length=len(candidate.model),
        finite=bool(np.isfinite(logits).all()),
        top1_agreement=agreement,
        logit_error=error,
        classes=classes,
        latency_us=latency,
        fp32_latency_us=fp32_latency,
    )
