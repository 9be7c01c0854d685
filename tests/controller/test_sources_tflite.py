"""A TFLite file is read without a runtime: ports, quantisation, what it needs, and what is damaged."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgewright.controller.compiler.sources.flatbuffer import root
from edgewright.controller.compiler.sources.reading import read_subject
from edgewright.controller.compiler.sources.tflitefile import is_tflite, look_at_tflite, read_tflite
from edgewright.controller.compiler.subject import Port
from edgewright.controller.errors import (
    InputShapeError,
    NotAModelError,
    SourceFormatError,
    UnknownOperatorError,
)
from edgewright.controller.model_tensors import InputPart
from tests.agent.tflite_model import INPUT_SCALE, INPUT_ZERO_POINT, tflite_bytes

pytest.importorskip("ai_edge_litert", reason="writes the TFLite files of these tests")

_CUSTOM = 32


def _changed(change: Callable[[Any], None]) -> bytes:
    """The file with something changed by LiteRT's own schema."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(bytearray(tflite_bytes()), 0))
    change(model)
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _custom(name: str) -> bytes:
    """A file whose first operator is a custom one."""

    def change(model: Any) -> None:
        model.operatorCodes[0].builtinCode = model.operatorCodes[0].deprecatedBuiltinCode = _CUSTOM
        model.operatorCodes[0].customCode = name

    return _changed(change)


def _huge(model: Any) -> None:
    graph = model.subgraphs[0]
    graph.tensors[graph.inputs[0]].shape = [8, 134_217_729, 64]


def test_a_shape_that_no_memory_holds_is_damage() -> None:
    """Nothing of 32 TiB is drawn for a file whose sizes were flipped."""
    with pytest.raises(NotAModelError, match="damaged"):
        look_at_tflite(_changed(_huge))


def test_ports_are_read_as_the_runtime_reads_them() -> None:
    """Names, element types and sizes are what LiteRT's own interpreter says."""
    from ai_edge_litert.interpreter import Interpreter

    for int8_input in (False, True):
        data = tflite_bytes(int8_input=int8_input)
        interpreter = Interpreter(model_content=data)
        inputs, outputs = look_at_tflite(data)
        for details, ports in (
            (interpreter.get_input_details(), inputs),
            (interpreter.get_output_details(), outputs),
        ):
            said = [(one["name"], one["dtype"].__name__, tuple(one["shape"])) for one in details]
            assert [(port.name, port.dtype, port.shape) for port in ports] == said


def test_a_quantised_input_has_its_scale() -> None:
    """Scale and zero point of an int8 input are read, and a note says what a stored number means."""
    data = tflite_bytes(int8_input=True)
    port = look_at_tflite(data)[0][0]
    assert (port.dtype, port.zero_point) == ("int8", INPUT_ZERO_POINT)
    assert port.scale == pytest.approx(INPUT_SCALE)
    source = read_tflite(data, ())
    assert source.quantised
    assert any("'x' is int8: value = 0.00392157 * (stored - -128)" in note for note in source.notes)


def test_the_file_ships_as_it_is(tmp_path: Path) -> None:
    """A bare file becomes a subject of its own bytes, with drawn inputs of its own types."""
    path = tmp_path / "Net of Mine.tflite"
    path.write_bytes(tflite_bytes(int8_input=True))
    subject = read_subject(path)
    assert (subject.name, subject.format, subject.model) == ("net-of-mine", "tflite", path.read_bytes())
    assert subject.inputs == (Port("x", "int8", (1, 3, 8, 8)),)
    assert "The model is quantised already: it is not quantised again." in subject.notes
    drawn = subject.calibration["x"]
    assert (str(drawn.dtype), drawn.shape[1:]) == ("int8", (1, 3, 8, 8))
    assert drawn.min() < -100
    assert drawn.max() > 100


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("FlexErf", r"TensorFlow's own operators \(Erf\)"),
        ("MyOp", "custom operators that no target has: MyOp"),
    ],
)
def test_operators_that_no_target_has_are_refused(name: str, words: str) -> None:
    """Flex and custom operators are named in the refusal."""
    with pytest.raises(UnknownOperatorError, match=words):
        look_at_tflite(_custom(name))


def test_another_shape_than_the_files_is_refused() -> None:
    """A TFLite file has its sizes; another one in model.toml is a contradiction."""
    with pytest.raises(InputShapeError, match=r"\[1, 3, 8, 8\], not \[1, 3, 16, 16\]"):
        read_tflite(tflite_bytes(), (InputPart(name="x", dtype="float32", shape=(1, 3, 16, 16)),))


def test_a_tflite_file_is_refused_for_targets_that_run_onnx(tmp_path: Path) -> None:
    """The sentence names the targets and what to push instead."""
    (tmp_path / "net.tflite").write_bytes(tflite_bytes())
    (tmp_path / "model.toml").write_text(
        'targets = ["aarch64-litert", "x86_64-ort-cpu"]\n[model]\nname = "n"\nfile = "net.tflite"\n'
        'licence = "MIT"\n[[inputs]]\nname = "x"\ndtype = "float32"\nshape = [1, 3, 8, 8]\n'
        "[data]\nsynthetic = { rows = 4 }\n"
    )
    with pytest.raises(SourceFormatError, match="x86_64-ort-cpu runs ONNX: push the ONNX file"):
        read_subject(tmp_path)


def test_a_file_cut_off_anywhere_is_refused() -> None:
    """Every prefix of a file is damaged, whichever of its parts is missing."""
    whole = tflite_bytes(int8_input=True)
    assert is_tflite(whole)
    assert root(whole).tables(2)
    for length in range(0, len(whole), 3):
        with pytest.raises(NotAModelError, match="damaged"):
            read_tflite(whole[:length], ())
