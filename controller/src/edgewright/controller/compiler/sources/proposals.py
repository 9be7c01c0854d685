"""What can be guessed about a model from its file alone: a first declaration, and what a person has to check.

Open sizes and kinds of inputs are found by trying: the first sizes with which the model runs are proposed.
That it runs does not make them right, so each guess is said. Nothing here is used silently: `edgewright init`
writes the guesses into a file, and a bare file that is compiled carries them in its notes.
"""

import re
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from edgewright.controller.compiler.ort import Session
from edgewright.controller.compiler.sources import onnxgraph
from edgewright.controller.compiler.sources.drawing import draw_calls
from edgewright.controller.compiler.sources.exported import ONNX_MAKERS, export_onnx
from edgewright.controller.compiler.sources.files import read_file
from edgewright.controller.compiler.sources.ports import OpenPort, Size
from edgewright.controller.compiler.sources.proposal import DRAWN, Picture, Proposal
from edgewright.controller.compiler.sources.tflitefile import is_tflite, look_at_tflite
from edgewright.controller.errors import InputShapeError, OpenShapeError, UnknownOperatorError
from edgewright.controller.model_tensors import (
    MOST_VALUES,
    InputPart,
    SyntheticPart,
    TensorDataPart,
    TensorModelPart,
    TensorSpec,
)
from edgewright.controller.model_toml import LicencePart

ONNX_TARGETS: Final = ("x86_64-ort-cpu", "aarch64-ort-cpu")
TFLITE_TARGETS: Final = ("aarch64-litert",)

_PICTURE_SIZES: Final = (224, 320, 640, 256, 128, 64, 48, 32, 96, 416)
_LINE_OF_TEXT: Final = 320
"""Width of a picture whose height is fixed: these are lines of text, mostly."""

_TEXT_SIZES: Final = (128, 64, 32, 16, 256, 512, 1)
_SIGNAL_SIZES: Final = (576, 512, 256, 1024, 128, 64, 32, 16, 8, 4, 2, 16000, 1)
"""Of sound, state and measurements; 576 are 512 samples with 64 of context, as voice detectors take them."""

_LARGEST_WHOLE: Final = (255, 9, 1, 0)
"""Upper ends of whole numbers: bytes, then small vocabularies, then flags."""

_SAMPLE_RATE: Final = re.compile(r"^(sr|rate|sample_?rate|fs)$", re.IGNORECASE)
_LENGTH: Final = re.compile(r"len|size|count|num", re.IGNORECASE)
_RATE_HZ: Final = 16000
_PICTURE_CHANNELS: Final = (1, 3)
_SMALLEST_PICTURE: Final = 8
_MOST_CLASSES: Final = 100_000
_BATCH: Final = frozenset({"batch", "batch_size", "N"})
"""How exporters call the axis that counts examples, wherever it stands."""

_FEWEST_ROWS: Final = 8
_MOST_ROWS: Final = 64
_FEEDS_BYTES: Final = 32 << 20


def propose(path: Path) -> Proposal:
    """Look at a model's file.

    Raises:
        ModelError: the file cannot be compiled; the number says why.
    """
    data = read_file(path)
    if path.suffix in ONNX_MAKERS:
        data = export_onnx(path, ())
    if is_tflite(data):
        found, leaving = look_at_tflite(data)
        outputs = {port.name: tuple(int(size) for size in port.shape or ()) for port in leaving}
        return _proposal(path, _Tried(found, next(_attempts(found, leaving)), outputs), TFLITE_TARGETS)
    return _proposal(path, _try_onnx(data, path.parent), ONNX_TARGETS)


def model_name(path: Path) -> str:
    """A name for a model from its file's name."""
    plain = re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-")[:64].strip("-")
    return plain if plain not in ("", "root", "targets", "snapshot", "timestamp") else "model"


