"""The facts of a compiled model, written down: what model card and bill of materials are tested with."""

import dataclasses
from typing import Any

import numpy as np

from edgewright.controller.compiler.facts import CompileFacts, DataFacts, TargetFacts
from edgewright.controller.compiler.gates import Verdict
from edgewright.controller.compiler.licences import read_licences
from edgewright.controller.compiler.subject import Port
from edgewright.controller.model_toml import GatesPart, LicencePart
from edgewright.wire.manifest import Preprocessing, RuntimeRange

LABELS = ("red", "green", "blue & grey")
NUMBERS = {
    "length": 246_000.0,
    "size_ratio": 0.27,
    "agreement": 0.9925,
    "logit_error": 0.0213,
    "worst_class_bound": 0.061,
    "latency_us": 81.0,
    "fp32_latency_us": 120.0,
    "latency_ratio": 0.675,
    "memory_mb": 3.5,
}
PASSED = Verdict(
    name="int8",
    passed=True,
    length=246_000,
    sentences=("pass: all outputs are finite",),
    failures=(),
    passed_gates=("finite outputs", "top-1 agreement", "logit error", "loss by class", "latency"),
)
REFUSED = Verdict(
    name="fp16",
    passed=False,
    length=460_000,
    sentences=(
        "FAIL: relative logit error 0.3100 (at most 0.1)",
        "FAIL: takes 1.34 of fp32's time (at most 1)",
    ),
    failures=("relative logit error 0.3100 (at most 0.1)", "takes 1.34 of fp32's time (at most 1)"),
    passed_gates=("finite outputs",),
    failed_gates=("logit error", "latency"),
    broken_at="the layer head/MatMul, whose error is 0.29",
)


def target_facts(**changes: Any) -> TargetFacts:
    """An int8 artifact for onnxruntime on this machine's kind of processor."""
    first = TargetFacts(
        target="x86_64-ort-cpu",
        machine="x86_64",
        runtime=RuntimeRange("onnxruntime", "1.24", "2.0", "CPUExecutionProvider"),
        candidate="int8",
        precision="int8",
        format="onnx",
        sha256="a" * 64,
        length=246_000,
        golden_sha256="b" * 64,
        golden_count=5,
        verdicts=(REFUSED, PASSED),
        numbers=NUMBERS,
        tools={"onnxruntime": "1.31.1"},
        proven_on=("onnxruntime 1.31.1 CPUExecutionProvider",),
    )
    return dataclasses.replace(first, **changes)


def emulated_target() -> TargetFacts:
    """A TFLite artifact that no board has measured."""
    unjudged = dataclasses.replace(PASSED, passed_gates=PASSED.passed_gates[:-1], unjudged_gates=("latency",))
    return target_facts(
        target="aarch64-litert",
        machine="aarch64",
        runtime=RuntimeRange("litert", "2.1", "3.0", "XNNPACK"),
        format="tflite",
        sha256="c" * 64,
        golden_sha256="d" * 64,
        verdicts=(unjudged,),
        numbers={name: value for name, value in NUMBERS.items() if "latency" not in name},
        tools={"onnx2tf": "2.6.9", "ai-edge-quantizer": "0.8.0", "python": "3.12.1"},
        proven_on=("litert 2.1.2 XNNPACK",),
        qualification="emulated",
        left_alone=("head/MatMul",),
    )


def compile_facts(**changes: Any) -> CompileFacts:
    """A model of three colours for two targets."""
    text = "Apache-2.0; trained on painted frames, CC-BY-4.0; backbone"
    first = CompileFacts(
        name="colours",
        version=3,
        parent=2,
        source_file="colours.onnx",
        source_sha256="e" * 64,
        source_length=905_000,
        source_format="onnx",
        licences=read_licences(text, LicencePart()),
        inputs=(Port("image", "float32", (1, 3, 64, 64)),),
        outputs=(Port("logits", "float32", (1, 3)), Port("embedding", "float32", (1, 128))),
        gates=GatesPart(),
        targets=(target_facts(), emulated_target()),
        compilers={"edgewright-controller": "0.1.0", "onnx": "1.23.0"},
        labels=LABELS,
        decision="logits",
        fallback="by hand",
        preprocessing=Preprocessing(64, 64, "rgb", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
        data=(
            DataFacts("calibration", "data/calibration.npz", "1" * 64, 120),
            DataFacts("holdout", "data/holdout.npz", "2" * 64, 60, dict.fromkeys(LABELS, 20)),
        ),
        confusion=np.array([[18, 1, 1], [0, 20, 0], [4, 0, 16]]),
        notes=("The batch axis of the inputs was fixed to 1.",),
        own_text="3" * 64,
    )
    return dataclasses.replace(first, **changes)
