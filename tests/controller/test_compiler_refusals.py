"""What cannot become an artifact: each kind has a number and a sentence, and leaves nothing behind."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgewright.controller.compiler.build import build_version
from edgewright.controller.compiler.protocol import BuildRequest, CheckRequest
from edgewright.controller.compiler.worker import run_build, run_check
from edgewright.controller.errors import (
    BuildInterruptedError,
    InputShapeError,
    ModelTomlError,
    ModelTooLargeError,
    NotAModelError,
    UnknownOperatorError,
    UnknownTargetError,
)
from edgewright.wire import manifest
from edgewright.wire.errors import EdgewrightError
from tests.controller.small_model import LABELS, paint, save_frames, without_output, write_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder that would build."""
    return write_folder(tmp_path / "model")


def _edit(folder: Path, change: Callable[[onnx.ModelProto], None]) -> None:
    path = folder / "small.onnx"
    model = onnx.load_model_from_string(path.read_bytes())
    change(model)
    path.write_bytes(model.SerializeToString())


def _replace(folder: Path, old: str, new: str) -> None:
    text = (folder / "model.toml").read_text()
    assert old in text
    (folder / "model.toml").write_text(text.replace(old, new))


def _not_onnx(folder: Path) -> None:
    (folder / "small.onnx").write_bytes(b"%PDF-1.7 this is a report")


def _empty(folder: Path) -> None:
    (folder / "small.onnx").write_bytes(b"")


