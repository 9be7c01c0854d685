"""The Softmax at the end of a model for the line: the device has its own, so the model's is taken off.

A device divides logits by the temperature and applies a softmax. One more before it leaves decisions as they
are and flattens every confidence: of four classes even a certain decision gets e / (e + 3) = 0.48, and the
best temperature lies beyond the end of the grid. Where the graph's last operator is a Softmax over the
classes, it is taken off. Where probabilities come about in another way, a sentence says what to do.
"""

from collections import Counter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgewright.controller.compiler.sources.onnxgraph import default_opset, nodes_of

TAKEN_OFF: Final = "The final Softmax was taken off: confidence is computed on the device, from logits."

PROBABILITIES: Final = (
    "The model gives probabilities where the line takes logits: decisions stay right, but every confidence "
    "is too low and says little. Export the model without its Softmax."
)

_SUM_TOLERANCE: Final = 0.05
"""How far the sum of a row may be from 1: probabilities that were stored in a byte each round that much."""

_NEW_DEFAULT_OPSET: Final = 13
"""Since then Softmax works on the last axis where nothing is said, before on axis 1 and all after it."""

_PASSES_ON: Final = frozenset({"Identity", "Cast"})


def take_off_softmax(model: Any, output: str) -> bool:
    """Take the Softmax off that an output of ``[n, classes]`` comes from, in place; returns whether it was.

    It stays where something else reads the probabilities too.
    """
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    readers = Counter(name for node in nodes_of(model) for name in node.input)
    readers.update(value.name for value in graph.output)
    node = makers.get(output)
    while node is not None and readers[node.output[0]] == 1 and node.op_type in _PASSES_ON:
        node = makers.get(node.input[0])
    if node is None or readers[node.output[0]] != 1 or not _is_over_classes(model, node):
        return False
    logits = makers.get(node.input[0])
    if logits is not None and readers[node.input[0]] == 1:
        # The output's name moves to what made the logits, as if they had been exported.
        names = [node.output[0] if name == node.input[0] else name for name in logits.output]
        logits.ClearField("output")
        logits.output.extend(names)
        graph.node.remove(node)
    else:
        node.op_type = "Identity"
        node.ClearField("attribute")
    return True


def are_probabilities(rows: NDArray[Any]) -> bool:
    """Whether rows ``[n, classes]`` are probabilities of at least two classes.

    >>> are_probabilities(np.array([[0.25, 0.75], [1.0, 0.0]])), are_probabilities(np.array([[-1.0, 2.0]]))
    (True, False)
    """
    if not rows.size or rows.shape[1] < 2:
        return False
    sums = rows.sum(axis=1, dtype=np.float64)
    return bool((rows >= 0).all() and (np.abs(sums - 1) <= _SUM_TOLERANCE).all())


def _is_over_classes(model: Any, node: Any) -> bool:
    if node.op_type != "Softmax" or node.domain not in ("", "ai.onnx"):
        return False
    default = -1 if default_opset(model) >= _NEW_DEFAULT_OPSET else 1
    axis = next((item.i for item in node.attribute if item.name == "axis"), default)
    return axis in (-1, 1)
