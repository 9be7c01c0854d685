"""Edits of ONNX graphs that make candidates: newer opsets, weights in fewer bits, inner tensors as outputs.

*Weights in fewer bits* change what is stored, not what is calculated: a weight becomes int8 with a scale for
each channel (or float16), and a ``Cast`` and a ``Mul`` bring it back. onnxruntime folds both when it loads
the model, because they depend on constants alone, so the graph that runs is the float one, at its speed.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray

from edgewright.controller.compiler.graph import parse_graph

SMALLEST_WEIGHT: Final = 1024
"""Elements below which a weight stays as it is: there is nothing to save."""

_LARGEST_INT8: Final = 127

_TINY: Final = 1e-30

_LARGEST_FLOAT16: Final = 65504.0

_Maker = Callable[[NDArray[np.float32], str, str], tuple[list[Any], list[Any]]]
"""From a weight, its name and the beginning of others: what is stored, and the nodes that bring it back."""

QUANTISED: Final = frozenset(
    {
        "ConvInteger",
        "DequantizeLinear",
        "DynamicQuantizeLSTM",
        "DynamicQuantizeLinear",
        "DynamicQuantizeMatMul",
        "MatMulInteger",
        "MatMulIntegerToFloat",
        "MatMulNBits",
        "QGemm",
        "QLinearConv",
        "QLinearMatMul",
        "QuantizeLinear",
    }
)
"""Operators that only a quantised model has."""


def operators_of(model: bytes) -> frozenset[str]:
    """Names of all operators, those of subgraphs too.

    Raises:
        NotAModelError: the bytes are no model.
    """
    return frozenset(node.op_type for graph in _graphs(parse_graph(model).graph) for node in graph.node)


def weight_share(model: bytes, operators: Collection[str]) -> float:
    """Share of the elements of all weights that some operators read directly, between 0 and 1.

    Raises:
        NotAModelError: the bytes are no model.
    """
    sizes: dict[str, int] = {}
    readers: set[str] = set()
    for graph in _graphs(parse_graph(model).graph):
        _inline_constants(graph)
        sizes |= {weight.name: int(np.prod(weight.dims)) for weight in graph.initializer}
        readers |= {name for node in graph.node if node.op_type in operators for name in node.input}
    read = sum(size for name, size in sizes.items() if name in readers)
    return read / max(sum(sizes.values()), 1)


def is_quantised(model: bytes) -> bool:
    """Whether the model came quantised.

    Raises:
        NotAModelError: the bytes are no model.
    """
    return bool(operators_of(model) & QUANTISED)


def with_opset(model: bytes, least: int) -> bytes:
    """The model in an opset of at least ``least``; as it is where it cannot be converted.

    Raises:
        NotAModelError: the bytes are no model.
    """
    parsed = parse_graph(model)
    versions = [item.version for item in parsed.opset_import if item.domain in ("", "ai.onnx")]
    if not versions or max(versions) >= least:
        return model
    try:
        converted = onnx.version_converter.convert_version(parsed, least)
    except Exception:  # noqa: BLE001 - whatever an adapter raises; the quantiser then says what it lacks
        return model
    serialised: bytes = converted.SerializeToString(deterministic=True)
    return serialised


def expose(model: bytes, names: Sequence[str]) -> bytes:
    """The model with inner tensors as its only outputs.

    Raises:
        NotAModelError: the bytes are no model.
    """
    parsed = parse_graph(model)
    del parsed.graph.output[:]
    # Without a type: the runtime infers it, and inner tensors are of all types.
    parsed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    serialised: bytes = parsed.SerializeToString(deterministic=True)
    return serialised


def int8_weights(model: bytes, left_alone: Collection[str] = ()) -> bytes:
    """The model with its float weights stored as int8, symmetric and per channel.

    Args:
        model: the model.
        left_alone: names of nodes whose weights stay as they are.

    Raises:
        NotAModelError: the bytes are no model.
    """
    return _store_weights(model, _int8_nodes, left_alone)


def float16_weights(model: bytes) -> bytes:
    """The model with its float weights stored as float16.

    Raises:
        NotAModelError: the bytes are no model.
    """
    return _store_weights(model, _float16_nodes)


def _graphs(graph: Any) -> Iterator[Any]:
    """A graph and all graphs within its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            inner = [attribute.g] if attribute.HasField("g") else attribute.graphs
            for part in inner:
                yield from _graphs(part)


