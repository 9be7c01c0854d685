"""Whether a pushed model fits what its model.toml declares; done before anything is stored as a version."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from edgewright.controller.compiler.frames import Frames, read_frames
from edgewright.controller.compiler.sources import onnxgraph
from edgewright.controller.compiler.sources.onnxfile import Source, read_onnx
from edgewright.controller.compiler.sources.ports import OpenPort
from edgewright.controller.compiler.sources.softmax import TAKEN_OFF, take_off_softmax
from edgewright.controller.compiler.sources.tflitefile import (
    is_tflite,
    look_at_tflite,
    read_tflite,
    refuse_for_onnx,
)
from edgewright.controller.compiler.targets import find_target
from edgewright.controller.errors import InputShapeError, ModelTomlError, ModelTooLargeError
from edgewright.controller.model_tensors import InputPart
from edgewright.controller.model_toml import ModelSpec

_FLOAT: Final = "float32"
_WIDTHS: Final = frozenset({"float16", "float64"})
"""Inputs and outputs of these types get casts: the line gives and takes float32."""

LARGEST_ARTIFACT_BYTES: Final = 240_000_000
"""A manifest has 128 KiB and holds a digest of 67 characters for each 128 KiB of an artifact."""

_SHRINKS: Final = 4
"""int8 weights take a quarter of float32 ones, at best."""


def verify_model(spec: ModelSpec, folder: Path) -> Source:
    """Check the model's file against the declaration.

    Returns:
        Its canonical form where it is ONNX, with float32 ports whatever it computes in, and without a Softmax
        at its end; else the file.

    Raises:
        UnknownTargetError: a target is not in the table.
        ModelTooLargeError: no artifact of it can fit into a release for one of the targets.
        NotAModelError: the file is no model.
        SourceFormatError: it is a TFLite file, and a target runs ONNX.
        UnknownOperatorError: the runtime cannot load it.
        InputShapeError: input, output or labels are not what is declared.
    """
    for name in spec.targets:
        find_target(name)
    path = folder / spec.model.file
    _verify_size(spec, path.stat().st_size)
    data = path.read_bytes()
    source = _read_tflite(spec, data) if is_tflite(data) else _read_onnx(spec, data)
    _verify_output(spec, source)
    return source


def _read_onnx(spec: ModelSpec, data: bytes) -> Source:
    # Without a folder: weights in another file would be in no version, no key and no digest.
    model = onnxgraph.read_proto(data)
    onnxgraph.verify_nodes(model)
    _verify_input(spec, onnxgraph.open_inputs(model))
    model = onnxgraph.inlined(model)
    notes = (TAKEN_OFF,) if take_off_softmax(model, spec.output.name) else ()
    onnxgraph.cast_ports(model, _WIDTHS)
    declared = InputPart(name=spec.input.name, dtype=_FLOAT, shape=spec.input.shape, low=-2.0, high=2.0)
    source = read_onnx(model.SerializeToString(), (declared,), keep_names=True)
    return replace(source, notes=(*source.notes, *notes))


def _read_tflite(spec: ModelSpec, data: bytes) -> Source:
    refuse_for_onnx(spec.model.file, [name for name in spec.targets if find_target(name).format != "tflite"])
    _verify_input(spec, look_at_tflite(data)[0])
    return read_tflite(data, ())


def read_holdout(spec: ModelSpec, folder: Path) -> Frames:
    """The holdout frames, none of them with a label that the model does not have.

    Raises:
        ModelTomlError: one has, or the file has another format.
    """
    frames = read_frames(folder / spec.data.holdout)
    foreign = sorted(set(frames.labels) - set(spec.model.labels))
    if foreign:
        raise ModelTomlError(f"[data] holdout: {foreign[0]!r} is not among the model's labels.")
    return frames


def _verify_size(spec: ModelSpec, length: int) -> None:
    """Refuse what is hopeless before it is read; what int8 would save is known only when it was tried."""
    for name in spec.targets:
        quantised = "int8" in find_target(name).precisions and "int8" in spec.gates.precisions
        largest = LARGEST_ARTIFACT_BYTES * (_SHRINKS if quantised else 1)
        if length > largest:
            has, may = f"{length / 1e6:.0f} MB", f"{largest / 1e6:.0f} MB"
            raise ModelTooLargeError(f"The model has {has}; for {name} at most {may} can be released.")


def _verify_input(spec: ModelSpec, ports: Sequence[OpenPort]) -> None:
    if len(ports) != 1:
        raise InputShapeError(f"The model has {len(ports)} inputs; it has to have one.")
    port, declared = ports[0], spec.input
    if port.name != declared.name:
        raise InputShapeError(f"The model's input is called {port.name!r}, not {declared.name!r}.")
    if port.dtype != _FLOAT and port.dtype not in _WIDTHS:
        raise InputShapeError(f"The model's input has the type {port.dtype}, not {_FLOAT}.")
    given = declared.shape if port.shape is None else port.shape
    fits = len(given) == len(declared.shape) and all(
        isinstance(own, str) or own == size for own, size in zip(given, declared.shape, strict=True)
    )
    if not fits:
        shape = ["any" if isinstance(size, str) else size for size in given]
        raise InputShapeError(f"The model's input has the shape {shape}, not {list(declared.shape)}.")


def _verify_output(spec: ModelSpec, source: Source) -> None:
    declared = spec.output_tensor
    ports = {port.name: port for port in source.outputs}
    if declared.name not in ports:
        raise InputShapeError(f"The model has no output {declared.name!r}; it has {', '.join(ports)}.")
    port = ports[declared.name]
    if port.dtype != _FLOAT:
        raise InputShapeError(f"The model's output has the type {port.dtype}, not {_FLOAT}.")
    if port.shape != declared.shape:
        raise InputShapeError(
            f"The model's output has the shape {list(port.shape)}; "
            f"{len(spec.model.labels)} labels need {list(declared.shape)}."
        )
