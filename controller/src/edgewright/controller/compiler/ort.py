"""onnxruntime, for the compiler: sessions, and static quantisation. The one file of the controller with it.

Everything runs on one thread: results are then the same on every run, and thread CPU time is the time of the
inference whatever else the machine does.

From 1.29 on the packages for Linux report to their maker: at import they write an identifier below the home
folder and start a thread that sends (docs/Privacy.md of onnxruntime). The variable that switches that off is
read at import only, so it is set before; recipes and other children inherit it.
"""

import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

# Whatever stands below is imported after the line above, which is its point.
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from edgewright.controller.compiler.candidate import Range
from edgewright.controller.compiler.graph import parse_graph, verify_operators
from edgewright.controller.compiler.graphedit import with_opset
from edgewright.controller.compiler.subject import Feeds, rows_of
from edgewright.controller.compiler.targets import Activation
from edgewright.controller.errors import GateFailedError, InputShapeError, UnknownOperatorError
from edgewright.wire.errors import EdgewrightError

Array = NDArray[np.float32]

BATCH: Final = 32
"""Frames a call where the model takes any number of them."""

MAX_REASON_CHARACTERS: Final = 300

_SCALES_AS_THEY_ARE: Final = {"QDQDisableWeightAdjustForInt32Bias": True}

LEAST_OPSET: Final = 13
"""Weights per channel need it."""

_QUIET: Final = 4
"""onnxruntime's log level for what ends the process: all else is in the exception, or known."""


VERSION: Final[str] = onnxruntime.__version__

# The quantiser opens sessions of its own, which write warnings about intermediate graphs to the terminal.
onnxruntime.set_default_logger_severity(_QUIET)


