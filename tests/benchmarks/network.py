"""A convolutional network of 2 MB with random weights: the model of the benchmarks."""

from itertools import pairwise

import numpy as np
from onnx import TensorProto, helper, numpy_helper

SIDE_PX = 64
CLASSES = 10

_CHANNELS = (3, 64, 128, 256, 64)
"""Four 3x3 convolutions of stride 2: 518,000 weights."""


def network_bytes(seed: int = 1) -> bytes:
    """The network as ONNX, input ``x`` (1, 3, 64, 64), output ``y`` (1, 10)."""
    rng = np.random.default_rng(seed)
    nodes, constants, last = [], [], "x"
    for i, (before, after) in enumerate(pairwise(_CHANNELS)):
        weights = rng.normal(scale=(9 * before) ** -0.5, size=(after, before, 3, 3)).astype(np.float32)
        constants.append(numpy_helper.from_array(weights, f"w{i}"))
        nodes.append(helper.make_node("Conv", [last, f"w{i}"], [f"c{i}"], strides=[2, 2], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{i}"], [f"r{i}"]))
        last = f"r{i}"
    head = rng.normal(size=(_CHANNELS[-1], CLASSES)).astype(np.float32)
    constants.append(numpy_helper.from_array(head, "head"))
    nodes.append(helper.make_node("GlobalAveragePool", [last], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"]))
    nodes.append(helper.make_node("MatMul", ["flat", "head"], ["y"]))
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, SIDE_PX, SIDE_PX])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, CLASSES])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    data: bytes = model.SerializeToString()
    return data
