"""A model.toml with [[inputs]]: what it may say, the feeds that it names or draws, and carried states."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from onnx import helper

from edgewright.controller.compiler.sources.reading import read_subject
from edgewright.controller.errors import (
    InputShapeError,
    LineModelError,
    ModelTomlError,
    TensorDataError,
    ToolchainMissingError,
)
from edgewright.controller.model_tensors import (
    InputPart,
    SyntheticPart,
    TensorDataPart,
    TensorModelPart,
    TensorSpec,
    is_tensor_model,
    parse_tensor_model,
    read_tensor_model,
    write_tensor_model,
)
from edgewright.controller.model_toml import FILE_NAME, read_model
from tests.controller.source_graphs import accumulator, linear, model, value

DRAWN = TensorDataPart(synthetic=SyntheticPart(seed=3, rows=8))
MANY = TensorDataPart(synthetic=SyntheticPart(rows=4096))
STATE = InputPart(name="state", dtype="float32", shape=(1, 2), kind="state", feedback="stateN")


def _spec(
    *inputs: InputPart, data: TensorDataPart = DRAWN, decision: str = "", labels: tuple[str, ...] = ()
) -> TensorSpec:
    part = TensorModelPart(name="net", file="net.onnx", licence="MIT", decision=decision, labels=labels)
    return TensorSpec(targets=("x86_64-ort-cpu",), model=part, inputs=inputs, data=data)


X = InputPart(name="x", dtype="float32", shape=(1, 2), low=-1, high=1)
WIDE = InputPart(name="x", dtype="float32", shape=(1, 4), low=-1, high=1)


def _folder(folder: Path, spec: TensorSpec, made: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "net.onnx").write_bytes(made)
    (folder / FILE_NAME).write_bytes(write_tensor_model(spec))
    return folder


def test_what_is_written_reads_back() -> None:
    """Writing a declaration and reading it gives the same values, drawn or recorded."""
    for data in (DRAWN, TensorDataPart(calibration="c.npz", holdout="h.npz")):
        spec = _spec(X, STATE, data=data, decision="y", labels=("a", "b"))
        assert parse_tensor_model(write_tensor_model(spec)) == spec


def test_the_line_refuses_a_tensor_model(tmp_path: Path) -> None:
    """Reading it as a model for the line is error 119, which names the command that takes it."""
    folder = _folder(tmp_path, _spec(X, STATE), accumulator().SerializeToString())
    assert is_tensor_model(folder)
    assert read_tensor_model(folder).inputs == (X, STATE)
    with pytest.raises(LineModelError, match="edgewright compile") as caught:
        read_model(folder)
    assert caught.value.number == 119


def test_drawn_feeds_are_the_same_everywhere_and_the_holdout_is_another(tmp_path: Path) -> None:
    """The seed decides all numbers; calibration and holdout share no call; signals stay in their limits."""
    folder = _folder(tmp_path, _spec(X, STATE), accumulator().SerializeToString())
    first, second = read_subject(folder), read_subject(folder)
    assert first.synthetic
    assert np.array_equal(first.calibration["x"], second.calibration["x"])
    assert first.calibration["x"].shape == (8, 1, 2)
    assert not np.array_equal(first.calibration["x"], first.holdout["x"])
    assert np.abs(first.calibration["x"]).max() <= 1


def test_a_state_is_carried_from_call_to_call(tmp_path: Path) -> None:
    """The accumulator's state before each drawn call is the sum of the calls before it, from zero on."""
    folder = _folder(tmp_path, _spec(X, STATE), accumulator().SerializeToString())
    subject = read_subject(folder)
    x, state = subject.holdout["x"], subject.holdout["state"]
    before = np.concatenate([np.zeros((1, 1, 2), np.float32), np.cumsum(x, axis=0, dtype=np.float32)[:-1]])
    np.testing.assert_allclose(state, before, atol=1e-6)


def test_a_state_that_no_output_fits_is_refused(tmp_path: Path) -> None:
    """Feedback from an output of another shape names both shapes."""
    wrong = msgspec.structs.replace(STATE, feedback="y")
    folder = _folder(tmp_path, _spec(X, wrong), accumulator().SerializeToString())
    with pytest.raises(InputShapeError, match=r"'y' is float32 \[1, 1\] and cannot become the state 'state'"):
        read_subject(folder)


def _recorded(folder: Path, **holdout: object) -> Path:
    data = TensorDataPart(calibration="c.npz", holdout="h.npz")
    spec = _spec(WIDE, data=data, decision="y", labels=("a", "b", "c"))
    _folder(folder, spec, linear().SerializeToString())
    rng = np.random.default_rng(1)
    np.savez(folder / "c.npz", x=rng.normal(size=(6, 1, 4)).astype(np.float32))
    arrays = {"x": rng.normal(size=(5, 1, 4)).astype(np.float32), "labels": np.array(list("abcab"))}
    np.savez(folder / "h.npz", **{**arrays, **holdout})  # type: ignore[arg-type]  # arrays of several kinds
    return folder


def test_recorded_calls_and_their_labels_are_read(tmp_path: Path) -> None:
    """Arrays by the inputs' names become feeds, and labels of the holdout become truths."""
    subject = read_subject(_recorded(tmp_path))
    assert not subject.synthetic
    assert subject.holdout["x"].shape == (5, 1, 4)
    assert subject.truths.tolist() == [0, 1, 2, 0, 1]
    assert (subject.decision, subject.labels) == ("y", ("a", "b", "c"))


