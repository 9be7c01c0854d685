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
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

# Whatever stands below is imported after the line above, which is its point.
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from edgewright.controller.compiler.graph import verify_operators
from edgewright.controller.compiler.subject import Feeds, rows_of
from edgewright.controller.compiler.targets import Activation
from edgewright.controller.errors import GateFailedError, InputShapeError, UnknownOperatorError

Array = NDArray[np.float32]
Range = tuple[float, float]

BATCH: Final = 32
"""Frames a call where the model takes any number of them."""

MAX_REASON_CHARACTERS: Final = 300

_QUIET: Final = 3
"""onnxruntime's log level for errors; what it warns of here (graph not pre-processed) is known."""


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
        open_ended = all(port.shape and port.shape[0] is None for port in (*self.inputs, *self.outputs))
        step = BATCH if batches and open_ended else 1
        parts: list[list[NDArray[Any]]] = []
        for start in range(0, rows_of(feeds), step):
            rows = {name: values[start : start + step] for name, values in feeds.items()}
            if step > 1:
                found = self._call_all({name: values[:, 0] for name, values in rows.items()})
                parts.append([values[:, np.newaxis] for values in found])
            else:
                found = self._call_all({name: values[0] for name, values in rows.items()})
                parts.append([values[np.newaxis] for values in found])
        try:
            return {name: np.concatenate([part[i] for part in parts]) for i, name in enumerate(names)}
        except ValueError as error:
            raise InputShapeError(
                "The model's outputs change their size from call to call; give it fixed shapes."
            ) from error

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
    """Static int8 quantisation of one model, step by step.

    The model is first optimised at the basic level (batch normalisation folded into convolutions), because
    ranges belong to the tensors that are left.

    Attributes:
        optimised: the optimised fp32 model; names of tensors in ranges are its names.
    """

    def __init__(self, model: bytes) -> None:
        from onnxruntime.quantization import quant_pre_process

        verify_operators(model)
        with tempfile.TemporaryDirectory(prefix="edgewright-quantise-") as folder:
            source, result = Path(folder, "source.onnx"), Path(folder, "optimised.onnx")
            source.write_bytes(model)
            with _quiet_log():
                quant_pre_process(source, result, skip_symbolic_shape=True)
            self.optimised = result.read_bytes()

    def observe_ranges(self, input_name: str, images: Array) -> dict[str, Range]:
        """Smallest and largest value of each float tensor over the images, by the tensor's name."""
        from onnxruntime.quantization import CalibrationMethod, create_calibrator

        step = Session(self.optimised).inputs[0].shape[0] or BATCH
        whole = len(images) // step * step or len(images)
        with tempfile.TemporaryDirectory(prefix="edgewright-calibrate-") as folder:
            source = Path(folder, "optimised.onnx")
            source.write_bytes(self.optimised)
            calibrator = create_calibrator(
                source,
                [],
                augmented_model_path=str(Path(folder, "augmented.onnx")),
                calibrate_method=CalibrationMethod.MinMax,
            )
            calibrator.collect_data(_Reader(input_name, images[:whole], step))
            found = calibrator.compute_data()
        return {
            name: (float(np.min(data.lowest)), float(np.max(data.highest))) for name, data in found.items()
        }

    def quantise(self, ranges: Mapping[str, Range], activation: Activation) -> bytes:
        """The model with int8 weights per channel and activations of the given type, as a QDQ graph.

        Raises:
            GateFailedError: the quantiser cannot quantise this graph.
        """
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static, save_tensors_data

        with tempfile.TemporaryDirectory(prefix="edgewright-quantise-") as folder:
            source, table, result = (Path(folder, name) for name in ("in.onnx", "ranges.json", "out.onnx"))
            source.write_bytes(self.optimised)
            save_tensors_data(_tensors_data(ranges), table)
            try:
                with _quiet_log():
                    quantize_static(
                        source,
                        result,
                        quant_format=QuantFormat.QDQ,
                        per_channel=True,
                        activation_type=QuantType.QUInt8 if activation == "uint8" else QuantType.QInt8,
                        weight_type=QuantType.QInt8,
                        calibration_cache_path=table,
                    )
            except Exception as error:  # the quantiser raises whatever its graph passes raise
                raise GateFailedError(f"The model cannot be quantised: {_reason(error)}.") from error
            return result.read_bytes()


class _Reader:
    """What the calibrator calls: one batch after another, then None."""

    def __init__(self, input_name: str, images: Array, step: int) -> None:
        self._batches: Iterator[Array] = (images[i : i + step] for i in range(0, len(images), step))
        self._input = input_name

    def get_next(self) -> dict[str, Array] | None:
        batch = next(self._batches, None)
        return None if batch is None else {self._input: batch}


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
