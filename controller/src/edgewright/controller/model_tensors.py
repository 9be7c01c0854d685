"""model.toml of a model whose inputs are tensors: audio, text, sensors, state. Read into frozen values.

It has ``[[inputs]]`` where a model for the line has ``[input]`` and ``[preprocessing]``. Such a model is
compiled by `edgewright compile` like any other; it cannot be pushed, because the robots' line gives a model
camera frames and nothing else (E119).

Names, element types and shapes are the model's own, and every size is a number: it is the one that the device
will use, so it is also the one that gates are measured with. Where the file leaves a size open, it is decided
here.

The data are NumPy ``.npz`` files without pickled objects: one array an input, named as the input, with the
input's shape behind an axis that counts calls. A constant needs no array. A state needs none either: it
begins with zeros and is carried from row to row, as on the device. Where there are no recordings yet,
``synthetic`` in ``[data]`` draws inputs from a seed. That shows that an artifact computes what the model
computes, and says nothing of how good the model is; reports and cards say so.
"""

import tomllib
from math import prod
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import tomli_w

from edgewright.controller.errors import ModelTomlError
from edgewright.controller.model_toml import (
    FILE_NAME,
    GatesPart,
    LicencePart,
    check_gates,
    check_name,
    check_path,
    check_range,
    name_entry,
)

