"""The tiny model of ``tiny_models`` as TFLite, written with LiteRT's own schema; needs ``ai_edge_litert``."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

INPUT_SCALE: Final = 1 / 255
INPUT_ZERO_POINT: Final = -128


def tflite_bytes(int8_input: bool = False, tail: Sequence[str] = ()) -> bytes:
    """One linear layer that sees only the mean of the pixels.

    Args:
        int8_input: puts a dequantisation in front.
        tail: builtin operators of one input and no option that follow, each on the result before it.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    graph = _Graph(schema)
    pixels = graph.tensor("x_float" if int8_input else "x", (1, 3, 8, 8))
    entry = graph.tensor("x", (1, 3, 8, 8), quantised=True) if int8_input else pixels
    layer = [
        graph.constant("weights", np.repeat(np.array([[-20], [0], [20]], np.float32) / 192, 192, axis=1)),
        graph.constant("bias", np.array([8, 2, -12], np.float32)),
    ]
    if int8_input:
        graph.operator("DEQUANTIZE", [entry], pixels)
    results = [graph.tensor(f"y{step}" if step else "y", (1, 3)) for step in range(len(tail), -1, -1)]
    options = schema.BuiltinOptions.FullyConnectedOptions
    graph.operator("FULLY_CONNECTED", [pixels, *layer], results[0], schema.FullyConnectedOptionsT(), options)
    for name, source, result in zip(tail, results, results[1:], strict=False):
        graph.operator(name, [source], result)
    builder = flatbuffers.Builder(4096)
    builder.Finish(graph.model([entry], [results[-1]]).Pack(builder), b"TFL3")
    return bytes(builder.Output())


class _Graph:
    """One subgraph in the making."""

    def __init__(self, schema: Any) -> None:
        self._schema = schema
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._codes: list[Any] = []
        # By the format's convention the first buffer is empty and stands for "computed".
        self._buffers = [schema.BufferT()]

    def tensor(self, name: str, shape: tuple[int, ...], quantised: bool = False) -> int:
        """A computed tensor, float32 or quantised int8."""
        tensor = self._schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name, list(shape), 0
        tensor.type = self._schema.TensorType.FLOAT32
        if quantised:
            tensor.type = self._schema.TensorType.INT8
            tensor.quantization = self._schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [INPUT_SCALE], [INPUT_ZERO_POINT]
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def constant(self, name: str, values: NDArray[Any]) -> int:
        """A constant tensor."""
        index = self.tensor(name, values.shape)
        buffer = self._schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self._buffers.append(buffer)
        self._tensors[index].buffer = len(self._buffers) - 1
        if values.dtype == np.int32:
            self._tensors[index].type = self._schema.TensorType.INT32
        return index

    def operator(
        self, name: str, inputs: list[int], output: int, options: Any = None, options_type: int = 0
    ) -> None:
        """One operator with one output."""
        code = self._schema.OperatorCodeT()
        code.builtinCode = getattr(self._schema.BuiltinOperator, name)
        code.deprecatedBuiltinCode = code.builtinCode
        self._codes.append(code)
        operator = self._schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = len(self._codes) - 1, inputs, [output]
        operator.builtinOptions, operator.builtinOptionsType = options, options_type
        self._operators.append(operator)

    def model(self, inputs: list[int], outputs: list[int]) -> Any:
        """The whole model."""
        graph, model = self._schema.SubGraphT(), self._schema.ModelT()
        graph.tensors, graph.operators, graph.inputs, graph.outputs = (
            self._tensors,
            self._operators,
            inputs,
            outputs,
        )
        model.version, model.operatorCodes, model.subgraphs = 3, self._codes, [graph]
        model.buffers = self._buffers
        return model
