"""Reading and changing the graph of an ONNX file that somebody else made.

Refused is what no target can run or no gate can judge: sequences and maps, text, operators that nobody
brings, weights that are not there. Everything else is brought to one form: functions inlined, weights
inside, inputs that are really weights taken off the list of inputs, a name for every node, old operator sets
converted.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import onnx
import onnx.inliner
import onnx.version_converter

from edgewright.controller.compiler.graphedit import QUANTISED
from edgewright.controller.compiler.sources.files import LARGEST_SOURCE_BYTES
from edgewright.controller.compiler.sources.ports import OpenPort, Size
from edgewright.controller.errors import (
    ModelTooLargeError,
    NotAModelError,
    TensorTypeError,
    UnknownOperatorError,
)
from edgewright.controller.model_tensors import DTYPES

OPSET: Final = 17
OLDEST_OPSET: Final = 13
"""Operator set 13 brought scales per channel to DequantizeLinear; older files are converted to ``OPSET``."""

OLDEST_IR: Final = 8
"""onnxruntime of all our targets reads it."""

_FREE_WEIGHTS_IR: Final = 4
"""Before, every weight had to be an input as well; since then, one that is can be given another value."""

_RANDOM: Final = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
)
"""A process draws others than the one before, so a device never reproduces golden vectors."""

_RUNTIME_DOMAINS: Final = frozenset({"com.microsoft"})
_PORT_NAME: Final = re.compile(r"[\w./:+-]{1,128}", re.ASCII)
_LONGEST_SENTENCE_NAME: Final = 80


NEWEST_IR: Final = 10
"""Version of ONNX's file form that every onnxruntime from 1.24 on reads."""


def read_proto(data: bytes, beside: Path | None = None) -> Any:
    """The ``onnx.ModelProto`` in the bytes, with all its weights inside.

    Args:
        data: the file.
        beside: folder of the file, where weights may lie in files of their own.

    Raises:
        NotAModelError: the bytes are no model, or weights are missing.
    """
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's DecodeError, whose package has no types
        raise NotAModelError("The file is no ONNX model.") from error
    # Protobuf reads many a foreign file as a message with a few unknown fields.
    if not model.ir_version or not model.opset_import or not model.graph.output:
        raise NotAModelError("The file holds no ONNX graph.")
    if not model.graph.node:
        raise NotAModelError("The model's graph has no operators: there is nothing to compile.")
    if not all(isinstance(text, str) for text in _texts(model)):
        raise NotAModelError("The file is damaged: a name in it is no text.")
    if _has_outer_weights(model):
        _load_weights(model, beside)
    # A writer stamps the newest form that it knows; what is not in the older one makes loading fail later.
    model.ir_version = min(model.ir_version, NEWEST_IR)
    return model


def _texts(model: Any) -> Iterator[Any]:
    """All names; protobuf hands out bytes where one is not UTF-8."""
    for item in model.opset_import:
        yield item.domain
    for graph in graphs_of(model):
        for value in (*graph.input, *graph.output, *graph.initializer):
            yield value.name
            if isinstance(value, onnx.ValueInfoProto):
                yield from (size.dim_param for size in value.type.tensor_type.shape.dim)
    for function in model.functions:
        yield from (function.domain, function.name, *function.input, *function.output)
    for node in nodes_of(model):
        yield from (node.name, node.domain, node.op_type, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)


def _has_outer_weights(model: Any) -> bool:
    external = onnx.TensorProto.DataLocation.EXTERNAL
    return any(tensor.data_location == external for tensor in _tensors(model))


def _tensors(model: Any) -> Iterator[Any]:
    for graph in graphs_of(model):
        yield from graph.initializer
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors


def outer_files(data: bytes) -> tuple[str, ...]:
    """Names of the files beside a model in which its weights lie; empty where it has none or is no model."""
    try:
        model = onnx.load_model_from_string(data)
    except Exception:  # noqa: BLE001 - protobuf's DecodeError, which has no types; reading says more
        return ()
    return tuple(sorted({_place(tensor) for tensor in _tensors(model)} - {""}))


def _load_weights(model: Any, beside: Path | None) -> None:
    said = "The model's weights lie in another file"
    if beside is None:
        raise NotAModelError(f"{said}; export them into the ONNX file.")
    try:
        onnx.external_data_helper.load_external_data_for_model(model, str(beside))
    except Exception as error:  # onnx raises what its checker, its reader or the file system raise
        names = sorted({_place(tensor) for tensor in _tensors(model)} - {""})
        named = f" ({', '.join(names)[:_LONGEST_SENTENCE_NAME]})" if names else ""
        raise NotAModelError(f"{said}{named}, which is not beside it or does not fit.") from error
    if model.ByteSize() > LARGEST_SOURCE_BYTES:
        raise ModelTooLargeError(f"The model has {model.ByteSize() / 1e6:.0f} MB with its weights.")