@dataclass(frozen=True)
class _Tried:
    """A declaration with which the model runs.

    Attributes:
        found: the inputs in the file.
        inputs: what is declared of them.
        outputs: shapes of the outputs.
        probabilities: outputs that come out of a Softmax.
    """

    found: tuple[OpenPort, ...]
    inputs: tuple[InputPart, ...]
    outputs: dict[str, tuple[int, ...]]
    probabilities: frozenset[str] = frozenset()


def _try_onnx(data: bytes, beside: Path) -> _Tried:
    model = onnxgraph.read_proto(data, beside)
    ports = onnxgraph.open_inputs(model), onnxgraph.open_outputs(model)
    onnxgraph.verify_nodes(model)
    found, leaving = ports
    ranks = [port.name for port in found if port.shape is None]
    if ranks:
        raise OpenShapeError(f"The model does not say how many axes its input {ranks[0]!r} has.")
    session = _load(model)
    first: InputShapeError | None = None
    for parts in _attempts(found, leaving):
        if any(prod(part.shape) > MOST_VALUES for part in parts):
            continue
        try:
            outputs = session.run_calls(draw_calls(parts, 1, 1))
        except InputShapeError as error:
            first = first or error
            continue
        shapes = {name: values.shape[1:] for name, values in outputs.items()}
        return _Tried(found, parts, shapes, onnxgraph.outputs_of(model, "Softmax"))
    if first and not any(port.is_open for port in found):
        raise first
    said = first.sentence if first else "They are too large."
    raise OpenShapeError(f"None of the sizes and values that were tried runs: {said}")


def _load(model: Any) -> Session:
    try:
        return Session(model.SerializeToString())
    except UnknownOperatorError:
        newer = onnxgraph.converted(model) if onnxgraph.is_old(model) else None
        if newer is None:
            raise
        return Session(newer.SerializeToString())


def _attempts(found: Sequence[OpenPort], leaving: Sequence[OpenPort]) -> Iterator[tuple[InputPart, ...]]:
    """Declarations of the inputs that are worth a try, the likeliest first."""
    wholes = any(np.dtype(port.dtype).kind in "iu" for port in found)
    batch = {port.shape[0] for port in found if port.shape and isinstance(port.shape[0], str)} - {""}
    for size, high in product(_sizes(found), _LARGEST_WHOLE if wholes else (1,)):
        yield tuple(_part(port, size, high, leaving, batch | _BATCH) for port in found)


def _sizes(found: Sequence[OpenPort]) -> tuple[int, ...]:
    """What open sizes behind the first may be; all of a model's are tried as one number."""
    opened = [port for port in found if any(isinstance(size, str) for size in (port.shape or ())[1:])]
    if not opened:
        return (1,)
    pictures = [port.shape or () for port in opened if _is_picture(port)]
    if pictures:
        side_known = any(isinstance(size, int) and size > max(_PICTURE_CHANNELS) for size in pictures[0])
        return (_LINE_OF_TEXT, *_PICTURE_SIZES) if side_known else _PICTURE_SIZES
    if any(np.dtype(port.dtype).kind in "iu" for port in opened):
        return _TEXT_SIZES
    return _SIGNAL_SIZES


def _is_picture(port: OpenPort) -> bool:
    shape = port.shape or ()
    return len(shape) == 4 and (shape[1] in _PICTURE_CHANNELS or shape[3] in _PICTURE_CHANNELS)


def _part(port: OpenPort, size: int, high: int, leaving: Sequence[OpenPort], batch: Set[Size]) -> InputPart:
    kind = np.dtype(port.dtype).kind
    output = _state_of(port, leaving) if kind == "f" else ""
    shape = tuple(
        own if isinstance(own, int) else 1 if axis == 0 or own in batch or output else size
        for axis, own in enumerate(port.shape or ())
    )
    if kind in "iu" and (not shape or (prod(shape) == 1 and _LENGTH.search(port.name))):
        value = _RATE_HZ if _SAMPLE_RATE.match(port.name) else size if _LENGTH.search(port.name) else 1
        return InputPart(name=port.name, dtype=port.dtype, shape=shape, kind="constant", value=value)
    if output:
        return InputPart(name=port.name, dtype=port.dtype, shape=shape, kind="state", feedback=output)
    if port.scale:
        low, top = _edges(port.dtype)
    elif kind == "f" and not _is_picture(port):
        low, top = -1.0, 1.0
    else:
        low, top = 0.0, float(high)
    return InputPart(name=port.name, dtype=port.dtype, shape=shape, low=low, high=top)


