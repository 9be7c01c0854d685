"""The network of ``network`` as a release: manifest and golden vectors."""

from typing import NamedTuple

import msgspec
import numpy as np
import onnxruntime as ort

from edgewright.wire.manifest import GoldenVectors, Limits, Manifest, Preprocessing, Tensor
from tests.agent.tiny_models import make_manifest
from tests.benchmarks.network import CLASSES, SIDE_PX, network_bytes

GOLDEN_COUNT = 4


class BenchmarkRelease(NamedTuple):
    """What a device needs of one version."""

    manifest: Manifest
    artifact: bytes
    golden: bytes


def benchmark_release(version: int = 1) -> BenchmarkRelease:
    """One version; each has weights of its own."""
    artifact = network_bytes(seed=version)
    golden = _golden_bytes(artifact)
    shape = (1, 3, SIDE_PX, SIDE_PX)
    manifest = make_manifest(
        artifact,
        golden,
        version,
        preprocessing=Preprocessing(SIDE_PX, SIDE_PX, "rgb", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
        input=Tensor("x", "float32", shape),
        output=Tensor("y", "float32", (1, CLASSES)),
        labels=tuple(f"class {i}" for i in range(CLASSES)),
        limits=Limits(
            golden_tolerance=0.01, latency_p99_us=500_000, memory_mb=400, shadow_frames=5, probation_frames=5
        ),
    )
    return BenchmarkRelease(manifest, artifact, golden)


def _golden_bytes(artifact: bytes) -> bytes:
    inputs = np.random.default_rng(2).normal(size=(GOLDEN_COUNT, 1, 3, SIDE_PX, SIDE_PX)).astype(np.float32)
    session = ort.InferenceSession(artifact, providers=["CPUExecutionProvider"])
    outputs = b"".join(session.run(None, {"x": vector})[0].tobytes() for vector in inputs)
    return msgspec.msgpack.encode(GoldenVectors(GOLDEN_COUNT, inputs.tobytes(), outputs))
