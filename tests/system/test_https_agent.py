"""A plant whose broker shall carry no blobs: its robot is told to fetch them over HTTPS, and does."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgewright.controller.datadir import read_endpoint
from edgewright.wire.manifest import CHUNK_BYTES
from simulators.network.link import NetworkLink
from tests.system.plant import MODEL_FOLDER, Plant

pytestmark = [pytest.mark.slow, pytest.mark.serial, pytest.mark.timeout(240)]

ROBOT: Final = "h1"
TARGET: Final = "x86_64-ort-cpu-fp32"


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    """A controller; no robots yet."""
    started = Plant(tmp_path)
    try:
        yield started
    finally:
        started.close()


def _model(folder: Path, change: float) -> Path:
    """The model for one target; its head is moved by so much."""
    shutil.copytree(MODEL_FOLDER, folder)
    described = folder / "model.toml"
    described.write_text(re.sub(r"(?m)^targets = .*$", f'targets = ["{TARGET}"]', described.read_text()))
    file = folder / "garment-packing-v1.onnx"
    model = onnx.load(file)
    head = model.graph.initializer[-1]
    head.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(head) + np.float32(change), head.name))
    onnx.save(model, file)
    return folder


def _by_https(plant: Plant, network: NetworkLink) -> None:
    """Configure the robot: chunks from the door, and the broker where its bytes are counted."""
    config = plant.enrol_robot(ROBOT, TARGET, {"line": "a"})
    text = re.sub(r"(?m)^port = \d+$", f"port = {network.port}", config.read_text())
    config.write_text(f'{text}\n[update]\ntransport = "https"\n')


def _roll_out(plant: Plant, network: NetworkLink, model: Path) -> tuple[int, int]:
    """Bring a version to the robot; bytes that the door and the broker gave the robot for it."""
    door, broker = _door_bytes(plant), network.carried_down()
    version = plant.push(model=model)
    plant.wait(f"version {version}", lambda: plant.runs(version, ROBOT))
    decided = plant.cells[ROBOT].phases["before"].by_version
    plant.wait("its decisions", lambda: str(version) in decided and decided[str(version)].decided > 0)
    return _door_bytes(plant) - door, network.carried_down() - broker


def _door_bytes(plant: Plant) -> int:
    sent: int = plant.get("/broker")["downloads"]["bytes"]
    return sent


def test_whole_agent_over_https(plant: Plant, tmp_path: Path) -> None:
    """A version and its patch come through the door by ranges; of the broker comes less than a chunk."""
    with NetworkLink("127.0.0.1", read_endpoint(plant.data).broker_port, proxy=True) as network:
        _by_https(plant, network)
        plant.start_robot(ROBOT)
        plant.wait("the robot", lambda: plant.device(ROBOT)["connected"])
        whole, beside = _roll_out(plant, network, _model(tmp_path / "one", 0.0))
        patch, beside_patch = _roll_out(plant, network, _model(tmp_path / "two", 0.001))
    assert whole > 2 * CHUNK_BYTES, "the blobs came through the door"
    assert 0 < patch < whole / 4, "so did the patch, and not the whole again"
    assert 0 < beside < CHUNK_BYTES
    assert 0 < beside_patch < CHUNK_BYTES
