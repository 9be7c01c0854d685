"""Golden vectors: which calls are chosen, and that few chosen ones see more than as many drawn ones."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from edgewright.controller.compiler.frames import read_frames
from edgewright.controller.compiler.golden import (
    BUDGET_BYTES,
    MAX_VECTORS,
    MIN_VECTORS,
    choose_calls,
    choose_rows,
)
from edgewright.controller.compiler.ort import Session
from edgewright.controller.model_toml import read_model

FOLDER = Path(__file__).parents[2] / "models" / "garment-packing"
FRAMES = 200
FAULTS_OF_A_KIND = 15
DRAWS = 200
TOLERANCE = 0.05
"""The one in garment-packing's model.toml."""

Logits = NDArray[np.float32]


def _spoil(model: onnx.ModelProto, kind: str, rng: np.random.Generator) -> bytes:
    """The model with one channel of one layer scaled, swapped with another, or without its bias."""
    spoilt = onnx.ModelProto()
    spoilt.CopyFrom(model)
    axes = 1 if kind == "dropped bias" else 2
    fitting = [
        weight
        for weight in spoilt.graph.initializer
        if (len(weight.dims) == 1) == (axes == 1) and weight.dims and weight.dims[0] >= 8
    ]
    weight = fitting[rng.integers(len(fitting))]
    values = numpy_helper.to_array(weight).copy()
    first, second = rng.choice(len(values), 2, replace=False)
    if kind == "scaled weight":
        values[first] *= rng.choice([0.0, 0.5, 1.5, 2.0])
    elif kind == "swapped channels":
        values[[first, second]] = values[[second, first]]
    else:
        values[first] = 0
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    serialised: bytes = spoilt.SerializeToString()
    return serialised


@pytest.fixture(scope="module")
def planted() -> tuple[Logits, Logits]:
    """Logits of garment-packing on holdout frames, and of 45 spoilt copies of it, [fault, frame, class]."""
    spec = read_model(FOLDER)
    data = (FOLDER / spec.model.file).read_bytes()
    inputs = read_frames(FOLDER / spec.data.holdout).spread(FRAMES).inputs(spec.preprocessing)
    model, rng = onnx.load_model_from_string(data), np.random.default_rng(36)
    kinds = ("scaled weight", "swapped channels", "dropped bias")
    spoilt = [_spoil(model, kind, rng) for kind in kinds for _ in range(FAULTS_OF_A_KIND)]
    return Session(data).run(inputs, spec.output.name), np.stack(
        [Session(one).run(inputs, spec.output.name) for one in spoilt]
    )


def _caught(right: Logits, wrong: Logits, rows: list[int]) -> float:
    """Share of the faults that a device refuses with these vectors, by its own rule."""
    worst = np.abs(wrong[:, rows] - right[rows]).max(axis=(1, 2))
    return float((worst / np.ptp(right[rows]) > TOLERANCE).mean())


def _turned(right: Logits, wrong: Logits, rows: list[int]) -> float:
    """Share of the faults that turn a decision on one of these frames."""
    return float((wrong[:, rows].argmax(axis=2) != right[rows].argmax(axis=1)).any(axis=1).mean())


def _draws(right: Logits, count: int) -> list[list[int]]:
    rng = np.random.default_rng(count)
    return [list(rng.choice(len(right), count, replace=False)) for _ in range(DRAWS)]


@pytest.mark.parametrize("count", [5, 8])
def test_few_chosen_vectors_catch_more_planted_faults_than_drawn_ones(
    planted: tuple[Logits, Logits], count: int
) -> None:
    """The frames chosen of garment-packing, five by the budget, catch more faults than the mean draw."""
    right, wrong = planted
    chosen = choose_rows(right, BUDGET_BYTES // count)
    assert len(chosen) == count
    drawn = [_caught(right, wrong, rows) for rows in _draws(right, count)]
    assert _caught(right, wrong, chosen) > float(np.mean(drawn))


@pytest.mark.parametrize("count", [5, 8, 16])
def test_chosen_vectors_show_more_turned_decisions_than_any_draw(
    planted: tuple[Logits, Logits], count: int
) -> None:
    """On the chosen frames more faults turn a decision than on any of two hundred draws of as many frames."""
    right, wrong = planted
    chosen = choose_rows(right, BUDGET_BYTES // count)
    assert _turned(right, wrong, chosen) > max(_turned(right, wrong, rows) for rows in _draws(right, count))


def test_borders_come_after_classes_and_the_often_confused_first() -> None:
    """After the narrowest frame of each class comes the border of the pair that is confused most often."""
    rng = np.random.default_rng(1)
    clear = np.eye(3)[rng.integers(0, 3, 80)] * 9
    often = np.array([[5.0 + 0.2 * i, 5.1 + 0.4 * i, 0] for i in range(1, 10)])
    seldom = np.array([[6.0, 0, 5.95], [0, 7.0, 6.8], [0.0, 3.0, 3.1]])
    logits = np.concatenate([clear, often, seldom]).astype(np.float32)
    rows = choose_rows(logits, BUDGET_BYTES // 5)
    assert sorted(logits[rows[:3]].argmax(axis=1)) == [0, 1, 2]
    border = np.sort(np.argsort(-logits[rows[3]])[:2]).tolist()
    assert border == [0, 1]


def test_one_decision_everywhere_still_gives_vectors() -> None:
    """A model that decides one class for all frames, or has equal logits, gets distinct rows and no error."""
    same = np.tile(np.array([3.0, 1.0], np.float32), (20, 1))
    rows = choose_rows(same, 1024)
    assert rows
    assert len(set(rows)) == len(rows)


def test_calls_of_a_model_without_decision_lie_apart() -> None:
    """Of several outputs, in two clusters and one outlier, each is among the first calls that are chosen."""
    rng = np.random.default_rng(2)
    boxes = rng.normal(0, 0.01, (30, 4, 4))
    boxes[10:29] += 5
    scores = rng.normal(0, 0.01, (30, 1)).astype(np.float16)
    scores[29] = 40
    rows = choose_calls({"boxes": boxes, "scores": scores}, "", 4096)
    assert 29 in rows[:3]
    assert {rows[i] // 10 for i in range(3)} >= {0, 2}
    assert len(rows) == MAX_VECTORS
    assert len(choose_calls({"boxes": boxes, "scores": scores}, "", 10**8)) == MIN_VECTORS


def test_calls_that_all_say_the_same_need_one_vector() -> None:
    """Where no output varies, or values are not finite, one call is enough and nothing divides by zero."""
    assert choose_calls({"y": np.ones((9, 3), np.int64)}, "", 10) == [0]
    assert choose_calls({"y": np.full((9, 3), np.nan, np.float32)}, "", 10) == [0]


def test_decision_among_several_outputs_decides() -> None:
    """A model with a decision is chosen for by its logits alone, whatever other outputs say."""
    logits = np.array([[5, 0], [0.1, 0], [0, 9], [0, 0.2], [2, 0]], np.float32)
    other = np.arange(5, dtype=np.float32)[:, None]
    rows = choose_calls({"logits": logits[:, None, :], "other": other}, "logits", 1024)
    assert rows == choose_rows(logits, 1024) == [1, 3, 0, 2]
