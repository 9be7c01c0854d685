"""Which layer broke: where the error between fp32 and a candidate rises inside the graph.

Tensors keep their names when a graph is quantised, so those of both graphs can be read side by side on the
same calls. A layer's error has three parts: what its inputs brought, what its own arithmetic and weights
added, and what rounding and clipping its result added. The last two are its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgewright.controller.compiler.candidate import Candidate
from edgewright.controller.compiler.subject import Feeds, Subject
from edgewright.controller.compiler.within import Layer, layers_of, read_within, spread_rows
from edgewright.controller.errors import ModelError

CALLS: Final = 8
"""Calls that the errors are measured on."""

MOST_LAYERS: Final = 480
"""Of a longer graph layers are left out evenly, so that the cost stays bounded."""

_ROUNDED: Final = "_DequantizeLinear_Output"
"""What the quantiser appends to a tensor's name for the same tensor after rounding."""


@dataclass(frozen=True)
class LayerError:
    """One layer's part in the error.

    Attributes:
        layer: the node, as fp32 has it.
        before: relative error of its worst input.
        computed: of its output before that is rounded.
        rounded: of its output after that; the same where it is not rounded.
    """

    layer: Layer
    before: float
    computed: float
    rounded: float

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
    theirs = {name for layer in layers_of(candidate) for name in layer.outputs}
    shared = _thinned([name for layer in layers for name in layer.outputs if name in theirs])
    pairs = {name: name for name in shared}
    after = {name: f"{name}{_ROUNDED}" for name in shared if f"{name}{_ROUNDED}" in theirs}
    computed = _errors([fp32, candidate], [pairs, pairs], feeds)
    rounded = _errors([fp32, candidate], [{name: name for name in after}, after], feeds)
    return list(_walk(layers, computed, rounded))


def _walk(
    layers: Iterable[Layer], computed: Mapping[str, float], rounded: Mapping[str, float]
) -> Iterable[LayerError]:
    """Layers with their errors; a tensor that is not known has its layer's input's error."""
    known: dict[str, float] = {}
    for layer in layers:
        before = max((known.get(name, 0.0) for name in layer.inputs), default=0.0)
        for name in layer.outputs:
            known[name] = max(rounded.get(name, 0.0), computed.get(name, before))
        name = next((name for name in layer.outputs if name in computed), "")
        if name:
            yield LayerError(layer, before, computed[name], rounded.get(name, computed[name]))


def _errors(models: Sequence[bytes], names: Sequence[Mapping[str, str]], feeds: Feeds) -> dict[str, float]:
    """Relative error of each float tensor over all calls."""
    differences: dict[str, float] = {}
    squares: dict[str, float] = {}
    for tensors in read_within(models, names, feeds):
        for name, (theirs, ours) in tensors.items():
            if _is_comparable(theirs, ours):
                difference = ours.astype(np.float64) - theirs
                differences[name] = differences.get(name, 0.0) + float(np.sum(difference**2))
                squares[name] = squares.get(name, 0.0) + float(np.sum(theirs.astype(np.float64) ** 2))
    return {
        name: float(np.sqrt(difference / squares[name]))
        for name, difference in differences.items()
        if squares[name] > 0 and np.isfinite(difference)
    }


def _is_comparable(theirs: NDArray[Any], ours: NDArray[Any]) -> bool:
    return theirs.shape == ours.shape and bool(np.issubdtype(theirs.dtype, np.floating))


def _thinned(names: list[str]) -> list[str]:
    if len(names) <= MOST_LAYERS:
        return names
    return [names[int(i)] for i in np.linspace(0, len(names) - 1, MOST_LAYERS)]
