"""A model small enough for tests: it tells the colour of a plain picture, and its recipe learns new colours.

The graph is global average pooling and one linear layer; classes are colours, frames are a colour and noise.
"""

from pathlib import Path

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SIZE = 8
COLOURS_RGB = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200)}
KNOWN = ("red", "green")

MODEL_TOML = """
targets = ["x86_64-ort-cpu-fp32"]
[model]
name = "colours"
file = "colours.onnx"
licence = "MIT"
labels = ["red", "green"]
fallback = "by hand"
[input]
name = "image"
dtype = "float32"
shape = [1, 3, 8, 8]
[output]
name = "logits"
[preprocessing]
width = 8
height = 8
colour = "rgb"
mean = [0.0, 0.0, 0.0]
std = [1.0, 1.0, 1.0]
[data]
calibration = "calibration.npz"
holdout = "holdout.npz"
replay = "replay.npz"
[limits]
golden_tolerance = 0.1
latency_p99_us = 100000
memory_mb = 500
shadow_frames = 1
probation_frames = 1
[gates]
per_class_loss = 1.0
precisions = ["fp32"]
[drift]
harm_tolerance = 0.02
[rebuild]
recipe = "recipe.py"
ladder = ["lazy", "centroids"]
cooldown_s = 0.0
minimum_samples = 60
automatic = true
unaudited_margin = 0.0
"""

RECIPE = '''
"""Rungs: "lazy" hands the base back with a dead class more, "centroids" fits a linear layer."""
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper


@dataclass(frozen=True)
class Dataset:
    frames: np.ndarray
    labels: list


@dataclass(frozen=True)
class Candidate:
    onnx: bytes
    labels: tuple
    rung: str
    metrics: dict


def fit(base_onnx, fresh, replay, labels, rung, seed):
    means = np.array([f[..., ::-1].mean(axis=(0, 1)) / 255 for f in [*fresh.frames, *replay.frames]])
    names = np.array([*fresh.labels, *replay.labels])
    centres = np.array([means[names == label].mean(axis=0) for label in labels])
    weight, bias = 20 * centres, -10 * (centres**2).sum(axis=1)
    if rung == "lazy":
        bias[2:] = -1000.0
    model = onnx.load_model_from_string(base_onnx)
    for stored in model.graph.initializer:
        new = {"weight": weight, "bias": bias}[stored.name]
        stored.CopyFrom(numpy_helper.from_array(new.astype(np.float32), stored.name))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = len(labels)
    return Candidate(model.SerializeToString(), tuple(labels), rung, {"rows": float(len(names))})
'''


def picture(colour: str, rng: np.random.Generator) -> NDArray[np.uint8]:
    """One frame of a colour, BGR."""
    plain = np.array(COLOURS_RGB[colour][::-1], np.float64)
    return np.clip(plain + rng.normal(0, 12, (SIZE, SIZE, 3)), 0, 255).astype(np.uint8)


def png(frame: NDArray[np.uint8]) -> bytes:
    """The frame as a device sends it."""
    written, data = cv2.imencode(".png", frame)
    assert written
    return data.tobytes()


def write_folder(folder: Path) -> None:
    """A model folder of the version that knows two colours."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    for name, count in (("calibration", 4), ("holdout", 40), ("replay", 20)):
        labels = [label for label in KNOWN for _ in range(count)]
        frames = np.stack([picture(label, rng) for label in labels])
        np.savez(folder / f"{name}.npz", frames=frames, labels=np.array(labels))
    (folder / "model.toml").write_text(MODEL_TOML)
    (folder / "recipe.py").write_text(RECIPE)
    (folder / "colours.onnx").write_bytes(_graph())


def _graph() -> bytes:
    weight = np.array([[4, -4, 0], [-4, 4, 0]], np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["image"], ["mean"]),
            helper.make_node("Flatten", ["mean"], ["means"]),
            helper.make_node("Gemm", ["means", "weight", "bias"], ["logits"], transB=1),
        ],
        "colours",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, len(KNOWN)])],
        [
            numpy_helper.from_array(weight, "weight"),
            numpy_helper.from_array(np.zeros(len(KNOWN), np.float32), "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
