"""ONNX models that a provider other than the CPU takes in part or not at all."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tests.agent.tiny_models import LABELS, onnx_bytes

CPU_DOMAIN: Final = "com.microsoft"
"""Operators that onnxruntime adds to the standard's; ``CDist`` has a kernel of its CPU provider only."""


def partly_taken_onnx(tail: Sequence[str] = ("CDist",), salt: int = 0) -> bytes:
    """The tiny model with operators behind it, ``CDist`` or a standard one of one input, each on the result
    before it.
    """
    model = onnx.load_from_string(onnx_bytes(salt=salt))
    graph, size = model.graph, len(LABELS)
    graph.node[-1].output[0] = "y0"
    graph.initializer.append(numpy_helper.from_array(np.eye(size, dtype=np.float32), "references"))
    for step, name in enumerate(tail):
        result = "y" if step == len(tail) - 1 else f"y{step + 1}"
        own = name == "CDist"
        graph.node.append(
            helper.make_node(
                name,
                [f"y{step}", "references"] if own else [f"y{step}"],
                [result],
                domain=CPU_DOMAIN if own else "",
                **({"metric": "euclidean"} if own else {}),
            )
        )
    model.opset_import.append(helper.make_opsetid(CPU_DOMAIN, 1))
    data: bytes = model.SerializeToString()
    return data
