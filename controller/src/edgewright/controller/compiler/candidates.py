"""What could ship for a target that takes ONNX, the preferred first; each is made when it is asked for.

- *int8*, activations and weights: with the parent's ranges where there are any, then with all ranges observed
  anew. Where that is too slow, with the layers that have weights alone, because each operator in between that
  has no int8 kernel costs two conversions. Where it is too wrong, with ranges that clip outliers.
- *int8, dynamic*: for graphs whose weights lie in recurrent layers or matrix products.
- *mixed*: int8 with the layers in float that a search found (see ``mixed``); where the holdout shows that
  they were too few, with twice as many.
- *mixed, int8 weights*: stored as int8, calculated in float (see ``graphedit``). It has a quarter of the size
  at fp32's speed, whatever the graph is.
- *fp16*: arithmetic in float16, for runtimes that have it; then float16 weights, calculated in float.
- *fp32*, the model as it came, always last.

A form follows only where the ones before it failed, and only where it can help: clipping does not make a
graph faster. A form that cannot be made is left out with a sentence in the report. A model that came
quantised ships as it is.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import inf
from typing import Final

from edgewright.controller.compiler.calibration import Calibration
from edgewright.controller.compiler.candidate import AS_IT_CAME, Candidate, Range
from edgewright.controller.compiler.gates import ACCURACY_GATES, Verdict, came_quantised, left_out
from edgewright.controller.compiler.graph import canonical_graph
from edgewright.controller.compiler.graphedit import (
    float16_weights,
    int8_weights,
    is_quantised,
    weight_share,
)
from edgewright.controller.compiler.mixed import Mixed, Mixture
from edgewright.controller.compiler.ort import VERSION, halve
from edgewright.controller.compiler.subject import Subject, rows_of
from edgewright.controller.compiler.targets import Target
from edgewright.controller.compiler.within import WEIGHTED
from edgewright.controller.errors import GateFailedError, ModelError
from edgewright.controller.model_toml import Precision

DYNAMIC: Final = ("Attention", "Gemm", "LSTM", "MatMul")
"""Operators that gain from being quantised call by call; convolutions become four times slower."""

LEAST_SHARE: Final = 0.5
"""Share of the weights that have to lie in such operators."""

FLOAT32_PROVIDERS: Final = frozenset({"CPUExecutionProvider"})
"""Execution providers that convert float16 back to float32 around most operators (measured: 1.28 of fp32)."""

ANEW: Final = "int8, calibrated anew"
NARROW: Final = "int8, weighted layers alone"
CLIPPED: Final = "int8, clipped ranges"
WIDER: Final = "mixed, more in float"

_TOOLS: Final = {"onnxruntime": VERSION}

Verdicts = Callable[[], Sequence[Verdict]]
LeaveOut = Callable[[Verdict], None]


def onnx_candidates(
    subject: Subject,
    target: Target,
    calibration: Calibration,
    verdicts: Verdicts,
    leave_out: LeaveOut = lambda _verdict: None,
    *,
    every: bool = False,
) -> Iterator[Candidate]:
    """Forms of the model for a target, until one passed.

    Args:
        subject: what is compiled; an ONNX model.
        target: for what.
        calibration: of the subject; targets share it.
        verdicts: those on the candidates so far, asked after each.
        leave_out: told of a form that could not be made.
        every: whether to go on with the other precisions, but for a search, after one has passed.
    """
    forms = _Forms(subject, target, calibration, verdicts, leave_out)
    for candidate in forms.all():
        yield candidate
        if forms.passed() and not every:
            return


class _Forms:
    """One target's candidates."""

    def __init__(
        self,
        subject: Subject,
        target: Target,
        calibration: Calibration,
        verdicts: Verdicts,
        leave_out: LeaveOut,
    ) -> None:
        self._subject, self._target = subject, target
        self._calibration = calibration
        self._verdicts, self._leave_out = verdicts, leave_out
        self._allowed = [
            precision for precision in target.precisions if precision in subject.gates.precisions
        ]

    def passed(self) -> bool:
        """Whether one of the candidates so far passed."""
        return any(verdict.passed for verdict in self._verdicts())

    def all(self) -> Iterator[Candidate]:
        """All forms, by the target's order of precisions; those after one that passed are never made."""
        if is_quantised(self._subject.model):
            yield from self._as_it_came()
            return
        forms = {"int8": self._int8, "mixed": self._mixed, "fp16": self._fp16, "fp32": self._fp32}
        for precision in self._allowed:
            if precision == "mixed" and self.passed():
                continue
            for candidate in forms[precision]():
                yield candidate
                if any(verdict.passed and verdict.precision == precision for verdict in self._verdicts()):
                    break

    def _as_it_came(self) -> Iterator[Candidate]:
        if "int8" in self._allowed:
            yield Candidate(AS_IT_CAME, "int8", self._subject.model)
        else:
            self._leave_out(came_quantised(self._target.name, self._allowed))

    def _int8(self) -> Iterator[Candidate]:
        if rows_of(self._subject.calibration):
            yield from self._static()
        else:
            self._leave_out(left_out("int8", "int8", "there are no calibration data"))
        if weight_share(self._subject.model, DYNAMIC) >= LEAST_SHARE:
            yield from self._made("int8, dynamic", "int8", self._dynamic)

    def _static(self) -> Iterator[Candidate]:
        try:
            observed, reused = self._calibration.observed, self._calibration.reused
        except ModelError as error:
            self._leave_out(left_out("int8", "int8", error.sentence.rstrip(".")))
            return
        yield from self._made("int8", "int8", lambda: self._quantised("int8", reused))
        if reused != observed:
            yield from self._made(ANEW, "int8", lambda: self._quantised(ANEW, observed))
        yield from self._made(NARROW, "int8", lambda: self._quantised(NARROW, observed, WEIGHTED))
        if self._is_wrong("int8"):
            yield from self._made(
                CLIPPED,
                "int8",
                lambda: self._quantised(CLIPPED, self._calibration.clipped, self._closer_operators()),
            )

    def _mixed(self) -> Iterator[Candidate]:
        if rows_of(self._subject.calibration) and self._is_wrong("int8"):
            yield from self._searched()
        yield from self._made(
            "mixed, int8 weights", "mixed", lambda: self._stored("mixed, int8 weights", "mixed", int8_weights)
        )

    def _fp16(self) -> Iterator[Candidate]:
        if self._target.runtime.provider not in FLOAT32_PROVIDERS:
            yield from self._made("fp16", "fp16", lambda: self._stored("fp16", "fp16", halve))
        name = "fp16, float16 weights"
        yield from self._made(name, "fp16", lambda: self._stored(name, "fp16", float16_weights))

    def _fp32(self) -> Iterator[Candidate]:
        yield Candidate("fp32", "fp32", self._subject.model)

    def _made(self, name: str, precision: Precision, make: Callable[[], Candidate]) -> Iterator[Candidate]:
        """One form, or a sentence why there is none."""
        try:
            candidate = make()
        except ModelError as error:
            self._leave_out(left_out(name, precision, error.sentence.rstrip(".")))
            return
        yield candidate

    def _quantised(self, name: str, ranges: Mapping[str, Range], operators: Sequence[str] = ()) -> Candidate:
        model = _whole(self._calibration.quantise(ranges, self._target.activation, operators))
        return Candidate(name, "int8", model, ranges=self._calibration.table(ranges), tools=_TOOLS)

    def _dynamic(self) -> Candidate:
        model = _whole(self._calibration.quantiser.quantise_dynamically(DYNAMIC))
        return Candidate("int8, dynamic", "int8", model, tools=_TOOLS)

    def _searched(self) -> Iterator[Candidate]:
        try:
            search = Mixed(
                self._subject, self._calibration, self._target.activation, self._closer_operators()
            )
            mixture = search.find()
        except ModelError as error:
            self._leave_out(left_out("mixed", "mixed", error.sentence.rstrip(".")))
            return
        yield self._mixture("mixed", mixture)
        if self._is_wrong("mixed"):
            yield from self._made(WIDER, "mixed", lambda: self._mixture(WIDER, search.widen(mixture)))

    def _mixture(self, name: str, mixture: Mixture) -> Candidate:
        ranges = self._calibration.table(self._calibration.observed)
        left_alone = mixture.left_alone
        return Candidate(name, "mixed", mixture.model, ranges=ranges, tools=_TOOLS, left_alone=left_alone)

    def _stored(self, name: str, precision: Precision, edit: Callable[[bytes], bytes]) -> Candidate:
        model = canonical_graph(edit(self._subject.model))
        if len(model) >= len(self._subject.model):
            raise GateFailedError("there are no weights worth storing in fewer bits")
        return Candidate(name, precision, model)

    def _is_wrong(self, precision: Precision) -> bool:
        """Whether all forms of a precision that were judged so far say something else than fp32."""
        judged = [
            verdict for verdict in self._verdicts() if verdict.precision == precision and verdict.numbers
        ]
        return bool(judged) and all(ACCURACY_GATES & set(verdict.failed_gates) for verdict in judged)

    def _closer_operators(self) -> Sequence[str]:
        """Operators of whichever int8 form was closer to fp32: the layers with weights, or all."""
        return WEIGHTED if self._error_of(NARROW) < self._error_of("int8") else ()

    def _error_of(self, name: str) -> float:
        verdicts = [verdict for verdict in self._verdicts() if verdict.name == name]
        return verdicts[-1].numbers.get("logit_error", inf) if verdicts else inf


def _whole(model: bytes) -> bytes:
    """A quantised model in canonical form, with the weights that the quantiser left stored as int8 too.

    Raises:
        GateFailedError: it left all of them.
    """
    if not is_quantised(model):
        raise GateFailedError("the quantiser found nothing to quantise")
    return canonical_graph(int8_weights(model))
