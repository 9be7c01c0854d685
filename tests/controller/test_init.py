"""``edgewright init`` writes a model.toml that our own readers take, and says what it guessed."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgewright.controller.cli.program import main
from edgewright.controller.compiler.sources.reading import read_subject
from edgewright.controller.model_tensors import read_tensor_model
from edgewright.controller.model_toml import FILE_NAME, parse_model
from tests.controller.source_graphs import accumulator, linear, model, value


def _init(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["init", *(str(argument) for argument in arguments)])
    return int(ended.value.code or 0)


def _write(path: Path, made: onnx.ModelProto) -> Path:
    path.write_bytes(made.SerializeToString())
    return path


def _pictures() -> onnx.ModelProto:
    weight = np.ones((5, 3, 3, 3), np.float32)
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["c"]),
        helper.make_node("GlobalAveragePool", ["c"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Softmax", ["f"], ["scores"]),
    ]
    inputs = [value("image", ("batch", 3, "height", "width"))]
    return model(nodes, inputs, [value("scores", ("batch", 5))], {"w": weight})


def _text() -> onnx.ModelProto:
    table = np.random.default_rng(2).normal(size=(20, 6)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["e"]),
        helper.make_node("ReduceMean", ["e"], ["y"], axes=[1], keepdims=0),
    ]
    ids = value("ids", ("batch", "words"), TensorProto.INT64)
    return model(nodes, [ids], [value("y", ("batch", 6))], {"table": table})


def test_a_model_of_pictures_gets_a_declaration_for_the_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Open sizes are tried, the layout is found, and what is missing is said; the line's reader takes it."""
    out = tmp_path / "out"
    assert _init(_write(tmp_path / "Fruit Net.onnx", _pictures()), "--out", out) == 0
    spec = parse_model((out / FILE_NAME).read_bytes())
    assert (spec.model.name, spec.model.file) == ("fruit-net", "Fruit Net.onnx")
    assert spec.input.shape == (1, 3, 224, 224)
    assert spec.preprocessing.layout == "NCHW"
    assert len(spec.model.labels) == 5
    assert (out / "Fruit Net.onnx").is_file()
    said = capsys.readouterr().out
    assert "one picture in" in said
    assert "[1, 3, 224, 224] was tried and runs" in said
    assert "without its Softmax" in said
    assert "record labelled frames" in said


def test_the_same_model_can_be_described_by_its_tensors(tmp_path: Path) -> None:
    """With --tensors, what is written is read into a subject as it is, its largest output the decision."""
    out = tmp_path / "out"
    assert _init(_write(tmp_path / "net.onnx", _pictures()), "--out", out, "--tensors") == 0
    subject = read_subject(out)
    assert (subject.decision, subject.synthetic, subject.batches) == ("scores", True, True)


def test_states_constants_and_vocabularies_are_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An input that an output becomes is a state; whole numbers are tried until the model takes them."""
    for name, made in (("sum", accumulator()), ("words", _text())):
        _init(_write(tmp_path / f"{name}.onnx", made), "--out", tmp_path / name)
    state = read_tensor_model(tmp_path / "sum").inputs[1]
    assert (state.kind, state.feedback) == ("state", "stateN")
    ids = read_tensor_model(tmp_path / "words").inputs[0]
    assert (ids.dtype, ids.shape, ids.high) == ("int64", (1, 128), 9.0)
    assert read_subject(tmp_path / "words").calibration["ids"].max() == 9
    assert "taken for a state that the output 'stateN' becomes" in capsys.readouterr().out


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model.toml that is there stays as it is, and the command ends with the number of the error."""
    (tmp_path / FILE_NAME).write_text("# mine\n")
    assert _init(_write(tmp_path / "net.onnx", linear())) == 73
    assert (tmp_path / FILE_NAME).read_text() == "# mine\n"
    assert "is there already" in capsys.readouterr().err


@pytest.mark.parametrize(("data", "number"), [(b"%PDF-1.7", 70), (b"", 70)])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, data: bytes, number: int) -> None:
    """The exit status is the error's number, and nothing is written."""
    path = tmp_path / "net.onnx"
    path.write_bytes(data)
    assert _init(path) == number
    assert not (tmp_path / FILE_NAME).exists()


def test_the_command_itself_loads_no_runtime() -> None:
    """A model is looked at in a child process: what crashes on a damaged file is not in the command."""
    modules = "edgewright.controller.cli.init, edgewright.controller.compiler.sources.looking"
    code = f"import sys, {modules}; sys.exit('onnxruntime' in sys.modules or 'onnx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
