"""Tiny real models and their manifests: three classes by brightness, made with onnx's own helper."""

from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgewright.wire.canonical import sha256_hex
from edgewright.wire.manifest import (
    GoldenVectors,
    Limits,
    Manifest,
    Preprocessing,
    RuntimeRange,
    Tensor,
    encode_manifest,
    split_blob,
)

LABELS = ("dark", "grey", "bright")
SIDE_PX = 8
FRAME_PX = 16
Fault = Literal["none", "nan-when-bright", "shape-when-bright", "nonsense-bytes", "unknown-operator"]


class Release(NamedTuple):
    """Files of one model on a device's disk."""

    manifest: Manifest
    manifest_path: Path
    artifact_path: Path
    golden_path: Path

    @property
    def digest(self) -> str:
        """Of the manifest."""
        return sha256_hex(self.manifest_path.read_bytes())


def classify(mean: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits of the model for the mean of each image, 0 to 1: what the graph computes, in numpy."""
    return np.stack([8 - 20 * mean, np.zeros_like(mean) + 2, 20 * mean - 12], axis=-1).astype(np.float32)


def onnx_bytes(fault: Fault = "none", salt: int = 0) -> bytes:
    """The model: mean over pixels and channels, then one linear layer; ``salt`` makes other bytes of it."""
    if fault == "nonsense-bytes":
        return b"this is no model" * 64
    weights = np.tile(np.array([[-20 / 3, 0, 20 / 3]], np.float32), (3, 1))
    bias = np.array([8.0, 2.0, -12.0], np.float32)
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights", "bias"], ["y" if fault == "none" else "clean"]),
    ]
    constants: dict[str, NDArray[Any]] = {"weights": weights, "bias": bias}
    if fault == "nan-when-bright":
        # The square root of (4 - the third logit), which is negative for a bright image.
        constants |= {"minus": np.array([0.0, 0.0, -1.0], np.float32), "four": np.array([4.0], np.float32)}
        nodes += [
            helper.make_node("Mul", ["clean", "minus"], ["turned"]),
            helper.make_node("Add", ["turned", "four"], ["above"]),
            helper.make_node("Sqrt", ["above"], ["root"]),
            helper.make_node("Mul", ["root", "zero"], ["poison"]),
            helper.make_node("Add", ["clean", "poison"], ["y"]),
        ]
        constants |= {"zero": np.array([0.0], np.float32)}
    if fault == "shape-when-bright":
        # The row is kept once, and a second time where its third logit is above 4.
        constants |= {
            "four": np.array([4.0], np.float32),
            "third": np.array([2], np.int64),
            "always": np.array([[True]]),
            "one axis": np.array([-1], np.int64),
        }
        nodes += [
            helper.make_node("Gather", ["clean", "third"], ["last"], axis=1),
            helper.make_node("Greater", ["last", "four"], ["bright"]),
            helper.make_node("Concat", ["always", "bright"], ["rows"], axis=0),
            helper.make_node("Reshape", ["rows", "one axis"], ["kept"]),
            helper.make_node("Concat", ["clean", "clean"], ["twice"], axis=0),
            helper.make_node("Compress", ["twice", "kept"], ["y"], axis=0),
        ]
    if fault == "unknown-operator":
        nodes.append(helper.make_node("Teleport", ["clean"], ["y"], domain="nowhere"))
    rows: int | str = "n" if fault == "shape-when-bright" else 1
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, SIDE_PX, SIDE_PX])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [rows, 3])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
        doc_string=f"salt {salt}",
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("nowhere", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    data: bytes = model.SerializeToString()
    return data


def golden_bytes(seed: int = 3, count: int = 8, error: float = 0.0) -> bytes:
    """Golden vectors of the model; ``error`` is added to the expected outputs."""
    images = np.random.default_rng(seed).random((count, 1, 3, SIDE_PX, SIDE_PX), np.float32)
    images *= np.linspace(0, 1, count, dtype=np.float32).reshape(-1, 1, 1, 1, 1)
    outputs = classify(images.mean(axis=(2, 3, 4))) + np.float32(error)
    return msgspec.msgpack.encode(GoldenVectors(count, images.tobytes(), outputs.tobytes()))


def make_manifest(artifact: bytes, golden: bytes, version: int = 1, **changes: Any) -> Manifest:
    """A manifest of the model; ``changes`` replace fields."""
    manifest = Manifest(
        model="brightness",
        version=version,
        target="test-onnxruntime-cpu",
        release_counter=version,
        precision="fp32",
        qualification="emulated",
        runtime=RuntimeRange("onnxruntime", "1.20", "2", "CPUExecutionProvider"),
        preprocessing=Preprocessing(
            width=SIDE_PX, height=SIDE_PX, colour="rgb", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)
        ),
        input=Tensor("x", "float32", (1, 3, SIDE_PX, SIDE_PX)),
        output=Tensor("y", "float32", (1, 3)),
        labels=LABELS,
        fallback="manual lane",
        artifact=split_blob(artifact)[0],
        golden=split_blob(golden)[0],
        patches=(),
        limits=Limits(
            golden_tolerance=0.01, latency_p99_us=500_000, memory_mb=400, shadow_frames=5, probation_frames=5
        ),
        temperature=1.0,
        provenance_sha256="0" * 64,
    )
    return msgspec.structs.replace(manifest, **changes)


def write_release(
    folder: Path, version: int = 1, fault: Fault = "none", golden_error: float = 0.0, **changes: Any
) -> Release:
    """Write a model's files to a folder, as the device's store would hold them."""
    artifact, golden = onnx_bytes(fault, salt=version), golden_bytes(error=golden_error)
    manifest = make_manifest(artifact, golden, version, **changes)
    paths = [folder / f"{version}.{kind}" for kind in ("json", "onnx", "golden")]
    for path, data in zip(paths, (encode_manifest(manifest), artifact, golden), strict=True):
        path.write_bytes(data)
    return Release(manifest, *paths)


def grey_frame(level: int) -> NDArray[np.uint8]:
    """A camera frame of one grey level, 0 to 255."""
    return np.full((FRAME_PX, FRAME_PX, 3), level, np.uint8)
