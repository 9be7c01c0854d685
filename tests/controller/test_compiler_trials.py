"""Trials on a runtime that is not what the source was run on: nothing is right because it is fp32."""

from collections.abc import Sequence
from types import TracebackType

import numpy as np
import pytest

from edgewright.controller.compiler.benches.ort_bench import OrtBench
from edgewright.controller.compiler.benches.seam import Speed
from edgewright.controller.compiler.calibration import Calibration
from edgewright.controller.compiler.subject import Feeds, Outputs, Port, Subject
from edgewright.controller.compiler.targets import find_target
from edgewright.controller.compiler.trials import try_candidates
from edgewright.controller.errors import GateFailedError, ToolchainFailedError
from tests.controller.small_model import LABELS, fitted_network, paint, spec


class ForeignBench:
    """onnxruntime with a fault: it turns logits around, or stops at whatever is no fp32."""

    def __init__(self, *, turns: bool = False, fp32: bytes = b"") -> None:
        self._own, self._turns, self._fp32 = OrtBench("CPUExecutionProvider", batches=True), turns, fp32

    @property
    def runtime(self) -> str:
        """See ``Bench``."""
        return "foreign 1.0 CPU"

    def outputs(self, artifact: bytes, feeds: Feeds) -> Outputs:
        """See ``Bench``."""
        if self._fp32 and artifact != self._fp32:
            raise ToolchainFailedError("The bench took too long.")
        sign = -1 if self._turns else 1
        return {name: sign * values for name, values in self._own.outputs(artifact, feeds).items()}

    def race(self, artifacts: Sequence[bytes], feeds: Feeds) -> tuple[Speed, ...]:
        """See ``Bench``."""
        return self._own.race(artifacts, feeds)

    def __enter__(self) -> "ForeignBench":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is open."""


@pytest.fixture(scope="module")
def subject() -> Subject:
    """The small network with its painted frames."""
    frames = paint(LABELS, 12, seed=5)
    images = frames.inputs(spec().preprocessing)[:, np.newaxis]
    return Subject(
        name="small",
        model=fitted_network(LABELS),
        format="onnx",
        inputs=(Port("image", "float32", (1, 3, 16, 16)),),
        outputs=(Port("logits", "float32", (1, len(LABELS))),),
        calibration={"image": images},
        holdout={"image": images},
        gates=spec().gates,
        decision="logits",
        labels=LABELS,
        truths=frames.classes(LABELS),
        batches=True,
    )


def _reference(subject: Subject) -> Outputs:
    return OrtBench("CPUExecutionProvider", batches=True).outputs(subject.model, subject.holdout)


def test_fp32_that_another_runtime_gets_wrong_is_refused(subject: Subject) -> None:
    """A runtime on which the very source says something else has no artifact, fp32 included."""
    bench, reference = ForeignBench(turns=True), _reference(subject)
    with pytest.raises(GateFailedError, match="fp32: agrees with fp32 on"):
        try_candidates(subject, find_target("x86_64-ort-cpu"), reference, Calibration(subject, {}), bench)


def test_a_candidate_whose_bench_fails_costs_no_other(subject: Subject) -> None:
    """Where the bench cannot judge the quantised forms, fp32 ships and each of them has its sentence."""
    bench = ForeignBench(fp32=subject.model)
    target = find_target("x86_64-ort-cpu")
    trial = try_candidates(subject, target, _reference(subject), Calibration(subject, {}), bench)
    assert trial.candidate.name == "fp32"
    assert any("took too long" in text for verdict in trial.verdicts for text in verdict.failures)
