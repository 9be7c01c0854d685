"""The front end of a tensor model: a folder whose model.toml has ``[[inputs]]``.

Feeds come from ``.npz`` files or are drawn. A state that the files do not hold is carried from call to call
by running the source itself, so that an artifact is judged on states as they occur.
"""

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgewright.controller.compiler.arrays import BadArraysError, read_arrays
from edgewright.controller.compiler.ort import Session
from edgewright.controller.compiler.sources.drawing import SEQUENCE_ROWS, carry_states, constant, draw_calls
from edgewright.controller.compiler.sources.exported import ONNX_MAKERS, export_onnx
from edgewright.controller.compiler.sources.files import read_file
from edgewright.controller.compiler.sources.onnxfile import Source, read_onnx
from edgewright.controller.compiler.sources.ports import match_outputs
from edgewright.controller.compiler.sources.tflitefile import is_tflite, read_tflite, refuse_for_onnx
from edgewright.controller.compiler.subject import NO_TRUTHS, Subject, take_rows
from edgewright.controller.compiler.targets import find_target
from edgewright.controller.errors import InputShapeError, TensorDataError
from edgewright.controller.model_tensors import MOST_DRAWN, InputPart, TensorSpec

MAX_CALLS: Final = 512
"""Calibration and holdout are thinned evenly beyond; ranges and verdicts hardly change."""

_LABELS: Final = "labels"
_HOLDOUT_SEED: Final = 1 << 33
"""Added to the seed, so that no drawn holdout call is among the calibration's."""


def tensor_subject(spec: TensorSpec, folder: Path) -> Subject:
    """What is compiled of a tensor model.

    Raises:
        ModelError: the model cannot become artifacts; its number says why.
    """
    for name in spec.targets:
        find_target(name)
    source = read_source(spec, folder)
    if source.format == "tflite":
        refuse_for_onnx(spec.model.file, [n for n in spec.targets if find_target(n).format != "tflite"])
    decision = source.names.get(spec.model.decision, spec.model.decision)
    match_outputs(source.outputs, spec.outputs, decision)
    _verify_decision(decision, source, spec.model.labels)
    calibration, holdout, truths = _feeds(spec, folder, source)
    said = ["The model is quantised already: it is not quantised again."] if source.quantised else []
    return Subject(
        name=spec.model.name,
        model=source.model,
        format=source.format,
        inputs=source.inputs,
        outputs=source.outputs,
        calibration=calibration,
        holdout=holdout,
        gates=spec.gates,
        decision=decision,
        labels=spec.model.labels,
        truths=truths,
        memory_mb=spec.limits.memory_mb,
        latency_us=spec.limits.latency_us,
        batches=source.batches,
        synthetic=spec.data.synthetic is not None,
        notes=(*source.notes, *said),
    )


def read_source(spec: TensorSpec, folder: Path) -> Source:
    """The model's file, whatever of the known formats it has.

    Raises:
        ModelError: the file cannot be compiled; the number says why.
    """
    path = folder / spec.model.file
    data = read_file(path)
    if path.suffix in ONNX_MAKERS:
        data = export_onnx(path, spec.inputs)
    if is_tflite(data):
        return read_tflite(data, spec.inputs)
    return read_onnx(data, spec.inputs, path.parent)


def _verify_decision(decision: str, source: Source, labels: Sequence[str]) -> None:
    """Demand that the output that decides has one value a label, and more than one."""
    for port in source.outputs:
        if port.name != decision:
            continue
        said = f"[model] decision: the output {decision!r} is {list(port.shape)}"
        values, last = prod(port.shape), port.shape[-1] if port.shape else 1
        if last < 2:
            raise InputShapeError(f"{said}, so no largest of several values decides; leave the entry out.")
        if labels and (values, last) != (len(labels), len(labels)):
            raise InputShapeError(f"{said}; {len(labels)} labels need [1, {len(labels)}].")