BAD_DATA: list[tuple[dict[str, object], str]] = [
    (
        {"x": np.zeros((5, 1, 3), np.float32)},
        r"'x' is float32 \[5, 1, 3\], and has to be float32 \[5, 1, 4\]",
    ),
    ({"x": np.zeros((5, 1, 4))}, "'x' is float64"),
    ({"x": np.full((5, 1, 4), np.nan, np.float32)}, "not finite"),
    ({"x": np.zeros((0, 1, 4), np.float32)}, "at least one"),
    ({"labels": np.array(["a"])}, r"labels have the shape \[1\], not \[5\]"),
    ({"labels": np.array(list("abcad"))}, "'d' is not among the model's labels"),
]


@pytest.mark.parametrize(("arrays", "words"), BAD_DATA)
def test_data_that_do_not_fit_are_refused(tmp_path: Path, arrays: dict[str, object], words: str) -> None:
    """Error 125 names the file or the array, and what it has to be."""
    with pytest.raises(TensorDataError, match=words):
        read_subject(_recorded(tmp_path, **arrays))


@pytest.mark.parametrize(
    ("width", "labels", "words"),
    [
        (1, ("a", "b"), r"'y' is \[1, 1\], so no largest of several values decides"),
        (1, (), "leave the entry out"),
        (5, ("a", "b", "c"), r"'y' is \[1, 5\]; 3 labels need \[1, 3\]"),
        (6, ("a", "b", "c"), r"'y' is \[1, 6\]; 3 labels need \[1, 3\]"),
    ],
)
def test_a_decision_of_another_width_is_refused(
    tmp_path: Path, width: int, labels: tuple[str, ...], words: str
) -> None:
    """An output with one value, and one with other values than labels, decide nothing: error 72 says so."""
    spec = _spec(WIDE, decision="y", labels=labels)
    weight = np.ones((4, width), np.float32)
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    made = model([node], [value("x", (1, 4))], [value("y", (1, width))], {"w": weight})
    with pytest.raises(InputShapeError, match=words):
        read_subject(_folder(tmp_path, spec, made.SerializeToString()))


def test_calls_without_end_for_a_constant_are_refused(tmp_path: Path) -> None:
    """Constants of all calls of a file are not made where they take more than drawn calls may."""
    folder = _recorded(tmp_path)
    large = InputPart(name="c", dtype="float32", shape=(1 << 24,), kind="constant")
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    made = model(
        [node],
        [value("x", (1, 4)), value("c", (1 << 24,))],
        [value("y", (1, 3))],
        {"w": np.ones((4, 3), np.float32)},
    )
    data = TensorDataPart(calibration="c.npz", holdout="h.npz")
    _folder(folder, _spec(WIDE, large, data=data), made.SerializeToString())
    np.savez(folder / "c.npz", x=np.zeros((33, 1, 4), np.float32))
    with pytest.raises(TensorDataError, match="33 calls are too many"):
        read_subject(folder)


def test_files_that_are_no_arrays_are_refused(tmp_path: Path) -> None:
    """A file of another kind, and pickled objects, are error 125."""
    folder = _recorded(tmp_path)
    (folder / "h.npz").write_bytes(b"no zip")
    with pytest.raises(TensorDataError, match=r"h\.npz is no \.npz"):
        read_subject(folder)
    np.savez(folder / "h.npz", x=np.array([{}], object))
    with pytest.raises(TensorDataError, match=r"h\.npz is no \.npz"):
        read_subject(folder)


WRONG: list[tuple[Callable[[TensorSpec], TensorSpec], str]] = [
    (lambda s: msgspec.structs.replace(s, inputs=()), r"\[\[inputs\]\]"),
    (lambda s: msgspec.structs.replace(s, inputs=(X, X)), "all have to be different"),
    (lambda s: msgspec.structs.replace(s, inputs=(_with(X, dtype="bfloat16"),)), "dtype: 'bfloat16'"),
    (lambda s: msgspec.structs.replace(s, inputs=(_with(X, shape=(1, 0)),)), "no shape of sizes"),
    (lambda s: msgspec.structs.replace(s, inputs=(_with(X, low=2.0),)), "at most high"),
    (lambda s: msgspec.structs.replace(s, inputs=(_with(X, feedback="y"),)), "only a state"),
    (lambda s: msgspec.structs.replace(s, inputs=(_with(X, dtype="int8", high=0.5),)), "whole numbers"),
    (lambda s: msgspec.structs.replace(s, data=TensorDataPart()), "synthetic where nothing is recorded"),
    (lambda s: msgspec.structs.replace(s, inputs=(_with(X, shape=(1, 1 << 20)),), data=MANY), "too many"),
    (lambda s: msgspec.structs.replace(s, targets=()), "targets"),
    (lambda s: msgspec.structs.replace(s, model=_with(s.model, labels=("a", "b"))), "decision"),
    (lambda s: msgspec.structs.replace(s, model=_with(s.model, file="../x.onnx")), "no path inside"),
]


def _with(part: msgspec.Struct, **changes: object) -> object:
    return msgspec.structs.replace(part, **changes)


@pytest.mark.parametrize(("spoil", "words"), WRONG)
def test_a_wrong_entry_is_refused_by_name(spoil: Callable[[TensorSpec], TensorSpec], words: str) -> None:
    """Error 73 names the entry."""
    with pytest.raises(ModelTomlError, match=words):
        parse_tensor_model(write_tensor_model(spoil(_spec(X))))


@pytest.mark.parametrize("suffix", [".pt2", ".keras"])
def test_exported_programs_need_their_toolchain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    """Without the toolchain that reads it, a file of another framework is error 120."""
    monkeypatch.setenv("EDGEWRIGHT_TOOLCHAINS", str(tmp_path / "none"))
    path = tmp_path / f"net{suffix}"
    path.write_bytes(b"PK")
    with pytest.raises(ToolchainMissingError, match="edgewright toolchain install"):
        read_subject(path)
