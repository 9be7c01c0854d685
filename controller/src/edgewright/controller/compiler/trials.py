"""Trying a target's candidates against the gates, on the target's exact runtime, until one may ship.

The candidates come lazily, the preferred first. Once one of a quantised precision has passed, no further one
of it is asked for; what is left is fp32 in the form of the target's runtime, which is the reference.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from edgewright.controller.compiler.attribution import explain
from edgewright.controller.compiler.benches.seam import Bench
from edgewright.controller.compiler.calibration import Calibration
from edgewright.controller.compiler.candidate import Candidate
from edgewright.controller.compiler.candidates import onnx_candidates
from edgewright.controller.compiler.gates import Verdict, broken, choose, judge
from edgewright.controller.compiler.measure import measure
from edgewright.controller.compiler.subject import Outputs, Subject
from edgewright.controller.compiler.targets import Target
from edgewright.controller.errors import InputShapeError, ToolchainFailedError, UnknownOperatorError


@dataclass(frozen=True)
class Trial:
    """A candidate with its outputs on the holdout, and the verdicts on it and on the others.

    Attributes:
        others: candidates that passed as well, with their outputs.
        notes: sentences about forms that were left out, and about a search.
    """

    candidate: Candidate
    outputs: Outputs
    verdicts: tuple[Verdict, ...]
    notes: tuple[str, ...] = ()
    others: tuple[tuple[Candidate, Outputs], ...] = ()

    def instead(self, candidate: Candidate, outputs: Outputs) -> "Trial":
        """The same trial, had another candidate been chosen."""
        return replace(self, candidate=candidate, outputs=outputs, others=())


def try_candidates(
    subject: Subject,
    target: Target,
    reference: Outputs,
    calibration: Calibration,
    bench: Bench,
    *,
    every: bool = False,
) -> Trial:
    """Try candidates until one passes that no later one is preferred to.

    Args:
        subject: what is compiled.
        target: for what.
        reference: outputs of the source on the holdout, from onnxruntime.
        calibration: of the subject.
        bench: the target's runtime.
        every: whether to try what is not preferred as well, so that devices have a choice.

    Raises:
        GateFailedError: none passed.
        ToolchainMissingError: an environment that makes candidates for the target is not installed.
    """
    verdicts: list[Verdict] = []
    tried: dict[str, tuple[Candidate, Outputs]] = {}
    raced = subject
    allowed = [precision for precision in target.precisions if precision in subject.gates.precisions]
    for candidate in _candidates(subject, target, calibration, verdicts, every):
        if candidate.precision == "fp32" and candidate.format != subject.format:
            raced = replace(subject, model=candidate.model, format=candidate.format)
            if "fp32" not in allowed:
                continue
        try:
            outputs, measured = measure(raced, target, reference, candidate, bench)
        except (InputShapeError, ToolchainFailedError, UnknownOperatorError) as error:
            verdicts.append(broken(candidate.name, candidate.precision, error.sentence.rstrip(".")))
            continue
        tried[candidate.name] = (candidate, outputs)
        verdicts.append(explain(judge(measured, subject.gates), subject, candidate))
    chosen, outputs = tried[choose(verdicts, target.name).name]
    passed = [verdict.name for verdict in verdicts if verdict.passed and verdict.name != chosen.name]
    return Trial(chosen, outputs, tuple(verdicts), others=tuple(tried[name] for name in passed))


def _candidates(
    subject: Subject, target: Target, calibration: Calibration, verdicts: list[Verdict], every: bool
) -> Iterator[Candidate]:
    if target.format == "onnx":
        yield from onnx_candidates(
            subject, target, calibration, lambda: verdicts, verdicts.append, every=every
        )
        return
    from edgewright.controller.compiler.tflite_forms import tflite_candidates

    allowed = [precision for precision in target.precisions if precision in subject.gates.precisions]
    # fp32 in the form of the runtime comes first: the others race against it.
    for candidate in tflite_candidates(subject, target, verdicts.append):
        if candidate.precision in allowed or candidate.precision == "fp32":
            yield candidate
        if any(verdict.passed and verdict.precision != "fp32" for verdict in verdicts):
            return
