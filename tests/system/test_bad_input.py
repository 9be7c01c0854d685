"""Bad input on the command line of a running plant: one sentence, a status of its own, nothing half-done."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from edgewright.controller.datadir import LAYOUT
from tests.system.plant import MODEL_FOLDER, Plant

pytestmark = [pytest.mark.slow, pytest.mark.serial, pytest.mark.timeout(240)]

ONNX_FILE = "garment-packing-v1.onnx"


def verify_refusal(answer: "subprocess.CompletedProcess[str]", number: int) -> None:
    """One numbered sentence on stderr, its number as the status, no traceback."""
    assert answer.returncode == number, answer.stderr
    assert f"E{number:03d}" in answer.stderr
    assert "Traceback" not in answer.stderr + answer.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the model folder to spoil."""
    return shutil.copytree(MODEL_FOLDER, tmp_path / "model", ignore=shutil.ignore_patterns("__pycache__"))


def with_unknown_operator() -> bytes:
    """A valid ONNX file with an operator that no runtime has."""
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 64, 64])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 8])
    node = helper.make_node("NoSuchOperator", ["image"], ["logits"])
    graph = helper.make_graph([node], "g", [image], [logits])
    model: bytes = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()
    return model


def test_a_file_that_is_no_model(plant: Plant, folder: Path) -> None:
    """Garbage with the name of a model is E070, and no version number is given out."""
    before = len(plant.versions())
    (folder / ONNX_FILE).write_bytes(b"this is no model")
    verify_refusal(plant.edgewright("push", str(folder)), 70)
    assert len(plant.versions()) == before


def test_unknown_operators(plant: Plant, folder: Path) -> None:
    """An operator that the runtime does not have is E071, and no version number is given out."""
    before = len(plant.versions())
    (folder / ONNX_FILE).write_bytes(with_unknown_operator())
    verify_refusal(plant.edgewright("push", str(folder)), 71)
    assert len(plant.versions()) == before


def test_a_wrong_input_shape(plant: Plant, folder: Path) -> None:
    """A model that does not take what model.toml declares is E072."""
    model = onnx.load(folder / ONNX_FILE)
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 5
    (folder / ONNX_FILE).write_bytes(model.SerializeToString())
    answer = plant.edgewright("push", str(folder))
    assert answer.returncode in (71, 72), answer.stderr
    assert "Traceback" not in answer.stderr


def test_no_device_of_the_group(plant: Plant) -> None:
    """A selector that takes no device is E092, and no rollout begins."""
    before = len(plant.get("/rollouts"))
    version = str(plant.versions()[0]["version"])
    answer = plant.edgewright("rollout", "create", "garment-packing", version, "--selector", "site=nowhere")
    verify_refusal(answer, 92)
    assert len(plant.get("/rollouts")) == before


def test_a_data_folder_of_a_newer_version(tmp_path: Path) -> None:
    """A controller leaves a newer folder alone and says E060."""
    (tmp_path / "version.json").write_text(json.dumps({"layout": LAYOUT + 1}))
    command = [str(Path(sys.executable).parent / "edgewright"), "up", "--data", str(tmp_path)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    verify_refusal(answer, 60)
    assert [path.name for path in tmp_path.iterdir()] == ["version.json"]
