"""Which layer broke: where the error between fp32 and a candidate rises inside the graph.

Tensors keep their names when a graph is quantised, so those of both graphs can be read side by side on the
same calls. A layer's error has three parts: what its inputs brought, what its own arithmetic and weights
added, and what rounding and clipping its result added. The last two are its own.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgewright.controller.compiler.candidate import Candidate
from edgewright.controller.compiler.gates import ACCURACY_GATES, Verdict, blame
from edgewright.controller.compiler.subject import Feeds, Subject
from edgewright.controller.compiler.within import HEAVY, Layer, layers_of, read_within, spread_rows
from edgewright.controller.errors import ModelError

CALLS: Final = 3
"""Calls that the errors are measured on."""

MOST_TENSORS: Final = 96
"""Of a longer graph layers without weights are left out first, then evenly: the cost stays bounded."""

_ROUNDED: Final = "_DequantizeLinear_Output"
"""What the quantiser appends to a tensor's name for the same tensor after rounding."""


@dataclass(frozen=True)
class LayerError:
    """One layer's part in the error.

    Attributes:
        layer: the node, as fp32 has it; where several could be measured only together, the one with weights.
        before: relative error of its worst input.
        computed: of its output before that is rounded.
        rounded: of its output after that; the same where it is not rounded.
        outputs: tensors that were measured.
    """

    layer: Layer
    before: float
    computed: float
    rounded: float
    outputs: tuple[str, ...]

    @property
    def rise(self) -> float:
        """What the layer itself added."""
        return max(self.computed, self.rounded) - self.before


def find_break(subject: Subject, candidate: Candidate) -> str:
    """The layer at which the error rises most, as the part of a sentence; empty where none can be named.

    Args:
        subject: what is compiled; its holdout is what is run.
        candidate: one that failed.
    """
    if candidate.format != "onnx" or subject.format != "onnx" or candidate.model == subject.model:
        return ""
    try:
        found = layer_errors(subject.model, candidate.model, spread_rows(subject.holdout, CALLS))
    except ModelError:
        # A verdict stands without this; a graph whose inner tensors cannot be read is not worth more.
        return ""
    if not found:
        return ""
    worst = max(found, key=lambda error: error.rise)
    return describe_break(worst) if worst.rise > 0 else ""


def explain(verdict: Verdict, subject: Subject, candidate: Candidate) -> Verdict:
    """A verdict, with the layer that broke where the candidate says something else than fp32.

    Args:
        verdict: on the candidate.
        subject: what is compiled.
        candidate: the one that was judged.
    """
    if not ACCURACY_GATES & set(verdict.failed_gates):
        return verdict
    broken_at = find_break(subject, candidate)
    return blame(verdict, broken_at) if broken_at else verdict


def describe_break(error: LayerError) -> str:
    """One layer's error in words."""
    layer = error.layer
    name = layer.name or layer.outputs[0]
    after = max(error.computed, error.rounded)
    why = ", by the range of its result" if error.rounded > 2 * error.computed else ""
    return f"{layer.operator} {name!r} raises the relative error from {error.before:.3f} to {after:.3f}{why}"


def layer_errors(fp32: bytes, candidate: bytes, feeds: Feeds) -> list[LayerError]:
    """Errors of the layers whose tensors both graphs have, in the order of calculation.

    Raises:
        UnknownOperatorError: the runtime cannot load a graph with its inner tensors as outputs.
        InputShapeError: the runtime cannot run it.
    """
    layers = layers_of(fp32)
    theirs = {name: layer.operator for layer in layers_of(candidate) for name in layer.outputs}
    # The quantiser drops an activation that rounding does by itself, and gives its output's name to what came
    # before: only after rounding that tensor is the same again.
    tensors = [(layer, name) for layer in layers for name in layer.outputs]
    same = _thinned([pair for pair in tensors if theirs.get(pair[1]) == pair[0].operator])
    after = _thinned([pair for pair in tensors if f"{pair[1]}{_ROUNDED}" in theirs])
    computed = _errors([fp32, candidate], [{name: name for name in same}] * 2, feeds)
    names = [{name: name for name in after}, {name: f"{name}{_ROUNDED}" for name in after}]
    return list(_walk(layers, computed, _errors([fp32, candidate], names, feeds)))


def _walk(
    layers: Iterable[Layer], computed: Mapping[str, float], rounded: Mapping[str, float]
) -> Iterator[LayerError]:
    """Layers with their errors; an error stands for those before it that could not be measured."""
    known: dict[str, float] = {}
    unmeasured: dict[str, Layer] = {}
    for layer in layers:
        before = max((known.get(name, 0.0) for name in layer.inputs), default=0.0)
        upstream = next((unmeasured[name] for name in layer.inputs if name in unmeasured), layer)
        # What nobody could measure was added by the layer with weights, not by what shapes its result.
        own = upstream if upstream.operator in HEAVY and layer.operator not in HEAVY else layer
        for name in layer.outputs:
            found = computed.get(name), rounded.get(name)
            known[name] = max((error for error in found if error is not None), default=before)
            if found == (None, None):
                unmeasured[name] = own
                continue
            at, end = (computed.get(name, known[name]), rounded.get(name, known[name]))
            yield LayerError(own, before, at, end, layer.outputs)


def _errors(models: Sequence[bytes], names: Sequence[Mapping[str, str]], feeds: Feeds) -> dict[str, float]:
    """Relative error of each float tensor over all calls."""
    differences: dict[str, float] = {}
    squares: dict[str, float] = {}
    for tensors in read_within(models, names, feeds):
        for name, (theirs, ours) in tensors.items():
            if _is_comparable(theirs, ours):
                difference, own = (ours - theirs).ravel(), theirs.ravel()
                differences[name] = differences.get(name, 0.0) + float(np.vdot(difference, difference))
                squares[name] = squares.get(name, 0.0) + float(np.vdot(own, own))
    return {
        name: float(np.sqrt(difference / squares[name]))
        for name, difference in differences.items()
        if squares[name] > 0 and np.isfinite(difference)
    }


def _is_comparable(theirs: NDArray[Any], ours: NDArray[Any]) -> bool:
    return theirs.shape == ours.shape and bool(np.issubdtype(theirs.dtype, np.floating))


def _thinned(tensors: Sequence[tuple[Layer, str]]) -> list[str]:
    """Names of at most ``MOST_TENSORS`` tensors, those of layers with weights first."""
    heavy = [name for layer, name in tensors if layer.operator in HEAVY]
    light = [name for layer, name in tensors if layer.operator not in HEAVY]
    room = MOST_TENSORS - min(len(heavy), MOST_TENSORS)
    return [*_evenly(heavy, MOST_TENSORS), *_evenly(light, room)]


def _evenly(names: Sequence[str], most: int) -> list[str]:
    return [names[i * len(names) // most] for i in range(most)] if len(names) > most else list(names)
