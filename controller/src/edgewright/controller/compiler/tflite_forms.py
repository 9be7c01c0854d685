"""Forms of a model for TFLite runtimes: fp32 first, then int8 ones as long as somebody asks.

An ONNX source is written as a float TFLite file by onnx2tf. Its inputs keep their names and their order of
axes, so a device prepares the same input for every target; one transposition inside costs nothing that could
be measured beside the convolutions. A TFLite source is its own first form, and its only one if it is
quantised already. An ONNX source that is quantised already is converted and not quantised a second time.

int8 forms come from AI Edge Quantizer, weights always per channel:

- *int8*: activations too, with ranges from the calibration calls; inputs and outputs are int8 with scales,
  which runtimes' adapters on devices know. The fastest.
- *int8, dynamic*: activations get their scale anew in each run. Nearly exact, and often slower than fp32 in
  depthwise convolutions; the gates know.
- *int8, weights*: weights alone are stored as int8. A quarter of the size, and the latency of fp32.

Both tools run in environments of their own (``toolchains``) and give the same bytes for the same input, so
the last results are kept for the next target of the same build.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final

from edgewright.controller.compiler.candidate import AS_IT_CAME, Candidate
from edgewright.controller.compiler.gates import Verdict, came_quantised, left_out
from edgewright.controller.compiler.graph import parse_graph
from edgewright.controller.compiler.graphedit import is_quantised
from edgewright.controller.compiler.ort import Quantiser
from edgewright.controller.compiler.sources.onnxgraph import fix_shapes
from edgewright.controller.compiler.sources.ports import fixed_shape
from edgewright.controller.compiler.sources.tflitefile import is_quantised_tflite, look_at_tflite
from edgewright.controller.compiler.subject import Feeds, Subject, rows_of
from edgewright.controller.compiler.targets import Target
from edgewright.controller.compiler.toolchains.places import require
from edgewright.controller.compiler.toolchains.running import INSIDE, pack_arrays, run_in
from edgewright.controller.compiler.within import spread_rows
from edgewright.controller.errors import GateFailedError, ToolchainFailedError, UnknownOperatorError

CONVERTER: Final = "onnx2tf"
QUANTISER: Final = "ai-edge-quantizer"

FORMS: Final[Mapping[str, str]] = {"int8": "static", "int8, dynamic": "dynamic", "int8, weights": "weights"}
"""Recipes by the candidate's name, the preferred first."""

MOST_CALLS: Final = 256
"""Ranges hardly widen beyond, and the quantiser looks at every tensor of every call."""

_KEPT: Final = 3
"""Results of a tool that are kept: a build's targets need the same ones."""

LeaveOut = Callable[[Verdict], None]


def tflite_candidates(
    subject: Subject, target: Target, leave_out: LeaveOut = lambda _verdict: None
) -> Iterator[Candidate]:
    """Forms of the model for a TFLite runtime, made when they are asked for.

    Args:
        subject: what is compiled, ONNX or TFLite.
        target: for what.
        leave_out: told of an int8 form that could not be made.

    Raises:
        ToolchainMissingError: a tool that makes them is not installed.
        ToolchainFailedError: the converter ended without a result.
        UnknownOperatorError: TFLite cannot express the model.
    """
    allowed = [precision for precision in target.precisions if precision in subject.gates.precisions]
    if subject.format == "tflite" and is_quantised_tflite(subject.model):
        if "int8" in allowed:
            yield Candidate(AS_IT_CAME, "int8", subject.model, "tflite")
        else:
            leave_out(came_quantised(target.name, allowed))
        return
    fp32, tools = subject.model, dict[str, str]()
    if subject.format == "onnx":
        fp32, tools = convert(subject), _tool(CONVERTER)
    yield Candidate("fp32", "fp32", fp32, "tflite", tools=tools)
    if "int8" not in allowed:
        return
    if subject.format == "onnx" and is_quantised(subject.model):
        leave_out(left_out("int8", "int8", "the model came quantised, and is not quantised a second time"))
        return
    tools = {**tools, **_tool(QUANTISER)}
    for name, form in FORMS.items():
        try:
            model = quantise(fp32, form, subject.calibration)
            if not is_quantised_tflite(model):
                raise GateFailedError("the quantiser found nothing to quantise")
        except GateFailedError as error:
            leave_out(left_out(name, "int8", error.sentence.rstrip(".")))
            continue
        yield Candidate(name, "int8", model, "tflite", tools=tools)