def _edges(dtype: str) -> tuple[float, float]:
    info = np.iinfo(dtype)
    return float(info.min), float(info.max)


def _state_of(port: OpenPort, leaving: Sequence[OpenPort]) -> str:
    """The output that looks as if it became this input in the next call: alike in name, type and sizes."""
    for output in leaving:
        alike = output.name != port.name and output.name.lower().startswith(port.name.lower())
        if alike and output.dtype == port.dtype and _may_be_equal(output.shape, port.shape):
            return output.name
    return ""


def _may_be_equal(first: tuple[int | str, ...] | None, second: tuple[int | str, ...] | None) -> bool:
    if first is None or second is None:
        return True
    return len(first) == len(second) and all(
        isinstance(a, str) or isinstance(b, str) or a == b for a, b in zip(first, second, strict=True)
    )


def _proposal(path: Path, tried: _Tried, targets: tuple[str, ...]) -> Proposal:
    decision = _decision(tried.outputs)
    row_bytes = sum(prod(part.shape) * np.dtype(part.dtype).itemsize for part in tried.inputs)
    rows = max(_FEWEST_ROWS, min(_MOST_ROWS, _FEEDS_BYTES // max(1, row_bytes)))
    spec = TensorSpec(
        targets=targets,
        model=TensorModelPart(name=model_name(path), file=path.name, licence="unknown", decision=decision),
        inputs=tried.inputs,
        data=TensorDataPart(synthetic=SyntheticPart(seed=1, rows=rows)),
        licence=LicencePart(unknown="warn"),
    )
    return Proposal(spec, tuple(_guesses(tried)), _picture(tried, decision))


def _decision(outputs: dict[str, tuple[int, ...]]) -> str:
    """The one output that is a row of numbers, if there is one."""
    rows = [name for name, shape in outputs.items() if len(shape) == 2 and shape[0] == 1 and shape[1] > 1]
    return rows[0] if len(rows) == 1 and len(outputs) == 1 else ""


def _picture(tried: _Tried, decision: str) -> Picture | None:
    part = tried.inputs[0]
    if len(tried.inputs) != 1 or not decision or not _is_picture(tried.found[0]):
        return None
    shape, classes = part.shape, tried.outputs[decision][1]
    layout: Literal["NCHW", "NHWC"] = "NCHW" if shape[1] in _PICTURE_CHANNELS else "NHWC"
    channels, height, width = shape[1:] if layout == "NCHW" else (shape[3], shape[1], shape[2])
    large_enough = min(height, width) >= _SMALLEST_PICTURE
    if np.dtype(part.dtype).kind != "f" or not large_enough or classes > _MOST_CLASSES or shape[0] != 1:
        return None
    return Picture(layout, channels, height, width, decision, classes, decision in tried.probabilities)


def _guesses(tried: _Tried) -> Iterator[str]:
    for port, part in zip(tried.found, tried.inputs, strict=True):
        if any(isinstance(size, str) for size in (port.shape or ())[1:]):
            shape = ", ".join(str(size) if size else "any" for size in port.shape or ())
            yield (
                f"The input {port.name!r} has the shape [{shape}] in the file; {list(part.shape)} was tried "
                "and runs, and may not be what the device will use."
            )
        if part.kind == "constant":
            yield f"The input {port.name!r} was taken for a constant of {part.value:g}."
        elif part.kind == "state":
            yield f"The input {port.name!r} was taken for a state that the output {part.feedback!r} becomes."
    yield DRAWN
