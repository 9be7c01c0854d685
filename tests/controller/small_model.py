"""A model folder of a second's work: a small network on painted frames, with a head fitted to them.

Each class is a coarse colour pattern; a frame is its pattern with noise. The backbone's weights are drawn
from a seed and the head is fitted by least squares, so the network is good without any training.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgewright.controller.compiler.frames import Frames
from edgewright.controller.compiler.ort import Session
from edgewright.controller.model_toml import ModelSpec, parse_model, write_model

LABELS = ("red", "green", "blue", "grey")
SIDE_PX = 24
INPUT_PX = 16
CHANNELS = (16, 32, 64, 128)
NOISE = 25.0

MODEL_TOML = b"""
targets = ["x86_64-ort-cpu", "x86_64-ort-cpu-fp32", "aarch64-ort-cpu"]
[model]
name = "small"
file = "small.onnx"
licence = "Apache-2.0"
labels = ["red", "green", "blue", "grey"]
fallback = "by hand"
[input]
name = "image"
dtype = "float32"
shape = [1, 3, 16, 16]
[output]
name = "logits"
[preprocessing]
width = 16
height = 16
colour = "rgb"
mean = [0.5, 0.5, 0.5]
std = [0.25, 0.25, 0.25]
[data]
calibration = "data/calibration.npz"
holdout = "data/holdout.npz"
replay = "data/calibration.npz"
[gates]
# A test does not measure time: on a busy machine two small networks change places.
latency_ratio = 100.0
[limits]
golden_tolerance = 0.05
latency_p99_us = 20000
memory_mb = 200
shadow_frames = 10
probation_frames = 10
"""


def spec() -> ModelSpec:
    """What the folder's model.toml says."""
    return parse_model(MODEL_TOML)


def paint(labels: Sequence[str], count: int, seed: int) -> Frames:
    """``count`` frames of each label."""
    rng = np.random.default_rng(seed)
    pixels, names = [], []
    for label in labels:
        pattern = np.random.default_rng(sum(label.encode())).uniform(40, 215, (4, 4, 3))
        whole = np.kron(pattern, np.ones((SIDE_PX // 4, SIDE_PX // 4, 1)))
        for _ in range(count):
            noisy = whole + rng.normal(0, NOISE, whole.shape)
            pixels.append(np.clip(noisy, 0, 255).astype(np.uint8))
            names.append(label)
    return Frames(tuple(pixels), tuple(names))


def network(weight: NDArray[np.float32], bias: NDArray[np.float32], output: str = "logits") -> bytes:
    """The network with the given head, float32 [classes, 128] and [classes]."""
    rng = np.random.default_rng(7)
    nodes, weights, value, width = [], [], "image", 3
    for i, channels in enumerate(CHANNELS):
        kernel = rng.normal(0, np.sqrt(2 / (width * 9)), (channels, width, 3, 3)).astype(np.float32)
        bias_of_layer = rng.normal(0, 0.1, channels).astype(np.float32)
        weights.append(numpy_helper.from_array(kernel, f"w{i}"))
        weights.append(numpy_helper.from_array(bias_of_layer, f"b{i}"))
        stride = 2 if i else 1
        nodes.append(
            helper.make_node(
                "Conv", [value, f"w{i}", f"b{i}"], [f"c{i}"], strides=[stride] * 2, pads=[1, 1, 1, 1]
            )
        )
        nodes.append(helper.make_node("Relu", [f"c{i}"], [f"r{i}"]))
        value, width = f"r{i}", channels
    nodes.append(helper.make_node("GlobalAveragePool", [value], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["embedding"]))
    nodes.append(helper.make_node("Gemm", ["embedding", "head.w", "head.b"], [output], transB=1))
    weights += [numpy_helper.from_array(weight, "head.w"), numpy_helper.from_array(bias, "head.b")]
    shapes: tuple[list[str | int], ...] = (["n", 3, INPUT_PX, INPUT_PX], ["n", len(bias)], ["n", width])
    image, logits, embedding = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in zip(("image", output, "embedding"), shapes, strict=True)
    )
    graph = helper.make_graph(nodes, "small", [image], [logits, embedding], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    serialised: bytes = model.SerializeToString()
    return serialised


def fitted_network(labels: Sequence[str], seed: int = 3) -> bytes:
    """The network with a head fitted to painted frames."""
    frames = paint(labels, 30, seed)
    width = CHANNELS[-1]
    blank = network(np.zeros((len(labels), width), np.float32), np.zeros(len(labels), np.float32))
    embedding = Session(blank).run(frames.inputs(spec().preprocessing), "embedding")
    rows = np.hstack([embedding, np.ones((len(embedding), 1), np.float32)])
    wanted = 8.0 * np.eye(len(labels))[frames.classes(labels)]
    ridge = 0.3 * np.eye(rows.shape[1])
    head = np.linalg.solve(rows.T @ rows + ridge, rows.T @ wanted).T.astype(np.float32)
    return network(np.ascontiguousarray(head[:, :-1]), np.ascontiguousarray(head[:, -1]))


def save_frames(path: Path, frames: Frames) -> None:
    """Write frames as they are, uint8 [n, height, width, 3]."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, frames=np.stack(frames.pixels), labels=np.array(frames.labels))


def write_folder(folder: Path, model: ModelSpec | None = None) -> Path:
    """A complete model folder for the labels that ``model`` has."""
    model = model or spec()
    labels = model.model.labels
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.toml").write_bytes(write_model(model))
    (folder / model.model.file).write_bytes(fitted_network(labels))
    save_frames(folder / model.data.calibration, paint(labels, 12, seed=11))
    save_frames(folder / model.data.holdout, paint(labels, 40, seed=12))
    return folder


def without_output(model: bytes, name: str) -> bytes:
    """The model without one of its outputs."""
    parsed = onnx.load_model_from_string(model)
    kept = [output for output in parsed.graph.output if output.name != name]
    del parsed.graph.output[:]
    parsed.graph.output.extend(kept)
    serialised: bytes = parsed.SerializeToString()
    return serialised
