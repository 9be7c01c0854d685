"""model.toml: what is read, and what is refused by the entry's name."""

from pathlib import Path

import pytest

from edgewright.controller.compiler.targets import TARGETS
from edgewright.controller.errors import ModelTomlError, NotAModelError
from edgewright.controller.model_tensors import parse_tensor_model
from edgewright.controller.model_toml import (
    locate_model,
    parse_model,
    read_model,
    source_files,
    write_model,
)
from tests.controller.small_model import MODEL_TOML

MODELS = Path(__file__).parents[2] / "models"


def _replaced(old: str, new: str) -> bytes:
    text = MODEL_TOML.decode()
    assert text.count(old) == 1
    return text.replace(old, new).encode()


def test_what_is_written_reads_back() -> None:
    """A specification survives being written and read, so a rebuild can write the next version's."""
    spec = parse_model(MODEL_TOML)
    assert parse_model(write_model(spec)) == spec
    assert spec.output_tensor.shape == (1, 4)
    assert spec.limits.golden_tolerance == 0.05


@pytest.mark.parametrize(
    ("old", "new", "entry"),
    [
        ('name = "small"', "name = 3", "[model] name"),
        ('name = "small"', 'name = "Small Model"', "[model] name"),
        ('name = "small"', 'name = "snapshot"', "[model] name"),
        ('file = "small.onnx"', "", "[model] file"),
        ('file = "small.onnx"', 'file = "../small.onnx"', "[model] file"),
        ('file = "small.onnx"', 'file = "/small.onnx"', "[model] file"),
        ('licence = "Apache-2.0"', 'license = "Apache-2.0"', "[model] license"),
        ('"red", "green", "blue", "grey"', '"red", "red"', "[model] labels"),
        ('fallback = "by hand"', 'fallback = ""', "[model] fallback"),
        ("shape = [1, 3, 16, 16]", "shape = [1, 16, 16, 3]", "[input] shape"),
        ('dtype = "float32"', 'dtype = "uint8"', "[input] dtype"),
        ('dtype = "float32"', 'dtype = "float64"', "[input] dtype"),
        ("mean = [0.5, 0.5, 0.5]", "mean = [0.5]", "[preprocessing] mean"),
        ("std = [0.25, 0.25, 0.25]", "std = [0.25, 0.0, 0.25]", "[preprocessing] std"),
        ('colour = "rgb"', 'colour = "red"', "[preprocessing] colour"),
        ('holdout = "data/holdout.npz"', 'holdout = "data/calibration.npz"', "[data] holdout"),
        ("latency_ratio = 100.0", "latency_ratio = -1.0", "[gates] latency_ratio"),
        ("latency_ratio = 100.0", 'precisions = ["int4"]', "[gates] precisions[0]"),
        ("latency_ratio = 100.0", "precisions = []", "[gates] precisions"),
        ("latency_ratio = 100.0", "top1_agreement = 1.5", "[gates] top1_agreement"),
        ("latency_ratio = 100.0", "top1_agreement = nan", "[gates] top1_agreement"),
        ("memory_mb = 200", "memory_mb = 0", "[limits] memory_mb"),
        ("memory_mb = 200", 'memory_mb = "200"', "[limits] memory_mb"),
        ("[gates]", "[rebuild]\nautomatic = true\n[gates]", "[rebuild] automatic"),
        ("[gates]", "[surprise]\n[gates]", "surprise"),
        ('"aarch64-ort-cpu"', '"x86_64-ort-cpu"', "targets"),
    ],
)
def test_a_wrong_entry_is_named(old: str, new: str, entry: str) -> None:
    """Every refusal begins with the table and the entry that is wrong, and has the number 73."""
    with pytest.raises(ModelTomlError) as caught:
        parse_model(_replaced(old, new))
    assert caught.value.sentence.startswith(f"{entry}: ")
    assert caught.value.number == 73


def test_text_that_is_no_toml_is_refused() -> None:
    """Broken TOML and bytes that are no text are refused in one sentence."""
    for text in (b"[model", b"\xff\xfe"):
        with pytest.raises(ModelTomlError, match="is no TOML"):
            parse_model(text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A folder that lacks a file that model.toml names is refused with entry and name."""
    (tmp_path / "model.toml").write_bytes(MODEL_TOML)
    with pytest.raises(ModelTomlError, match=r"\[model\] file: the folder has no file 'small.onnx'"):
        read_model(tmp_path)


def test_source_files_are_those_that_are_named(tmp_path: Path) -> None:
    """A version consists of model.toml, what it names, and the model card; nothing else of the folder."""
    (tmp_path / "data").mkdir()
    (tmp_path / "model.toml").write_bytes(MODEL_TOML)
    for name in ("small.onnx", "data/calibration.npz", "data/holdout.npz", "README.md", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    names = list(source_files(tmp_path, read_model(tmp_path)))
    assert names == ["model.toml", "small.onnx", "data/calibration.npz", "data/holdout.npz", "README.md"]


def test_a_model_is_found_by_folder_or_file(tmp_path: Path) -> None:
    """Folder, model.toml and the named ONNX file all mean the same model; anything else is refused."""
    (tmp_path / "data").mkdir()
    (tmp_path / "model.toml").write_bytes(MODEL_TOML)
    for name in ("small.onnx", "other.onnx", "data/calibration.npz", "data/holdout.npz"):
        (tmp_path / name).write_bytes(b"x")
    for path in (tmp_path, tmp_path / "model.toml", tmp_path / "small.onnx"):
        assert locate_model(path) == tmp_path
    with pytest.raises(NotAModelError, match=r"names small.onnx as its model"):
        locate_model(tmp_path / "other.onnx")
    with pytest.raises(NotAModelError, match=r"has no model.toml beside it"):
        locate_model(tmp_path / "data" / "holdout.npz")
    with pytest.raises(NotAModelError, match="no file or folder"):
        locate_model(tmp_path / "nowhere.onnx")


def test_every_model_of_the_repository_reads() -> None:
    """The folders under models/ have a model.toml that reads, name their files and known targets."""
    folders = [path.parent for path in MODELS.glob("*/model.toml")]
    assert folders
    for folder in folders:
        assert set(read_model(folder).targets) <= set(TARGETS)


@pytest.mark.parametrize(
    "text",
    [b"a = " + b"[" * 20_000, b"a = " + b"9" * 6_000, b"a = '\xff'", b"a = {" * 20_000],
    ids=["nested", "long number", "no UTF-8", "nested tables"],
)
def test_a_file_that_is_made_to_break_a_parser_is_a_sentence(text: bytes) -> None:
    """Nesting without end, a number of thousands of digits and bytes that are no text have E073."""
    for parse in (parse_model, parse_tensor_model):
        with pytest.raises(ModelTomlError, match="is no TOML"):
            parse(text)
