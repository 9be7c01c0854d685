"""Any ONNX file as a source: canonical, its ports fixed, proven to run; or a sentence that says what to do.

What is changed is said in notes, and checked by running: a file of an old operator set is converted, and the
conversion is used where it gives the same outputs. Whether many examples fit into one call is not believed
from the names of sizes either; three examples together have to give what they give one by one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from edgewright.controller.compiler.graph import canonical_graph
from edgewright.controller.compiler.ort import Session
from edgewright.controller.compiler.sources import onnxgraph
from edgewright.controller.compiler.sources.drawing import draw_calls
from edgewright.controller.compiler.sources.ports import OpenPort, Size, match_inputs
from edgewright.controller.compiler.subject import Feeds, Format, Outputs, Port
from edgewright.controller.errors import (
    InputShapeError,
    ModelError,
    OpenShapeError,
    TensorTypeError,
    UnknownOperatorError,
)
from edgewright.controller.model_tensors import InputPart

PROBE_SEED: Final = 20
PROBE_ROWS: Final = 3
SAME: Final = 1e-3
"""Largest difference, relative to the largest value of an output, between two ways to compute the same."""

_BATCH: Final = "n"


@dataclass(frozen=True)
class Source:
    """A model that can be compiled.

    Attributes:
        model: canonical ONNX, or a TFLite file as it came.
        format: of it.
        inputs, outputs: its ports.
        batches: see ``Subject.batches``.
        quantised: it computes with stored integers already.
        names: names that were changed, old to new.
        notes: sentences for people.
    """

    model: bytes
    format: Format
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    batches: bool = False
    quantised: bool = False
    names: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_onnx(
    data: bytes,
    declared: Sequence[InputPart],
    beside: Path | None = None,
    *,
    keep_names: bool = False,
) -> Source:
    """The source in an ONNX file.

    Args:
        data: the file.
        declared: what model.toml says of inputs: sizes, and values to try the model with. Inputs that it
            does not name have to have all sizes in the file.
        beside: its folder, for weights in files of their own.
        keep_names: whether names of ports stay, whatever they are.

    Raises:
        ModelError: the file cannot be compiled; the number says why.
    """
    model = onnxgraph.read_proto(data, beside)
    found, leaving = onnxgraph.open_inputs(model), onnxgraph.open_outputs(model)
    onnxgraph.verify_nodes(model)
    model = onnxgraph.inlined(model)
    notes = onnxgraph.tidy(model)
    ports = match_inputs(found, declared)
    names = {} if keep_names else onnxgraph.rename_ports(model)
    notes += [f"{old!r} is called {new!r} in artifacts." for old, new in names.items()]
    inputs = tuple(Port(names.get(port.name, port.name), port.dtype, port.shape) for port in ports)
    probe = _probe(inputs, ports, declared)
    form = _newer(_runnable(model, inputs, leaving, probe), probe)
    outputs = _observe(form)
    model, batches = form.model, False
    if _open_batch(found, leaving, inputs, outputs) and (batched := _batched(form, inputs, outputs, probe)):
        model, batches = batched, True
    elif form.fixed:
        onnxgraph.fix_shapes(model, _shapes(inputs), _shapes(outputs))
    return Source(
        model=canonical_graph(model.SerializeToString(deterministic=True)),
        format="onnx",
        inputs=inputs,
        outputs=outputs,
        batches=batches,
        quantised=onnxgraph.is_quantised(model),
        names=names,
        notes=(*notes, *form.notes),
    )


def _probe(inputs: Sequence[Port], ports: Sequence[Port], declared: Sequence[InputPart]) -> Feeds:
    """Calls to try the model with, by the ports' new names."""
    parts = {part.name: part for part in declared}
    drawn = [
        msgspec.structs.replace(
            parts.get(port.name, InputPart(name=port.name, dtype=port.dtype, shape=port.shape)),
            name=own.name,
        )
        for own, port in zip(inputs, ports, strict=True)
    ]
    return draw_calls(drawn, PROBE_ROWS, PROBE_SEED)


@dataclass(frozen=True)
class _Form:
    """A graph that runs.

    Attributes:
        model: the ``onnx.ModelProto``.
        outputs: what it gives for the probe.
        fixed: whether its inputs' sizes are written into it.
        notes: sentences for people.
    """

    model: Any
    outputs: Outputs
    fixed: bool
    notes: tuple[str, ...] = ()