def _truncated(folder: Path) -> None:
    whole = (folder / "small.onnx").read_bytes()
    (folder / "small.onnx").write_bytes(whole[: len(whole) // 2])


def _external_weights(folder: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        weight = model.graph.initializer[0]
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        entry = weight.external_data.add()
        entry.key, entry.value = "location", "/etc/hostname"

    _edit(folder, change)


def _unknown_operator(folder: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        model.graph.node[1].op_type = "Reluu"

    _edit(folder, change)


def _foreign_domain(folder: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        model.graph.node[1].domain = "acme.ai"
        model.opset_import.append(helper.make_opsetid("acme.ai", 1))

    _edit(folder, change)


def _broken_graph(folder: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        model.graph.node[1].input[0] = "nowhere"

    _edit(folder, change)


def _other_input_name(folder: Path) -> None:
    _replace(folder, 'name = "image"', 'name = "picture"')


def _other_input_shape(folder: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 32

    _edit(folder, change)


def _other_input_type(folder: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT32
        cast = helper.make_node("Cast", ["image"], ["image32"], to=TensorProto.FLOAT)
        model.graph.node[0].input[0] = "image32"
        model.graph.node.insert(0, cast)

    _edit(folder, change)


def _lacking_label(folder: Path) -> None:
    _replace(folder, '    "grey",\n', "")


def _other_output_name(folder: Path) -> None:
    _replace(folder, 'name = "logits"', 'name = "scores"')


def _no_logits(folder: Path) -> None:
    path = folder / "small.onnx"
    path.write_bytes(without_output(path.read_bytes(), "logits"))


def _hopelessly_large(folder: Path) -> None:
    os.truncate(folder / "small.onnx", 1_000_000_000)


def _unknown_target(folder: Path) -> None:
    _replace(folder, '"aarch64-ort-cpu"', '"riscv-ort-cpu"')


def _damaged_frames(folder: Path) -> None:
    (folder / "data/holdout.npz").write_bytes(b"no zip")


def _pickled_frames(folder: Path) -> None:
    np.savez(folder / "data/holdout.npz", frames=np.array([{}, {}], object), labels=np.array(["red", "red"]))


def _foreign_label(folder: Path) -> None:
    save_frames(folder / "data/holdout.npz", paint((*LABELS, "violet"), 3, seed=1))


def _frames_without_labels(folder: Path) -> None:
    np.savez(folder / "data/calibration.npz", frames=np.zeros((3, 8, 8, 3), np.uint8))


REFUSALS: list[tuple[Callable[[Path], None], type[EdgewrightError], str]] = [
    (_not_onnx, NotAModelError, "no ONNX"),
    (_empty, NotAModelError, "no ONNX graph"),
    (_truncated, NotAModelError, "no ONNX"),
    (_external_weights, NotAModelError, "weights lie in another file"),
    (_unknown_operator, UnknownOperatorError, "Reluu"),
    (_foreign_domain, UnknownOperatorError, "acme.ai.Relu"),
    (_broken_graph, UnknownOperatorError, "nowhere"),
    (_other_input_name, InputShapeError, "called 'image', not 'picture'"),
    (_other_input_shape, InputShapeError, r"\['any', 3, 32, 16\], not \[1, 3, 16, 16\]"),
    (_other_input_type, InputShapeError, "type int32, not float32"),
    (_lacking_label, InputShapeError, r"\[1, 4\]; 3 labels need \[1, 3\]"),
    (_other_output_name, InputShapeError, "no output 'scores'"),
    (_no_logits, InputShapeError, "no output 'logits'; it has embedding"),
    (_unknown_target, UnknownTargetError, "riscv-ort-cpu"),
    (_hopelessly_large, ModelTooLargeError, "has 1000 MB; for x86_64-ort-cpu at most 960 MB"),
    (_damaged_frames, ModelTomlError, "holdout.npz is no .npz"),
    (_pickled_frames, ModelTomlError, "holdout.npz is no .npz"),
    (_foreign_label, ModelTomlError, "'violet' is not among"),
    (_frames_without_labels, ModelTomlError, "3 frames and 0 labels"),
]


@pytest.mark.parametrize(("spoil", "error", "words"), REFUSALS)
def test_a_bad_model_is_refused_by_number(
    folder: Path, spoil: Callable[[Path], None], error: type[EdgewrightError], words: str
) -> None:
    """Each spoiled folder raises its own class with a sentence that names the cause; no blob is stored."""
    spoil(folder)
    root = folder.parent / "blobs"
    with pytest.raises(error, match=words) as caught:
        build_version(BuildRequest(folder=str(folder), blobs=str(root), version=1, release_counter=1))
    assert type(caught.value) is error
    assert "\n" not in caught.value.sentence
    assert not root.exists()


def test_an_artifact_that_no_manifest_holds_is_refused_by_number(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where int8 did not make a model small enough, the error names the target and what a manifest holds."""
    monkeypatch.setattr(manifest, "MAX_MANIFEST_BYTES", 500)
    request = BuildRequest(folder=str(folder), blobs=str(folder.parent / "b"), version=1, release_counter=1)
    with pytest.raises(ModelTooLargeError, match=r"^E078 The artifact for x86_64-ort-cpu has .* at most 500"):
        build_version(request)


def test_the_worker_keeps_number_and_sentence(folder: Path) -> None:
    """An error crosses the process border as the class and the sentence that it was."""
    assert run_check(CheckRequest(str(folder))).labels == LABELS
    _unknown_operator(folder)
    with pytest.raises(UnknownOperatorError) as caught:
        run_check(CheckRequest(str(folder)))
    assert caught.value.sentence == "The model uses unknown operators: Reluu."


def test_a_stopped_build_says_so_and_leaves_nothing_running(folder: Path) -> None:
    """A build that is called off ends with its own error, before it has stored a blob."""
    root = folder.parent / "blobs"
    request = BuildRequest(folder=str(folder), blobs=str(root), version=1, release_counter=1)
    with pytest.raises(BuildInterruptedError, match="was stopped"):
        run_build(request, is_stopped=lambda: True)
    with pytest.raises(BuildInterruptedError, match="took too long"):
        run_build(request, limit_s=0.0)
    assert not root.exists()


def test_a_child_that_dies_is_reported(folder: Path) -> None:
    """A build whose process fails on something unforeseen ends with its last words, not with a traceback."""
    blocked = folder.parent / "blobs"
    blocked.write_text("a file where the blob store's folder should be")
    request = BuildRequest(folder=str(folder), blobs=str(blocked), version=1, release_counter=1)
    with pytest.raises(BuildInterruptedError, match="ended without an answer") as caught:
        run_build(request)
    assert "Traceback" not in caught.value.sentence
    assert caught.value.number == 77