def _store_weights(model: bytes, make: _Maker, left_alone: Collection[str] = ()) -> bytes:
    parsed = parse_graph(model)
    spared = {name for node in parsed.graph.node if node.name in left_alone for name in node.input}
    # Inner graphs first: an outer one is put together anew from copies of its nodes.
    for number, graph in reversed(list(enumerate(_graphs(parsed.graph)))):
        _inline_constants(graph)
        kept, nodes = [], []
        for weight in graph.initializer:
            if weight.name in spared or not _is_worth_storing(weight):
                kept.append(weight)
                continue
            # Subgraphs may not reuse a name of the outer graph, so the number of the graph is part of it.
            stored, steps = make(onnx.numpy_helper.to_array(weight), weight.name, f"{weight.name}.{number}")
            kept += stored
            nodes += steps
        shadowed = {step.output[0] for step in nodes}
        inputs = [port for port in graph.input if port.name not in shadowed]
        for field, content in (("initializer", kept), ("node", nodes + list(graph.node)), ("input", inputs)):
            graph.ClearField(field)
            getattr(graph, field).extend(content)
    serialised: bytes = parsed.SerializeToString(deterministic=True)
    return serialised


def _is_worth_storing(weight: Any) -> bool:
    is_float = weight.data_type == onnx.TensorProto.FLOAT
    return bool(is_float and len(weight.dims) > 1 and np.prod(weight.dims) >= SMALLEST_WEIGHT)


def _inline_constants(graph: Any) -> None:
    """Turn ``Constant`` nodes with large float tensors into initialisers."""
    left = []
    for node in graph.node:
        tensor = next((item.t for item in node.attribute if item.name == "value"), None)
        if node.op_type != "Constant" or tensor is None or not _is_worth_storing(tensor):
            left.append(node)
            continue
        weight = graph.initializer.add()
        weight.CopyFrom(tensor)
        weight.name = node.output[0]
    graph.ClearField("node")
    graph.node.extend(left)


def _int8_nodes(weight: NDArray[np.float32], name: str, stem: str) -> tuple[list[Any], list[Any]]:
    values, scales = _to_int8(weight)
    stored = [
        onnx.numpy_helper.from_array(values, f"{stem}.int8"),
        onnx.numpy_helper.from_array(scales, f"{stem}.scale"),
    ]
    steps = [
        onnx.helper.make_node("Cast", [f"{stem}.int8"], [f"{stem}.cast"], to=onnx.TensorProto.FLOAT),
        onnx.helper.make_node("Mul", [f"{stem}.cast", f"{stem}.scale"], [name]),
    ]
    return stored, steps


def _float16_nodes(weight: NDArray[np.float32], name: str, stem: str) -> tuple[list[Any], list[Any]]:
    halved = np.clip(weight, -_LARGEST_FLOAT16, _LARGEST_FLOAT16).astype(np.float16)
    stored = [onnx.numpy_helper.from_array(halved, f"{stem}.float16")]
    return stored, [onnx.helper.make_node("Cast", [f"{stem}.float16"], [name], to=onnx.TensorProto.FLOAT)]


def _relative_loss(weight: NDArray[np.float32], stored: NDArray[np.float32]) -> float:
    """Mean square error relative to each channel's own, over the channels of all axes.

    Relative, because a channel of small weights may belong to large values.
    """
    loss = 0.0
    for axis in range(weight.ndim):
        others = tuple(i for i in range(weight.ndim) if i != axis)
        error = np.sum((stored - weight) ** 2, axis=others, dtype=np.float64)
        own = np.sum(weight**2, axis=others, dtype=np.float64)
        loss += float(np.mean(error / np.maximum(own, _TINY)))
    return loss


def _to_int8(weight: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Values and scales, along the axis that loses least."""
    best: tuple[float, NDArray[np.int8], NDArray[np.float32]] | None = None
    for axis in range(weight.ndim):
        others = tuple(i for i in range(weight.ndim) if i != axis)
        scales = np.abs(weight).max(axis=others, keepdims=True).astype(np.float32) / _LARGEST_INT8
        if scales.size * 4 > weight.size:
            continue
        scales[scales == 0] = 1
        values = np.clip(np.round(weight / scales), -_LARGEST_INT8, _LARGEST_INT8)
        loss = _relative_loss(weight, values * scales)
        if best is None or loss < best[0]:
            best = (loss, values.astype(np.int8), scales)
    if best is None:
        scale = np.float32(max(float(np.abs(weight).max()), 1e-30) / _LARGEST_INT8)
        return np.round(weight / scale).astype(np.int8), np.array(scale)
    return best[1], best[2]
