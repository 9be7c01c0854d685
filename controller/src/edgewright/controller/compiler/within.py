"""Reading tensors inside a graph, a few at a time and call by call, so that memory stays bounded."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgewright.controller.compiler.graph import parse_graph
from edgewright.controller.compiler.graphedit import expose
from edgewright.controller.compiler.ort import Session
from edgewright.controller.compiler.subject import Feeds, rows_of, take_rows

GROUP: Final = 48
"""Tensors that are read in one pass over the calls."""


WEIGHTED: Final = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators with most of the weights and of the arithmetic."""

HEAVY: Final = (*WEIGHTED, "LSTM", "GRU")
"""The same, and those that are quantised in no static form."""


@dataclass(frozen=True)
class Layer:
    """One node of the main graph: its name, operator, and tensors."""

    name: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def layers_of(model: bytes) -> list[Layer]:
    """The nodes of the main graph, in the order of their calculation.

    Raises:
        NotAModelError: the bytes are no model.
    """
    return [
        Layer(node.name, node.op_type, tuple(filter(None, node.input)), tuple(filter(None, node.output)))
        for node in parse_graph(model).graph.node
    ]


def read_within(
    models: Sequence[bytes], names: Sequence[Mapping[str, str]], feeds: Feeds
) -> Iterator[dict[str, tuple[NDArray[Any], ...]]]:
    """Tensors inside several models on the same calls, side by side.

    Args:
        models: the models.
        names: for each model, the tensors' names there by the names that they are given back under; the
            models have the same keys.
        feeds: the calls.

    Yields:
        Some tensors of one call, by name, one array a model.

    Raises:
        UnknownOperatorError: the runtime cannot load a model with such outputs.
        InputShapeError: the runtime cannot run it.
    """
    keys = list(names[0])
    for start in range(0, len(keys), GROUP):
        group = keys[start : start + GROUP]
        sessions = [
            Session(expose(model, list(dict.fromkeys(own[key] for key in group))))
            for model, own in zip(models, names, strict=True)
        ]
        for row in range(rows_of(feeds)):
            found = [session.run_calls(take_rows(feeds, [row])) for session in sessions]
            yield {
                key: tuple(values[own[key]] for values, own in zip(found, names, strict=True))
                for key in group
            }


def spread_rows(feeds: Feeds, most: int) -> dict[str, NDArray[Any]]:
    """At most ``most`` calls, evenly spread."""
    rows = rows_of(feeds)
    chosen = np.linspace(0, max(rows - 1, 0), min(rows, most)).astype(int)
    return take_rows(feeds, chosen.tolist())