def convert(subject: Subject) -> bytes:
    """An ONNX subject as a float TFLite file with the same ports.

    All sizes are fixed first: with an open batch axis the file works paddings out at run time, by operators
    that no delegate takes. The converter is given the graph as it is, and where it fails, once more with its
    constants folded.

    Raises:
        ToolchainMissingError: the converter is not installed.
        UnknownOperatorError: TFLite cannot express the model.
    """
    require(CONVERTER)
    fixed = _fixed(subject)
    try:
        return _same_ports(subject, _converted(fixed))
    except (ToolchainFailedError, UnknownOperatorError) as error:
        first = error
    try:
        return _same_ports(subject, _converted(Quantiser(fixed).optimised))
    except (ToolchainFailedError, UnknownOperatorError, GateFailedError):
        why = first.sentence.rstrip(".")
        raise UnknownOperatorError(f"The model cannot be written as TFLite: {why}.") from first


def quantise(model: bytes, form: str, calibration: Feeds) -> bytes:
    """A quantised form of a float TFLite file.

    Args:
        model: the file.
        form: a recipe of ``inside/quantise_tflite.py``.
        calibration: calls that show the ranges of activations.

    Raises:
        ToolchainMissingError: the quantiser is not installed.
        GateFailedError: it cannot quantise this model so.
    """
    require(QUANTISER)
    calls = spread_rows(calibration, MOST_CALLS)
    if not rows_of(calls):
        raise GateFailedError("There are no calibration data.")
    return _quantised(model, form, tuple(calls), pack_arrays(calls))


def _fixed(subject: Subject) -> bytes:
    model = parse_graph(subject.model)
    inputs, outputs = (
        [(port.name, port.shape) for port in ports] for ports in (subject.inputs, subject.outputs)
    )
    fix_shapes(model, inputs, outputs)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


@lru_cache(maxsize=_KEPT)
def _converted(model: bytes) -> bytes:
    with tempfile.TemporaryDirectory(prefix="edgewright-convert-") as place:
        folder = Path(place)
        (folder / "source.onnx").write_bytes(model)
        run_in(CONVERTER, INSIDE / "convert_onnx2tf.py", {}, folder)
        return (folder / "float.tflite").read_bytes()


@lru_cache(maxsize=_KEPT)
def _quantised(model: bytes, form: str, names: tuple[str, ...], calls: bytes) -> bytes:
    with tempfile.TemporaryDirectory(prefix="edgewright-quantise-") as place:
        folder = Path(place)
        (folder / "float.tflite").write_bytes(model)
        (folder / "feeds.npz").write_bytes(calls)
        try:
            run_in(QUANTISER, INSIDE / "quantise_tflite.py", {"form": form, "feeds": list(names)}, folder)
        except ToolchainFailedError as error:
            raise GateFailedError(error.sentence) from error
        return (folder / "quantised.tflite").read_bytes()


def _same_ports(subject: Subject, model: bytes) -> bytes:
    """Demand the subject's ports, by name and sizes: a device feeds and reads by them."""
    for wanted, found in zip((subject.inputs, subject.outputs), look_at_tflite(model), strict=True):
        here = {port.name: fixed_shape(port) for port in found}
        for port in wanted:
            if here.get(port.name) != port.shape:
                said = here.get(port.name, "nothing")
                raise UnknownOperatorError(f"The converter made {said} of {port.name!r}, {port.shape}.")
    return model


def _tool(name: str) -> dict[str, str]:
    return dict(require(name).versions)
