"""What the front end of the line's models takes: other widths, old operator sets, and TFLite files."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from edgewright.controller.compiler.ort import Session
from edgewright.controller.compiler.sources.images import image_subject
from edgewright.controller.errors import InputShapeError, SourceFormatError
from edgewright.controller.model_toml import ModelSpec, read_model
from tests.agent.tflite_model import tflite_bytes
from tests.controller.small_model import write_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder that would build."""
    return write_folder(tmp_path / "model")


def _logits(folder: Path, spec: ModelSpec) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    subject = image_subject(spec, folder)
    found = Session(subject.model).run_calls(subject.holdout, batches=subject.batches)
    return np.asarray(found["logits"], np.float32)


def test_a_network_in_half_precision_gets_float32_ports(folder: Path) -> None:
    """A float16 network takes and gives float32 on the line, and decides as the float32 one does."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    spec = read_model(folder)
    before = _logits(folder, spec)
    path = folder / "small.onnx"
    half = convert_float_to_float16(onnx.load_model_from_string(path.read_bytes()), keep_io_types=False)
    assert half.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT16
    path.write_bytes(half.SerializeToString())
    after = _logits(folder, spec)
    assert Session(image_subject(spec, folder).model).inputs[0].dtype == "tensor(float)"
    assert np.mean(before.argmax(-1) == after.argmax(-1)) > 0.98
    np.testing.assert_allclose(after, before, atol=0.05 * float(np.abs(before).max()))


def test_an_old_operator_set_is_converted(folder: Path) -> None:
    """A network in operator set 11 comes out in 17 with the same logits."""
    spec = read_model(folder)
    before = _logits(folder, spec)
    path = folder / "small.onnx"
    old = onnx.load_model_from_string(path.read_bytes())
    old.opset_import[0].version = 11
    path.write_bytes(old.SerializeToString())
    model = onnx.load_model_from_string(image_subject(spec, folder).model)
    assert model.opset_import[0].version == 17
    np.testing.assert_allclose(_logits(folder, spec), before, rtol=1e-4, atol=1e-4)


def test_a_tflite_file_is_for_tflite_targets(folder: Path) -> None:
    """For targets that run ONNX the refusal says what to push; for the others its ports are checked."""
    pytest.importorskip("ai_edge_litert", reason="writes the file")
    (folder / "small.onnx").write_bytes(tflite_bytes())
    with pytest.raises(SourceFormatError, match="push the ONNX file"):
        image_subject(read_model(folder), folder)
    text = (folder / "model.toml").read_text()
    start, end = text.index("targets = ["), text.index("]") + 1
    (folder / "model.toml").write_text(text[:start] + 'targets = ["aarch64-litert"]' + text[end:])
    with pytest.raises(InputShapeError, match="input is called 'x', not 'image'"):
        image_subject(read_model(folder), folder)