class Port(NamedTuple):
    """An input or output: name, element type as onnxruntime spells it, sizes with None where any fits."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


class Session:
    """A loaded model.

    Attributes:
        inputs, outputs: its ports.
    """

    def __init__(self, model: bytes, provider: str = "CPUExecutionProvider") -> None:
        """Load a model.

        Raises:
            UnknownOperatorError: the runtime cannot load it.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = _QUIET
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=[provider])
        except Exception as error:  # the binding raises a class of its own per status code
            raise UnknownOperatorError(f"onnxruntime cannot load the model: {_reason(error)}.") from error
        self.inputs = tuple(_port(item) for item in self._session.get_inputs())
        self.outputs = tuple(_port(item) for item in self._session.get_outputs())

    def run(self, images: Array, output: str) -> Array:
        """One output for a batch of inputs, in as many calls as the model's batch size asks for.

        Args:
            images: inputs, the first axis counts them.
            output: the output's name.

        Raises:
            InputShapeError: the model does not take such inputs.
        """
        step = self.inputs[0].shape[0] or BATCH
        parts = [self._call(images[i : i + step], output) for i in range(0, len(images), step)]
        return np.concatenate(parts)

    def run_calls(self, feeds: Feeds, *, batches: bool = False) -> dict[str, NDArray[Any]]:
        """All outputs for each call of ``feeds``, in the order of the calls.

        Args:
            feeds: see ``subject.Feeds``.
            batches: the model takes many examples in one call, along the first axis of every port.

        Raises:
            InputShapeError: the model does not take such inputs.
        """
        names = [port.name for port in self.outputs]
        axis = 1 if self._rows_at_once(batches=batches) > 1 else 0
        parts = [
            [np.expand_dims(values, axis) for values in self._call_all(rows)]
            for rows in self.batches_of(feeds, batches=batches)
        ]
        try:
            return {name: np.concatenate([part[i] for part in parts]) for i, name in enumerate(names)}
        except ValueError as error:
            raise InputShapeError(
                "The model's outputs change their size from call to call; give it fixed shapes."
            ) from error

    def batches_of(self, feeds: Feeds, *, batches: bool = False) -> Iterator[dict[str, NDArray[Any]]]:
        """The feeds of one call of this model after another; see ``run_calls``."""
        step = self._rows_at_once(batches=batches)
        for start in range(0, rows_of(feeds), step):
            rows = {name: values[start : start + step] for name, values in feeds.items()}
            yield {name: values[:, 0] if step > 1 else values[0, ...] for name, values in rows.items()}

    def _rows_at_once(self, *, batches: bool) -> int:
        open_ended = all(port.shape and port.shape[0] is None for port in (*self.inputs, *self.outputs))
        return BATCH if batches and open_ended else 1

    def call(self, feeds: Mapping[str, NDArray[Any]]) -> None:
        """One inference whose outputs nobody needs; ``feeds`` have the ports' own shapes.

        Raises:
            InputShapeError: the model does not take such inputs.
        """
        self._call_all(feeds)

    def _call_all(self, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        known = {port.name for port in self.inputs}
        try:
            values: list[NDArray[Any]] = self._session.run(
                None, {name: value for name, value in feeds.items() if name in known}
            )
        except Exception as error:  # the binding raises a class of its own per status code
            raise InputShapeError(f"onnxruntime cannot run the model: {_reason(error)}.") from error
        return values

    def _call(self, images: Array, output: str) -> Array:
        try:
            values: Array = self._session.run([output], {self.inputs[0].name: images})[0]
        except Exception as error:  # the binding raises a class of its own per status code
            raise InputShapeError(f"onnxruntime cannot run the model: {_reason(error)}.") from error
        return values


class Quantiser:
    """Quantisation of one model, step by step.

    The model is first brought to an opset that has weights per channel, and optimised at the basic level
    (batch normalisation folded into convolutions, constants into weights), because ranges belong to the
    tensors that are left.

    Attributes:
        optimised: the optimised fp32 model; names of tensors in ranges are its names.
    """

    def __init__(self, model: bytes) -> None:
        """Optimise a model.

        Raises:
            GateFailedError: the quantiser's first step cannot read the graph.
        """
        from onnxruntime.quantization import quant_pre_process

        verify_operators(model)
        with _workplace() as folder:
            source, result = folder / "source.onnx", folder / "optimised.onnx"
            source.write_bytes(with_opset(model, LEAST_OPSET))
            quant_pre_process(source, result, skip_symbolic_shape=True)
            self.optimised = result.read_bytes()

    def observe_ranges(self, feeds: Feeds, *, batches: bool = False) -> dict[str, Range]:
        """Smallest and largest value of each float tensor over all calls, by the tensor's name.

        The graph reduces each tensor itself, so memory holds two numbers of it a call and not the tensor.

        Raises:
            GateFailedError: the calibrator does not understand the graph.
        """
        from onnxruntime.quantization import CalibrationMethod, create_calibrator

        with _workplace() as folder:
            source = folder / "optimised.onnx"
            source.write_bytes(self.optimised)
            calibrator = create_calibrator(
                source,
                [],
                augmented_model_path=str(folder / "augmented.onnx"),
                calibrate_method=CalibrationMethod.MinMax,
            )
            calibrator.collect_data(_Reader(feeds, Session(self.optimised), batches=batches))
            found = calibrator.compute_data()
            return {
                name: (float(np.min(data.lowest)), float(np.max(data.highest)))
                for name, data in found.items()
            }

    def quantise(
        self,
        ranges: Mapping[str, Range],
        activation: Activation,
        operators: Sequence[str] = (),
        left_alone: Sequence[str] = (),
    ) -> bytes:
        """The model with int8 weights per channel and activations of the given type, as a QDQ graph.

        Args:
            ranges: of the activations.
            activation: their element type.
            operators: which to quantise; empty for all that the quantiser knows.
            left_alone: nodes that stay in float.

        Raises:
            GateFailedError: the quantiser cannot quantise this graph.
        """
        try:
            return self._quantise(ranges, activation, operators, left_alone, {})
        except GateFailedError:
            # The step that widens a weight's scale for its bias fails on some weights per channel.
            return self._quantise(ranges, activation, operators, left_alone, _SCALES_AS_THEY_ARE)

    def _quantise(
        self,
        ranges: Mapping[str, Range],
        activation: Activation,
        operators: Sequence[str],
        left_alone: Sequence[str],
        options: Mapping[str, bool],
    ) -> bytes:
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static, save_tensors_data

        with _workplace() as folder:
            source, table, result = (folder / name for name in ("in.onnx", "ranges.json", "out.onnx"))
            source.write_bytes(self.optimised)
            save_tensors_data(_tensors_data(ranges), table)
            quantize_static(
                source,
                result,
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8 if activation == "uint8" else QuantType.QInt8,
                weight_type=QuantType.QInt8,
                op_types_to_quantize=list(operators),
                nodes_to_exclude=list(left_alone),
                calibration_cache_path=table,
                extra_options=dict(options),
            )
            return result.read_bytes()

    def quantise_dynamically(self, operators: Sequence[str]) -> bytes:
        """The model with int8 weights, activations quantised in each call by their own range, subgraphs too.

        Raises:
            GateFailedError: the quantiser cannot quantise this graph.
        """
        from onnxruntime.quantization import QuantType, quantize_dynamic

        with _workplace() as folder:
            source, result = folder / "in.onnx", folder / "out.onnx"
            source.write_bytes(self.optimised)
            quantize_dynamic(
                source,
                result,
                op_types_to_quantize=list(operators),
                per_channel=True,
                weight_type=QuantType.QInt8,
                extra_options={"EnableSubgraph": True, "MatMulConstBOnly": True},
            )
            return result.read_bytes()


def halve(model: bytes) -> bytes:
    """The model in float16 arithmetic, its inputs and outputs as they are.

    Raises:
        GateFailedError: the converter does not understand the graph.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with _workplace():
        halved = convert_float_to_float16(parse_graph(model), keep_io_types=True)
        serialised: bytes = halved.SerializeToString(deterministic=True)
        return serialised


class _Reader:
    """What the calibrator calls: one batch after another, then None."""

    def __init__(self, feeds: Feeds, session: Session, *, batches: bool) -> None:
        self._batches = session.batches_of(feeds, batches=batches)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        return next(self._batches, None)


@contextmanager
def _workplace() -> Iterator[Path]:
    """A folder for the quantiser's files; its own exceptions end here, and its advice is muted.

    Raises:
        GateFailedError: whatever one of its graph passes raised.
    """
    with tempfile.TemporaryDirectory(prefix="edgewright-quantise-") as folder, _quiet_log():
        try:
            yield Path(folder)
        except EdgewrightError:
            raise
        except Exception as error:  # the quantiser raises whatever its graph passes raise
            raise GateFailedError(f"The model cannot be quantised: {_reason(error)}.") from error


class _quiet_log:  # noqa: N801  # used like a function
    """Mute the root logger, which the quantiser writes advice to that does not apply here."""

    def __enter__(self) -> None:
        self._before = logging.root.manager.disable
        logging.disable(logging.WARNING)

    def __exit__(self, *_: object) -> None:
        logging.disable(self._before)


def _tensors_data(ranges: Mapping[str, Range]) -> Any:
    from onnxruntime.quantization import CalibrationMethod, TensorsData

    # Sorted, because the calibrator walks a set: its order differs from process to process.
    data = {name: (np.float32(low), np.float32(high)) for name, (low, high) in sorted(ranges.items())}
    return TensorsData(CalibrationMethod.MinMax, data)


def _port(item: Any) -> Port:
    shape = tuple(size if isinstance(size, int) and size > 0 else None for size in item.shape)
    return Port(item.name, item.type, shape)


def _reason(error: Exception) -> str:
    """The last part of onnxruntime's message, without status code and source path, on one line."""
    text = " ".join(str(error).split())
    text = text.rpartition(" : ")[2] if " : " in text else text
    return text.rstrip(". ")[-MAX_REASON_CHARACTERS:]
