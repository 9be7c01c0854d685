"""Small graphs for the compiler's tests, and the subjects around them; everything is drawn from seeds."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgewright.controller.compiler.graph import canonical_graph
from edgewright.controller.compiler.subject import Port, Subject
from edgewright.controller.model_toml import GatesPart

Array = NDArray[np.float32]

SIDE = 8
LABELS = ("north", "east", "south", "west")

# A test does not measure time: on a busy machine two small networks change places.
UNTIMED = GatesPart(latency_ratio=100.0)


def graph(
    nodes: Sequence[onnx.NodeProto],
    weights: dict[str, Any],
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    opset: int = 17,
) -> bytes:
    """A canonical model of float32 inputs and outputs."""
    ports = [
        [helper.make_tensor_value_info(port.name, TensorProto.FLOAT, port.shape) for port in side]
        for side in (inputs, outputs)
    ]
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    made = helper.make_graph(list(nodes), "small", ports[0], ports[1], stored)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model)
    return canonical_graph(model.SerializeToString())


def patterns() -> Array:
    """One picture a label, float32 [4, 3, 8, 8]."""
    return np.random.default_rng(11).normal(0, 1, (len(LABELS), 3, SIDE, SIDE)).astype(np.float32)


def pictures(count: int, seed: int, noise: float = 1.0) -> tuple[Array, NDArray[np.intp]]:
    """Patterns with noise, [n, 1, 3, 8, 8], and their labels' numbers."""
    rng = np.random.default_rng(seed)
    truths = rng.integers(0, len(LABELS), count)
    noisy = patterns()[truths] + rng.normal(0, noise, (count, 3, SIDE, SIDE))
    return noisy[:, np.newaxis].astype(np.float32), truths.astype(np.intp)


def matcher() -> bytes:
    """A model that tells the patterns apart: one product with all of them."""
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("Gemm", ["flat", "patterns", "offset"], ["logits"], transB=1, name="match"),
    ]
    flat = patterns().reshape(len(LABELS), -1) / 16
    offset = (-8 * (flat**2).sum(axis=1)).astype(np.float32)
    ports = Port("image", "float32", (1, 3, SIDE, SIDE)), Port("logits", "float32", (1, len(LABELS)))
    return graph(nodes, {"patterns": flat, "offset": offset}, ports[:1], ports[1:])


def matching_subject(model: bytes | None = None, gates: GatesPart = UNTIMED) -> Subject:
    """The patterns' model, with 64 pictures to calibrate and 120 to judge."""
    holdout, truths = pictures(120, seed=2)
    return Subject(
        name="matcher",
        model=model or matcher(),
        format="onnx",
        inputs=(Port("image", "float32", (1, 3, SIDE, SIDE)),),
        outputs=(Port("logits", "float32", (1, len(LABELS))),),
        calibration={"image": pictures(64, seed=1)[0]},
        holdout={"image": holdout},
        gates=gates,
        decision="logits",
        labels=LABELS,
        truths=truths,
    )