def _place(tensor: Any) -> str:
    return next((str(entry.value) for entry in tensor.external_data if entry.key == "location"), "")


def graphs_of(model: Any) -> Iterator[Any]:
    """The main graph and all graphs inside it."""
    waiting = [model.graph]
    while waiting:
        graph = waiting.pop()
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                waiting += [attribute.g] if attribute.HasField("g") else []
                waiting += attribute.graphs


def nodes_of(model: Any) -> Iterator[Any]:
    """All nodes, those of inner graphs and functions included."""
    for graph in graphs_of(model):
        yield from graph.node
    for function in model.functions:
        yield from function.node


def verify_nodes(model: Any) -> None:
    """Check that every operator belongs to ONNX, to the file or to the runtime, and that none throws dice.

    Raises:
        UnknownOperatorError: some are unknown or draw random numbers; the sentence names them.
    """
    random = sorted({node.op_type for node in nodes_of(model)} & _RANDOM)
    if random:
        raise UnknownOperatorError(
            f"The model draws random numbers ({', '.join(random)}), so no two runs of it are the same: "
            "make them an input."
        )
    own = {(function.domain, function.name) for function in model.functions}
    unknown = {
        f"{node.domain}.{node.op_type}".lstrip(".")
        for node in nodes_of(model)
        if not onnx.defs.has(node.op_type, node.domain)
        and node.domain not in _RUNTIME_DOMAINS
        and (node.domain, node.op_type) not in own
    }
    if unknown:
        named = ", ".join(sorted(unknown))[:_LONGEST_SENTENCE_NAME]
        raise UnknownOperatorError(f"The model uses unknown operators: {named}.")


def is_quantised(model: Any) -> bool:
    """Whether the model computes with stored integers already."""
    return any(node.op_type in QUANTISED for node in nodes_of(model))


def open_inputs(model: Any) -> tuple[OpenPort, ...]:
    """The inputs that a caller has to give.

    Raises:
        TensorTypeError: one is no tensor of numbers.
    """
    weights = {item.name for item in model.graph.initializer}
    weights |= {item.values.name for item in model.graph.sparse_initializer}
    return tuple(_port("input", item) for item in model.graph.input if item.name not in weights)


def open_outputs(model: Any) -> tuple[OpenPort, ...]:
    """The outputs.

    Raises:
        TensorTypeError: one is no tensor of numbers.
    """
    return tuple(_port("output", item) for item in model.graph.output)


def _port(what: str, value: Any) -> OpenPort:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        structure = (kind or "unknown").removesuffix("_type").replace("_", " ")
        raise TensorTypeError(f"The model's {what} {value.name!r} is no tensor but of the type {structure}.")
    tensor = value.type.tensor_type
    dtype = _dtype(tensor.elem_type)
    if dtype not in DTYPES:
        raise TensorTypeError(f"The model's {what} {value.name!r} has the element type {dtype}.")
    shape = tuple(_size(item) for item in tensor.shape.dim) if tensor.HasField("shape") else None
    return OpenPort(value.name, dtype, shape)


def _dtype(number: int) -> str:
    if number == onnx.TensorProto.STRING:
        return "text"
    try:
        return str(onnx.helper.tensor_dtype_to_np_dtype(number))
    except (KeyError, TypeError, ValueError):
        return f"number {number}, which is none of ONNX's"


def _size(dimension: Any) -> Size:
    # A size of zero or below is how some exporters write an open one.
    value = int(dimension.dim_value)
    return value if dimension.HasField("dim_value") and value > 0 else str(dimension.dim_param)


def outputs_of(model: Any, operator: str) -> frozenset[str]:
    """The model's outputs that come directly out of such an operator."""
    leaving = {value.name for value in model.graph.output}
    return frozenset(
        name
        for node in model.graph.node
        if node.op_type == operator
        for name in node.output
        if name in leaving
    )


def tidy(model: Any) -> list[str]:
    """Bring a graph to the one form, in place; returns sentences about what a person should know."""
    notes = []
    weights = {item.name for item in model.graph.initializer}
    kept = [item for item in model.graph.input if item.name not in weights]
    if model.ir_version >= _FREE_WEIGHTS_IR and (given := len(model.graph.input) - len(kept)):
        notes.append(f"{given} input(s) have a value in the file, which stays as it is.")
    del model.graph.input[:]
    model.graph.input.extend(kept)
    model.ClearField("training_info")
    model.ir_version = max(model.ir_version, OLDEST_IR)
    _name_nodes(model)
    return notes


