"""ONNX files as other people's exporters write them, for the tests of front ends."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Sizes = Sequence[int | str | None] | None


def value(name: str, sizes: Sizes, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    """An input or output; a text or None is an open size."""
    return helper.make_tensor_value_info(name, kind, None if sizes is None else list(sizes))


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    weights: Mapping[str, Any] | None = None,
    opset: int = 17,
) -> onnx.ModelProto:
    """A model that nobody checked."""
    stored = [numpy_helper.from_array(np.asarray(array), name) for name, array in (weights or {}).items()]
    graph = helper.make_graph(list(nodes), "net", list(inputs), list(outputs), stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def linear(
    sizes: Sizes = ("batch", 4), kind: int = TensorProto.FLOAT, out: Sizes = ("batch", 3)
) -> onnx.ModelProto:
    """One linear layer of 4 to 3."""
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    weight = np.random.default_rng(5).normal(size=(4, 3)).astype(dtype)
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    return model([node], [value("x", sizes, kind)], [value("y", out, kind)], {"w": weight})


def accumulator() -> onnx.ModelProto:
    """A model with a state: what it gives is the sum of all that it saw."""
    node = helper.make_node("Add", ["x", "state"], ["stateN"])
    end = helper.make_node("ReduceSum", ["stateN"], ["y"], keepdims=1)
    inputs = [value("x", (1, 2)), value("state", (1, 2))]
    return model([node, end], inputs, [value("y", (1, 1)), value("stateN", (1, 2))])


def branching() -> onnx.ModelProto:
    """An If whose branches read outer tensors, chosen by a boolean input."""
    branches = [
        helper.make_graph([helper.make_node(op, ["x", "x"], [name])], name, [], [value(name, (1, 4))])
        for op, name in (("Add", "a"), ("Mul", "m"))
    ]
    node = helper.make_node("If", ["flag"], ["y"], then_branch=branches[0], else_branch=branches[1])
    flag = value("flag", (), TensorProto.BOOL)
    return model([node], [value("x", (1, 4)), flag], [value("y", (1, 4))])
