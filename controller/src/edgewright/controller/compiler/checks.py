"""Whether a pushed model fits what its model.toml declares; done before anything is stored as a version."""

from pathlib import Path
from typing import Final

import numpy as np

from edgewright.controller.compiler.frames import Frames, read_frames
from edgewright.controller.compiler.graph import canonical_graph, verify_operators
from edgewright.controller.compiler.ort import Session
from edgewright.controller.compiler.targets import find_target
from edgewright.controller.errors import InputShapeError, ModelTomlError, ModelTooLargeError
from edgewright.controller.model_toml import ModelSpec

_FLOAT: Final = "tensor(float)"

LARGEST_ARTIFACT_BYTES: Final = 240_000_000
"""A manifest has 128 KiB and holds a digest of 67 characters for each 128 KiB of an artifact."""

_SHRINKS: Final = 4
"""int8 weights take a quarter of float32 ones, at best."""


def verify_model(spec: ModelSpec, folder: Path) -> bytes:
    """Check the ONNX file against the declaration; returns its canonical form.

    Raises:
        UnknownTargetError: a target is not in the table.
        ModelTooLargeError: no artifact of it can fit into a release for one of the targets.
        NotAModelError: the file is no ONNX model.
        UnknownOperatorError: the runtime cannot load it.
        InputShapeError: input, output or labels are not what is declared.
    """
    for name in spec.targets:
        find_target(name)
    _verify_size(spec, (folder / spec.model.file).stat().st_size)
    data = (folder / spec.model.file).read_bytes()
    verify_operators(data)
    model = canonical_graph(data)
    session = Session(model)
    _verify_input(spec, session)
    _verify_output(spec, session)
    return model


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


def _verify_input(spec: ModelSpec, session: Session) -> None:
    if len(session.inputs) != 1:
        raise InputShapeError(f"The model has {len(session.inputs)} inputs; it has to have one.")
    port, declared = session.inputs[0], spec.input
    if port.name != declared.name:
        raise InputShapeError(f"The model's input is called {port.name!r}, not {declared.name!r}.")
    if port.dtype != _FLOAT:
        raise InputShapeError(f"The model's input has the type {port.dtype}, not {_FLOAT}.")
    fits = len(port.shape) == len(declared.shape) and all(
        own in (None, size) for own, size in zip(port.shape, declared.shape, strict=True)
    )
    if not fits:
        shape = ["any" if size is None else size for size in port.shape]
        raise InputShapeError(f"The model's input has the shape {shape}, not {list(declared.shape)}.")


def _verify_output(spec: ModelSpec, session: Session) -> None:
    declared = spec.output_tensor
    ports = {port.name: port for port in session.outputs}
    if declared.name not in ports:
        raise InputShapeError(f"The model has no output {declared.name!r}; it has {', '.join(ports)}.")
    if ports[declared.name].dtype != _FLOAT:
        raise InputShapeError(f"The model's output has the type {ports[declared.name].dtype}, not {_FLOAT}.")
    logits = session.run(np.zeros(spec.input.shape, np.float32), declared.name)
    if logits.shape != declared.shape:
        raise InputShapeError(
            f"The model's output has the shape {list(logits.shape)}; "
            f"{len(spec.model.labels)} labels need {list(declared.shape)}."
        )