def _name_nodes(model: Any) -> None:
    """Give every node a name of its own; reports of sensitive layers and searches refer to it."""
    taken: set[str] = set()
    for number, node in enumerate(node for graph in graphs_of(model) for node in graph.node):
        if not node.name or node.name in taken:
            node.name = _free_name(f"{node.op_type}_{number}", taken)
        taken.add(node.name)


def _free_name(wanted: str, taken: set[str]) -> str:
    name, count = wanted, 1
    while name in taken:
        name, count = f"{wanted}_{count}", count + 1
    return name


def inlined(model: Any) -> Any:
    """The model without functions of its own.

    Raises:
        UnknownOperatorError: they cannot be inlined.
    """
    if not model.functions:
        return model
    try:
        return onnx.inliner.inline_local_functions(model)
    except Exception as error:  # native code, which raises whatever its passes raise
        raise UnknownOperatorError("The model's own functions cannot be inlined.") from error


def default_opset(model: Any) -> int:
    """Version of ONNX's own operators, 0 where the model uses none."""
    return max((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), default=0)


def is_old(model: Any) -> bool:
    """Whether the operator set is older than what quantised graphs need."""
    return 0 < default_opset(model) < OLDEST_OPSET


def converted(model: Any) -> Any | None:
    """The model in operator set ``OPSET``; None where ONNX's converter cannot do it."""
    try:
        return onnx.version_converter.convert_version(model, OPSET)
    except Exception:  # noqa: BLE001 - native code, which raises whatever its adapters raise
        return None


def rename_ports(model: Any) -> dict[str, str]:
    """Rename, in place, inputs and outputs whose names a toolchain may not take; returns old name to new."""
    taken = {name for node in nodes_of(model) for name in (*node.input, *node.output)}
    mapping: dict[str, str] = {}
    for value in (*model.graph.input, *model.graph.output):
        if value.name not in mapping and not _PORT_NAME.fullmatch(value.name):
            plain = re.sub(r"[^\w./:+-]", "_", value.name, flags=re.ASCII)[:100] or "port"
            mapping[value.name] = _free_name(plain, taken)
            taken.add(mapping[value.name])
    if mapping:
        for graph in graphs_of(model):
            _rename(graph, mapping)
    return mapping


def _rename(graph: Any, mapping: dict[str, str]) -> None:
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = mapping.get(value.name, value.name)
    _rename_uses(graph, mapping)


def _rename_uses(graph: Any, mapping: dict[str, str]) -> None:
    for node in graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                names[i] = mapping.get(name, name)


def fix_shapes(model: Any, inputs: Iterable[tuple[str, tuple[Size, ...]]], outputs: Any) -> None:
    """Write sizes of inputs and outputs into the graph, in place; a text is an open size of that name."""
    shapes = {**dict(inputs), **dict(outputs)}
    for value in (*model.graph.input, *model.graph.output):
        shape = value.type.tensor_type.shape
        shape.ClearField("dim")
        shape.SetInParent()
        for size in shapes[value.name]:
            dimension = shape.dim.add()
            if isinstance(size, int):
                dimension.dim_value = size
            else:
                dimension.dim_param = size
    model.graph.ClearField("value_info")


def cast_ports(model: Any, dtypes: frozenset[str]) -> list[str]:
    """Give ports of these element types float32 ones with a Cast behind, in place; returns their names.

    The line's frames and logits are float32, whatever a network computes in.
    """
    graph = model.graph
    changed = [value for value in (*graph.input, *graph.output) if _port("", value).dtype in dtypes]
    first: list[Any] = []
    last: list[Any] = []
    for value in changed:
        own = value.type.tensor_type.elem_type
        inner = f"{value.name}.{_dtype(own)}"
        for part in graphs_of(model):
            _rename_uses(part, {value.name: inner})
        entering = value in list(graph.input)
        ends = (value.name, inner) if entering else (inner, value.name)
        to = own if entering else onnx.TensorProto.FLOAT
        cast = onnx.helper.make_node("Cast", [ends[0]], [ends[1]], f"{value.name}.cast", to=to)
        (first if entering else last).append(cast)
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    nodes = [*first, *graph.node, *last]
    del graph.node[:]
    graph.node.extend(nodes)
    return [value.name for value in changed]
