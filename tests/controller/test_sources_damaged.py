"""A file that is damaged or hostile costs a sentence, never a traceback."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.controller.small_model import write_folder
from tests.controller.source_graphs import accumulator, branching
from tests.house.sources import ROOT

COPIES = 50
NUMBERS = {"0", "70", "71", "72", "78", "122", "123"}


def _onnx(folder: Path) -> Path:
    path = folder / "branching.onnx"
    path.write_bytes(branching().SerializeToString())
    return path


def _stateful(folder: Path) -> Path:
    path = folder / "state.onnx"
    path.write_bytes(accumulator().SerializeToString())
    return path


def _network(folder: Path) -> Path:
    return write_folder(folder / "model") / "small.onnx"


def _tflite(folder: Path) -> Path:
    pytest.importorskip("ai_edge_litert", reason="writes the file")
    from tests.agent.tflite_model import tflite_bytes

    path = folder / "net.tflite"
    path.write_bytes(tflite_bytes(int8_input=True))
    return path


@pytest.mark.parametrize("write", [_onnx, _stateful, _network, _tflite])
def test_damaged_copies_of_a_model_are_taken_or_refused_by_number(write: object, tmp_path: Path) -> None:
    """Cut off, flipped and mixed copies of a model end with a subject or a numbered error, each of them."""
    assert callable(write)
    command = [
        sys.executable,
        "-m",
        "tests.controller.damaged_sources",
        str(write(tmp_path)),
        str(COPIES),
        "1",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    numbers = done.stdout.split()
    assert len(numbers) == COPIES
    assert set(numbers) <= NUMBERS
    assert "70" in numbers