def _runnable(model: Any, inputs: Sequence[Port], leaving: Sequence[OpenPort], probe: Feeds) -> _Form:
    """The model with its sizes written in; or as it came, where only that runs.

    A branch that such an input never takes may contradict its sizes; then no runtime loads the fixed form.
    Nor does any load operators of the oldest sets; then the conversion is all there is.
    """
    fixed = _copy(model)
    # The outputs' sizes are forgotten: what the model gives is observed.
    unknown = [(port.name, tuple("" for _ in port.shape or ())) for port in _renamed(model, leaving)]
    onnxgraph.fix_shapes(fixed, _shapes(inputs), unknown)
    for value, port in zip(fixed.graph.output, leaving, strict=True):
        if port.shape is None:
            value.type.tensor_type.ClearField("shape")
    try:
        return _Form(fixed, _run(fixed, probe), fixed=True)
    except (UnknownOperatorError, InputShapeError):
        if (found := _try(model, probe)) is not None:
            said = "Sizes stay open in the file, because its branches contradict fixed ones."
            return _Form(model, found, fixed=False, notes=(said,))
        newer = _convert(fixed)
        if newer is not None and (found := _try(newer, probe)) is not None:
            said = f"The file's operator set was converted to {onnxgraph.OPSET}; the runtime has none so old."
            return _Form(newer, found, fixed=True, notes=(said,))
        raise


def _renamed(model: Any, ports: Sequence[OpenPort]) -> Iterator[OpenPort]:
    for value, port in zip(model.graph.output, ports, strict=True):
        yield replace(port, name=value.name)


def _copy(model: Any) -> Any:
    copied = type(model)()
    copied.CopyFrom(model)
    return copied


def _shapes(ports: Sequence[Port]) -> list[tuple[str, tuple[Size, ...]]]:
    return [(port.name, port.shape) for port in ports]


def _newer(form: _Form, probe: Feeds) -> _Form:
    """The model in a newer operator set where its own is old and the conversion gives the same outputs."""
    if not onnxgraph.is_old(form.model):
        return form
    said = f"The file's operator set {onnxgraph.default_opset(form.model)}"
    newer = _convert(form.model)
    found = None if newer is None else _try(newer, probe)
    if newer is None or found is None or not _same(form.outputs, found):
        why = "because converting it does not give the same outputs"
        return replace(form, notes=(*form.notes, f"{said} was left as it is, {why}."))
    return _Form(newer, found, form.fixed, (*form.notes, f"{said} was converted to {onnxgraph.OPSET}."))


def _convert(model: Any) -> Any | None:
    newer = onnxgraph.converted(model) if onnxgraph.is_old(model) else None
    if newer is not None:
        onnxgraph.tidy(newer)
    return newer


def _try(model: Any, probe: Feeds) -> Outputs | None:
    try:
        return _run(model, probe)
    except ModelError:
        return None


def _run(model: Any, feeds: Feeds, *, batches: bool = False) -> Outputs:
    return Session(model.SerializeToString()).run_calls(feeds, batches=batches)


def _same(first: Outputs, second: Outputs) -> bool:
    if set(first) != set(second):
        return False
    for name, values in first.items():
        others = second[name]
        if values.shape != others.shape or values.dtype != others.dtype:
            return False
        if values.dtype.kind == "f":
            reach = SAME * max(1e-6, float(np.max(np.abs(np.nan_to_num(values)), initial=0.0)))
            if not np.allclose(values, others, rtol=SAME, atol=reach, equal_nan=True):
                return False
        elif np.mean(values != others) > SAME:
            return False
    return True


def _observe(form: _Form) -> tuple[Port, ...]:
    """The outputs' element types and sizes, as they come.

    Raises:
        OpenShapeError: a size depends on the data.
    """
    found = form.outputs
    for name, values in found.items():
        if not values.size:
            raise OpenShapeError(f"The output {name!r} was empty: its size depends on the data.")
        if values.dtype.kind not in "fiub":
            raise TensorTypeError(f"The output {name!r} has the element type {values.dtype}.")
    return tuple(Port(name, str(values.dtype), values.shape[1:]) for name, values in found.items())


def _open_batch(
    found: Sequence[OpenPort], leaving: Sequence[OpenPort], inputs: Sequence[Port], outputs: Sequence[Port]
) -> bool:
    """Whether the file leaves the first size of every port open, and it is 1 here."""
    ones = all(port.shape[:1] == (1,) for port in (*inputs, *outputs))
    given = all(port.shape and isinstance(port.shape[0], str) for port in found)
    return ones and given and all(port.shape is None or isinstance(port.shape[0], str) for port in leaving)


def _batched(form: _Form, inputs: Sequence[Port], outputs: Sequence[Port], probe: Feeds) -> Any | None:
    """The model with its first size left open; None where examples change each other."""
    opened = _copy(form.model)
    ports: list[tuple[str, tuple[Size, ...]]] = [
        (port.name, (_BATCH, *port.shape[1:])) for port in (*inputs, *outputs)
    ]
    onnxgraph.fix_shapes(opened, ports, ())
    try:
        found = _run(opened, probe, batches=True)
    except (InputShapeError, UnknownOperatorError):
        return None
    return opened if _same(form.outputs, found) else None
