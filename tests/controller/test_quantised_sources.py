"""A model that came quantised, from its file to its artifacts: it ships as it is, as int8, or is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from edgewright.controller.blobs import BlobStore
from edgewright.controller.compiler.build import compile_model
from edgewright.controller.compiler.ort import Quantiser
from edgewright.controller.compiler.protocol import CompileRequest, CompileResult
from tests.agent.tflite_model import tflite_bytes
from tests.controller.source_graphs import model, value

WIDTH = 64


def _quantised() -> bytes:
    """One linear layer, quantised with the compiler's own quantiser."""
    rng = np.random.default_rng(1)
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="product")
    weight = rng.normal(size=(WIDTH, 16)).astype(np.float32)
    made = model([node], [value("x", (1, WIDTH))], [value("y", (1, 16))], {"w": weight})
    quantiser = Quantiser(made.SerializeToString())
    feeds = {"x": rng.uniform(-1, 1, (32, 1, WIDTH)).astype(np.float32)}
    return quantiser.quantise(quantiser.observe_ranges(feeds), "uint8")


def _compiled(folder: Path, file: str, content: bytes, **more: Any) -> CompileResult:
    (folder / file).write_bytes(content)
    targets = more.pop("targets")
    shape, dtype = more.pop("input")
    gates = more.pop("gates", "")
    (folder / "model.toml").write_text(
        f'targets = {list(targets)}\n[model]\nname = "came"\nfile = "{file}"\nlicence = "MIT"\n'
        f'[[inputs]]\nname = "x"\ndtype = "{dtype}"\nshape = {list(shape)}\nlow = -1\nhigh = 1\n'
        f"[data]\nsynthetic = {{ rows = 8 }}\n[gates]\nlatency_ratio = 100.0\n{gates}"
    )
    return compile_model(CompileRequest(path=str(folder), blobs=str(folder / "blobs"), cache=""))


def test_a_quantised_onnx_file_ships_as_it_is(tmp_path: Path) -> None:
    """It is the int8 artifact of each target that takes int8; for one that does not, the refusal says why."""
    targets = ("x86_64-ort-cpu", "aarch64-ort-cpu", "x86_64-ort-cpu-fp32")
    result = _compiled(tmp_path, "net.onnx", _quantised(), targets=targets, input=((1, WIDTH), "float32"))
    assert [(made.target, made.chosen, made.precision) for made in result.compiled] == [
        (target, "int8, as it came", "int8") for target in targets[:2]
    ]
    assert len({made.artifact.sha256 for made in result.compiled}) == 1
    (refused,) = result.refused
    assert (refused.target, refused.error) == ("x86_64-ort-cpu-fp32", 75)
    assert "came quantised, and x86_64-ort-cpu-fp32 takes fp32" in refused.detail


def test_a_quantised_tflite_file_ships_as_it_is(tmp_path: Path) -> None:
    """Its own bytes are the int8 artifact; where model.toml allows fp32 alone, the refusal says why."""
    pytest.importorskip("ai_edge_litert", reason="writes and runs the TFLite file of this test")
    content = tflite_bytes(int8_input=True)
    where: Any = {"targets": ("aarch64-litert",), "input": ((1, 3, 8, 8), "int8")}
    (made,) = _compiled(tmp_path, "net.tflite", content, **where).compiled
    assert (made.chosen, made.precision, made.format) == ("int8, as it came", "int8", "tflite")
    assert BlobStore(tmp_path / "blobs").read(made.artifact.sha256) == content
    (refused,) = _compiled(tmp_path, "net.tflite", content, gates='precisions = ["fp32"]', **where).refused
    assert refused.error == 75
    assert "came quantised, and aarch64-litert takes fp32" in refused.detail
