"""A TFLite file as a source: it ships to TFLite targets as it is, and nowhere else.

Read without a runtime (see ``flatbuffer``): ports, quantisation, operators that need a runtime of their own,
and state that lives inside the model. The schema is TensorFlow's ``tensorflow/compiler/mlir/lite/schema``.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Final

from edgewright.controller.compiler.sources.flatbuffer import Damaged, Table, root
from edgewright.controller.compiler.sources.onnxfile import Source
from edgewright.controller.compiler.sources.ports import OpenPort, OpenPorts, fixed_shape, match_inputs
from edgewright.controller.compiler.subject import Port
from edgewright.controller.errors import (
    InputShapeError,
    NotAModelError,
    SourceFormatError,
    TensorTypeError,
    UnknownOperatorError,
)
from edgewright.controller.model_tensors import DTYPES, MOST_VALUES, InputPart

IDENTIFIER: Final = b"TFL3"
_IDENTIFIER_AT: Final = slice(4, 8)

_DTYPES: Final = (
    *("float32", "float16", "int32", "uint8", "int64", "text", "bool", "int16", "complex64", "int8"),
    *("float64", "complex128", "uint64", "resource", "variant", "uint32", "uint16", "int4", "bfloat16"),
)
"""``TensorType`` of the schema, by number."""

_INTEGERS: Final = frozenset(_DTYPES.index(name) for name in ("int4", "int8", "uint8", "int16", "int32"))

_CUSTOM: Final = 32
_CALL_ONCE: Final = 129
_VARIABLES: Final = frozenset({_CALL_ONCE, 142, 143, 144})
"""``CALL_ONCE``, ``VAR_HANDLE``, ``READ_VARIABLE`` and ``ASSIGN_VARIABLE`` of ``BuiltinOperator``."""

_FLEX: Final = "Flex"
_MOST_AXES: Final = 16


def is_tflite(data: bytes) -> bool:
    """Whether the bytes say that they are a TFLite file."""
    return data[_IDENTIFIER_AT] == IDENTIFIER


def look_at_tflite(data: bytes) -> OpenPorts:
    """Inputs and outputs, with the sizes that the file itself uses where it leaves some open.

    Raises:
        NotAModelError: the file is damaged or none.
        UnknownOperatorError: it needs operators that no runtime of our targets brings.
        TensorTypeError: a port is no tensor of numbers.
    """
    with _refused():
        if not is_tflite(data):
            raise Damaged
        model = root(data)
        _verify_buffers(model)
        _verify_operators(model)
        graph = _main_graph(model)
        inputs, outputs = tuple(_ports(graph, 1, "input")), tuple(_ports(graph, 2, "output"))
    for ports in (inputs, outputs):
        if len({port.name for port in ports}) != len(ports):
            raise InputShapeError("Two inputs or two outputs of the TFLite file have the same name.")
    return inputs, outputs


def read_tflite(data: bytes, declared: Sequence[InputPart]) -> Source:
    """The source in a TFLite file.

    Args:
        data: the file.
        declared: what model.toml says of inputs.

    Raises:
        ModelError: the file cannot be compiled; the number says why.
    """
    found, leaving = look_at_tflite(data)
    inputs = match_inputs(found, declared)
    quantised = is_quantised_tflite(data)
    with _refused():
        keeps_state = bool(_VARIABLES & set(_operators(root(data))))
    notes = ["The TFLite file ships as it is, to TFLite targets."]
    notes += [
        f"{port.name!r} is {port.dtype}: value = {port.scale:.6g} * (stored - {port.zero_point})."
        for port in (*found, *leaving)
        if port.scale
    ]
    if keeps_state:
        notes.append("The model keeps a state between calls, inside itself.")
    return Source(
        model=data,
        format="tflite",
        inputs=inputs,
        outputs=tuple(Port(port.name, port.dtype, fixed_shape(port)) for port in leaving),
        quantised=quantised,
        notes=tuple(notes),
    )


def is_quantised_tflite(data: bytes) -> bool:
    """Whether a TFLite file has tensors of integers that stand for real numbers.

    Raises:
        NotAModelError: the file is damaged.
    """
    with _refused():
        for graph in root(data).tables(2):
            for tensor in graph.tables(0):
                kind, quantised = tensor.number(1, "b"), tensor.table(4)
                if kind in _INTEGERS and quantised and quantised.numbers(2, "f"):
                    return True
    return False


def refuse_for_onnx(name: str, targets: Sequence[str]) -> None:
    """Refuse a TFLite file for targets that run ONNX.

    Raises:
        SourceFormatError: there is such a target.
    """
    if targets:
        raise SourceFormatError(
            f"{name} is a TFLite file, and {', '.join(targets)} runs ONNX: "
            "push the ONNX file that it was made from."
        )


@contextmanager
def _refused() -> Iterator[None]:
    try:
        yield
    except Damaged as error:
        raise NotAModelError("The file is no TFLite model, or it is damaged.") from error


def _main_graph(model: Table) -> Table:
    graphs = model.tables(2)
    if not graphs or not graphs[0].numbers(2, "i"):
        raise Damaged
    return graphs[0]


def _verify_buffers(model: Table) -> None:
    """Read where all weights lie, so that a file that was cut off is found here."""
    for buffer in model.tables(4):
        buffer.raw(0)
        offset, size = buffer.number(1, "Q"), buffer.number(2, "Q")
        if offset + size > len(model.data):
            raise Damaged


def _operators(model: Table) -> tuple[int, ...]:
    """Numbers of the operators that the model uses; old files have them in a byte."""
    return tuple(max(code.number(3, "i"), code.number(0, "b")) for code in model.tables(1))


def _verify_operators(model: Table) -> None:
    own = sorted(
        code.text(1)
        for code, number in zip(model.tables(1), _operators(model), strict=True)
        if number == _CUSTOM
    )
    flex = [name.removeprefix(_FLEX) for name in own if name.startswith(_FLEX)]
    if flex:
        raise UnknownOperatorError(
            f"The model needs TensorFlow's own operators ({', '.join(flex)}), which no target has; "
            "convert it with TFLite's built-in operators only."
        )
    if own:
        raise UnknownOperatorError(f"The model uses custom operators that no target has: {', '.join(own)}.")


def _ports(graph: Table, field: int, what: str) -> Iterator[OpenPort]:
    tensors = graph.tables(0)
    for number in graph.numbers(field, "i"):
        if not 0 <= number < len(tensors):
            raise Damaged
        yield _open_port(tensors[int(number)], what)


def _open_port(tensor: Table, what: str) -> OpenPort:
    name, kind = tensor.text(3), tensor.number(1, "b")
    dtype = _DTYPES[kind] if 0 <= kind < len(_DTYPES) else f"number {kind}"
    if dtype not in DTYPES:
        raise TensorTypeError(f"The model's {what} {name!r} has the element type {dtype}.")
    sizes = tuple(int(size) for size in tensor.numbers(0, "i"))
    if len(sizes) > _MOST_AXES or any(size < 0 for size in sizes) or prod(sizes) > MOST_VALUES:
        raise Damaged
    quantised = tensor.table(4)
    scales = quantised.numbers(2, "f") if quantised else ()
    points = quantised.numbers(3, "q") if quantised else ()
    scale, point = (float(scales[0]), int(points[0])) if len(scales) == len(points) == 1 else (0.0, 0)
    return OpenPort(name, dtype, tuple(max(1, size) for size in sizes), scale, point)