def _feeds(
    spec: TensorSpec, folder: Path, source: Source
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]], NDArray[np.intp]]:
    inputs = tuple(
        msgspec.structs.replace(
            part, name=source.names.get(part.name, part.name), feedback=_new(part.feedback, source)
        )
        for part in spec.inputs
    )
    inputs = _all_inputs(inputs, source)
    if spec.data.synthetic:
        seed, rows = spec.data.synthetic.seed, spec.data.synthetic.rows
        states = {part.name: part.feedback for part in inputs if part.feedback}
        drawn = [draw_calls(inputs, rows, number) for number in (seed, seed + _HOLDOUT_SEED)]
        calibration, holdout = (_carried(source, states, feeds, SEQUENCE_ROWS) for feeds in drawn)
        return calibration, holdout, NO_TRUTHS
    calibration, _ = _read_calls(folder / spec.data.calibration, inputs, source)
    holdout, labels = _read_calls(folder / spec.data.holdout, inputs, source)
    return calibration, holdout, _truths(labels, spec)


def _new(name: str, source: Source) -> str:
    return source.names.get(name, name)


def _all_inputs(parts: Sequence[InputPart], source: Source) -> tuple[InputPart, ...]:
    """One part for each of the source's inputs, in its order."""
    known = {part.name: part for part in parts}
    return tuple(
        known.get(port.name, InputPart(name=port.name, dtype=port.dtype, shape=port.shape))
        for port in source.inputs
    )


def _carried(
    source: Source, states: Mapping[str, str], feeds: dict[str, NDArray[Any]], sequence: int
) -> dict[str, NDArray[Any]]:
    if not states or source.format != "onnx":
        return feeds
    return carry_states(Session(source.model).run_calls, states, feeds, sequence)


def _read_calls(
    path: Path, inputs: Sequence[InputPart], source: Source
) -> tuple[dict[str, NDArray[Any]], tuple[str, ...]]:
    """Calls and their labels, empty where the file has none; names in the file are the model's own.

    Raises:
        TensorDataError: the file does not fit the inputs.
    """
    arrays = _load(path)
    old = {new: name for name, new in source.names.items()}
    found = {part.name: arrays[key] for part in inputs if (key := old.get(part.name, part.name)) in arrays}
    counts = {len(values) for values in found.values() if values.ndim}
    if len(counts) != 1 or not min(counts):
        raise TensorDataError(f"{path.name}: all inputs need the same number of calls, at least one.")
    rows = counts.pop()
    made = sum(prod(part.shape) for part in inputs if part.name not in found)
    if rows * made > MOST_DRAWN:
        raise TensorDataError(f"{path.name}: {rows} calls are too many for the inputs that it does not hold.")
    feeds = {part.name: _values(path.name, part, found.get(part.name), rows) for part in inputs}
    states = {part.name: part.feedback for part in inputs if part.feedback and part.name not in found}
    feeds = _carried(source, states, feeds, rows)
    labels = arrays.get(_LABELS) if _LABELS not in {part.name for part in inputs} else None
    if labels is not None and labels.shape != (rows,):
        raise TensorDataError(f"{path.name}: labels have the shape {list(labels.shape)}, not [{rows}].")
    kept = [i * rows // MAX_CALLS for i in range(MAX_CALLS)] if rows > MAX_CALLS else list(range(rows))
    said = () if labels is None else tuple(str(labels[i]) for i in kept)
    return take_rows(feeds, kept), said


def _load(path: Path) -> dict[str, NDArray[Any]]:
    try:
        return read_arrays(path)
    except BadArraysError as error:
        raise TensorDataError(f"{path.name} is no .npz of arrays: {error}.") from error


def _values(file: str, part: InputPart, values: NDArray[Any] | None, rows: int) -> NDArray[Any]:
    if values is None:
        if part.kind == "constant":
            return constant(part, rows)
        if part.kind == "state" and part.feedback:
            return np.zeros((rows, *part.shape), part.dtype)
        raise TensorDataError(f"{file} has no array {part.name!r}.")
    if values.shape[1:] != part.shape or str(values.dtype) != part.dtype:
        wanted = f"{part.dtype} [{rows}, {', '.join(map(str, part.shape))}]"
        raise TensorDataError(
            f"{file}: {part.name!r} is {values.dtype} {list(values.shape)}, and has to be {wanted}."
        )
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise TensorDataError(f"{file}: {part.name!r} has values that are not finite.")
    return values


def _truths(labels: Sequence[str], spec: TensorSpec) -> NDArray[np.intp]:
    if not labels:
        return NO_TRUTHS
    numbers = {label: i for i, label in enumerate(spec.model.labels)}
    foreign = sorted(set(labels) - set(numbers))
    if foreign:
        raise TensorDataError(f"{spec.data.holdout}: {foreign[0]!r} is not among the model's labels.")
    return np.array([numbers[label] for label in labels], np.intp)