Kind = Literal["signal", "state", "constant"]
DTYPES: Final = frozenset(
    {
        "float16", "float32", "float64", "bool",
        "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    }
)  # fmt: skip
MOST_VALUES: Final = 1 << 24
"""Of one tensor; 64 MiB of float32. A shape beyond that is a mistake."""

MOST_DRAWN: Final = 1 << 29
"""Values of all inputs of all drawn calls."""


class TensorModelPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the model is.

    Attributes:
        name: 1 to 64 small letters, digits and inner hyphens.
        file: the model: .onnx or .tflite, or .keras or .pt2 where the toolchain that reads it is installed.
        licence: of the weights and of what they were trained on.
        decision: the output that carries one logit or probability a label; empty where the model decides
            nothing by its largest value.
        labels: classes of that output in its order; may be empty.
    """

    name: str
    file: str
    licence: str
    decision: str = ""
    labels: tuple[str, ...] = ()


class InputPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One input of the model.

    Attributes:
        name: as in the model.
        dtype: NumPy's name of the element type.
        shape: all sizes; 1 for the batch axis where there is one; empty for a single number.
        kind: signal for what changes with each call, state for what the model gave in the call before,
            constant for what never changes.
        feedback: the output that becomes this state; needed where the data do not hold the state.
        value: of a constant, in all its places.
        low, high: synthetic signals lie between them.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    kind: Kind = "signal"
    feedback: str = ""
    value: float = 0.0
    low: float = 0.0
    high: float = 1.0


class OutputTensorPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One output of the model. Those that are not listed are taken from the model as they are.

    Attributes:
        name: as in the model.
        dtype: NumPy's name of the element type.
        shape: all sizes.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]


class SyntheticPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Inputs that are drawn instead of recorded.

    Attributes:
        seed: of the random numbers.
        rows: calls for the calibration, and again as many for the holdout.
    """

    seed: int = 1
    rows: int = 64


class TensorDataPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Recorded calls, or how to draw them; see the top of this page.

    Attributes:
        calibration: ``.npz`` with calls that show which values occur; empty with ``synthetic``.
        holdout: ``.npz`` with calls that judge; an array ``labels`` (text) may name each call's true class.
        synthetic: draw both; a table with ``seed`` and ``rows``.
    """

    calibration: str = ""
    holdout: str = ""
    synthetic: SyntheticPart | None = None


class TensorLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an artifact may take, 0 for any.

    Attributes:
        latency_us: median of one inference on one thread, microseconds.
        memory_mb: resident memory that loading and running it adds, MiB.
    """

    latency_us: float = 0.0
    memory_mb: float = 0.0


class TensorSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All of the model.toml of a tensor model; the parts are its tables.

    Attributes:
        targets: device targets to compile for, as `edgewright targets` lists them.
    """

    targets: tuple[str, ...]
    model: TensorModelPart
    inputs: tuple[InputPart, ...]
    outputs: tuple[OutputTensorPart, ...] = ()
    data: TensorDataPart
    limits: TensorLimits = TensorLimits()
    gates: GatesPart = GatesPart()
    licence: LicencePart = LicencePart()


def is_tensor_model(folder: Path) -> bool:
    """Whether the folder's model.toml describes a tensor model; False where it cannot be read."""
    try:
        return "inputs" in tomllib.loads((folder / FILE_NAME).read_text())
    except (OSError, ValueError, RecursionError):
        return False


def read_tensor_model(folder: Path) -> TensorSpec:
    """Read a model folder's model.toml and check that the files it names are there.

    Raises:
        ModelTomlError: the file is missing or wrong; the sentence names the entry.
    """
    try:
        text = (folder / FILE_NAME).read_bytes()
    except OSError as error:
        raise ModelTomlError(f"{FILE_NAME} cannot be read: {error.strerror}.") from error
    spec = parse_tensor_model(text)
    for entry, name in named_files(spec):
        if not (folder / name).is_file():
            raise ModelTomlError(f"{entry}: the folder has no file {name!r}.")
    return spec


def parse_tensor_model(text: bytes) -> TensorSpec:
    """Read the text of a tensor model's model.toml.

    Raises:
        ModelTomlError: it is wrong; the sentence names the entry.
    """
    try:
        table = tomllib.loads(text.decode())
    except (ValueError, RecursionError) as error:  # the parser's own, bad UTF-8, numbers without end, nesting
        raise ModelTomlError(f"{FILE_NAME} is no TOML: {error}.") from error
    try:
        spec = msgspec.convert(table, TensorSpec)
    except msgspec.ValidationError as error:
        raise ModelTomlError(name_entry(str(error))) from error
    check_tensor_spec(spec)
    return spec


def write_tensor_model(spec: TensorSpec) -> bytes:
    """The text of a model.toml that reads back as ``spec``."""
    table = msgspec.to_builtins(spec)
    if table["data"]["synthetic"] is None:
        del table["data"]["synthetic"]
    return tomli_w.dumps(table).encode()


def named_files(spec: TensorSpec) -> list[tuple[str, str]]:
    """Entry and name of each file that the declaration names."""
    named = [("[model] file", spec.model.file)]
    optional = [("[data] calibration", spec.data.calibration), ("[data] holdout", spec.data.holdout)]
    return named + [(entry, name) for entry, name in optional if name]


def check_tensor_spec(spec: TensorSpec) -> None:
    """What the types alone do not say.

    Raises:
        ModelTomlError: an entry is wrong; the sentence names it.
    """
    check_name(spec.model.name)
    check_gates(spec.targets, spec.gates)
    for entry, name in named_files(spec):
        check_path(entry, name)
    _check_data(spec.data)
    _check_ports(spec)
    drawn = spec.data.synthetic
    if drawn and drawn.rows * sum(prod(part.shape) for part in spec.inputs) > MOST_DRAWN:
        raise ModelTomlError(f"[data] synthetic.rows: {drawn.rows} calls of this size are too many.")
    labels = spec.model.labels
    if labels and (len(labels) < 2 or len(set(labels)) != len(labels) or not all(labels)):
        raise ModelTomlError("[model] labels: there have to be at least two, all different, none empty.")
    if labels and not spec.model.decision:
        raise ModelTomlError("[model] decision: labels need the name of the output that they belong to.")
    for entry, value in (
        ("[limits] latency_us", spec.limits.latency_us),
        ("[limits] memory_mb", spec.limits.memory_mb),
    ):
        check_range(entry, value, 0, float("inf"))


def _check_data(data: TensorDataPart) -> None:
    if data.synthetic:
        if data.calibration or data.holdout:
            raise ModelTomlError("[data] synthetic: it stands in place of calibration and holdout.")
        check_range("[data] synthetic.rows", data.synthetic.rows, 2, 4096)
        check_range("[data] synthetic.seed", data.synthetic.seed, 0, 2**32)
    elif not data.calibration or not data.holdout:
        raise ModelTomlError("[data] name calibration and holdout, or synthetic where nothing is recorded.")
    elif data.calibration == data.holdout:
        raise ModelTomlError("[data] holdout: gates need calls that the calibration does not use.")


def _check_ports(spec: TensorSpec) -> None:
    if not spec.inputs:
        raise ModelTomlError("[[inputs]]: a model needs at least one.")
    ports: list[tuple[str, Any]] = [("[[inputs]]", part) for part in spec.inputs]
    ports += [("[[outputs]]", part) for part in spec.outputs]
    for table, part in ports:
        if part.dtype not in DTYPES:
            raise ModelTomlError(f"{table} {part.name!r} dtype: {part.dtype!r} is none of {_listed(DTYPES)}.")
        values = 1
        for size in part.shape:
            values *= size
            if size < 1 or values > MOST_VALUES:
                raise ModelTomlError(f"{table} {part.name!r} shape: {list(part.shape)} is no shape of sizes.")
    for part in spec.inputs:
        _check_input(part)
    for table, names in (
        ("[[inputs]]", [part.name for part in spec.inputs]),
        ("[[outputs]]", [part.name for part in spec.outputs]),
    ):
        if len(set(names)) != len(names) or not all(names):
            raise ModelTomlError(f"{table} name: all have to be different, and none empty.")


def _check_input(part: InputPart) -> None:
    entry = f"[[inputs]] {part.name!r}"
    if part.feedback and part.kind != "state":
        raise ModelTomlError(f"{entry} feedback: only a state comes from an output.")
    limits = (part.low, part.high, part.value)
    if not part.low <= part.high or not all(abs(number) <= 1e30 for number in limits):
        raise ModelTomlError(f"{entry} low: it has to be at most high, and both finite.")
    whole = part.dtype not in ("float16", "float32", "float64", "bool")
    if whole and any(number != int(number) for number in limits):
        raise ModelTomlError(f"{entry}: {part.dtype} needs whole numbers for low, high and value.")


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))
