"""Models that would run elsewhere than their manifest says, and honest ones beside them.

A hundred liars for the runtimes that every installation of the tests has; the environments of their own add
models that OpenVINO or tflite-runtime's XNNPACK really take in part.
"""

from collections.abc import Iterator
from itertools import product
from typing import Final, Literal, NamedTuple

from edgewright.agent.environments import Environments
from edgewright.wire.manifest import RuntimeRange
from tests.agent.tflite_model import tflite_bytes
from tests.agent.tiny_models import onnx_bytes
from tests.fallback_models import partly_taken_onnx

CPU: Final = "CPUExecutionProvider"
OPENVINO: Final = "OpenVINOExecutionProvider"
Tflite = Literal["litert", "tflite-runtime"]

_ABSENT: Final = (
    "ACLExecutionProvider",
    "ArmNNExecutionProvider",
    "CANNExecutionProvider",
    "CUDAExecutionProvider",
    "CoreMLExecutionProvider",
    "DmlExecutionProvider",
    "DnnlExecutionProvider",
    "JsExecutionProvider",
    "MIGraphXExecutionProvider",
    "NnapiExecutionProvider",
    "OpenVINOExecutionProvider",
    "QNNExecutionProvider",
    "RknpuExecutionProvider",
    "ROCMExecutionProvider",
    "SNPEExecutionProvider",
    "TensorrtExecutionProvider",
    "TvmExecutionProvider",
    "VSINPUExecutionProvider",
    "VitisAIExecutionProvider",
    "WebGpuExecutionProvider",
    "XnnpackExecutionProvider",
)
"""Real ones of onnxruntime that its build for CPUs has not."""

_MISSPELT: Final = (
    "CPU",
    "cpu",
    "Cpu",
    "CPUExecutionprovider",
    "CPUExecutionProvider ",
    " CPUExecutionProvider",
    "CPUExecutionProvider\0",
    "CpuExecutionProvider",
    "CPU ExecutionProvider",
    "CPUExecutionProviders",
    "CPUExecutionProvider,",
    "CUDAExecutionProvider,CPUExecutionProvider",
    "*",
    "",
)
_NO_DELEGATE: Final = (
    "CPUExecutionProvider",
    "EdgeTPU",
    "GPU",
    "Hexagon",
    "NNAPI",
    "NPU",
    "Vulkan",
    "XNNPACK ",
    "XNNPack",
    "xnnpack",
    "libedgetpu.so.1",
    "",
)
_TAKEN: Final = (
    "ABS",
    "CEIL",
    "ELU",
    "FLOOR",
    "HARD_SWISH",
    "LOGISTIC",
    "NEG",
    "RELU",
    "ROUND",
    "SQUARE",
    "TANH",
)
"""Operators of TensorFlow Lite that both packages' XNNPACK takes."""

_LEFT: Final = "ZEROS_LIKE"
"""One that neither takes."""


class Case(NamedTuple):
    """A model, and what its manifest says of it."""

    name: str
    runtime: RuntimeRange
    artifact: bytes


def liars(environments: Environments) -> Iterator[Case]:
    """Models none of which may be loaded; the first hundred need no environment of its own."""
    yield from _without_provider()
    yield from _left_to_the_kernels("litert")
    if f"onnxruntime/{OPENVINO}" in environments:
        yield from _left_by_openvino()
    if "tflite-runtime" in environments:
        yield from _left_to_the_kernels("tflite-runtime")
        # Taken by LiteRT's newer XNNPACK, so a model that is honest there is none here.
        for name in ("COS", "EXP", "LOG", "RSQRT", "SIN"):
            yield Case(f"tflite-runtime leaves {name}", _tflite("tflite-runtime"), tflite_bytes(tail=(name,)))


def honest(environments: Environments) -> Iterator[Case]:
    """Models all of which run where their manifests say; the first twenty need no environment of its own."""
    for salt in range(6):
        yield Case(f"onnxruntime CPU {salt}", _onnx(CPU), onnx_bytes(salt=salt))
    yield Case("onnxruntime CPU, own operators", _onnx(CPU), partly_taken_onnx())
    yield Case("LiteRT without delegate", _tflite("litert", "CPU"), tflite_bytes(tail=(_LEFT,)))
    for name in (*_TAKEN, "EXP"):
        yield Case(f"LiteRT takes {name}", _tflite("litert"), tflite_bytes(tail=(name,)))
    yield Case("LiteRT in part, as allowed", _tflite("litert", placed=0.5), tflite_bytes(tail=(_LEFT,)))
    if f"onnxruntime/{OPENVINO}" in environments:
        yield Case("OpenVINO", _onnx(OPENVINO), onnx_bytes())
        yield Case("OpenVINO in part, as allowed", _onnx(OPENVINO, 0.75), partly_taken_onnx())
    if "tflite-runtime" in environments:
        yield Case("tflite-runtime", _tflite("tflite-runtime"), tflite_bytes(tail=_TAKEN[:3]))


def _without_provider() -> Iterator[Case]:
    for salt, provider in enumerate((*_ABSENT, *_MISSPELT, "XNNPACK")):
        if provider != OPENVINO:
            yield Case(f"onnxruntime has no {provider!r}", _onnx(provider), onnx_bytes(salt=salt))
    # A part of the nodes is allowed elsewhere; none on the provider is not.
    for salt, provider in enumerate(_ABSENT[:5]):
        yield Case(f"onnxruntime has no {provider}, placed 0", _onnx(provider, 0.0), onnx_bytes(salt=salt))
    for placed in (0.0, 0.1, 0.5, 0.9, 1.0):
        yield Case(f"Azure takes nothing, {placed}", _onnx("AzureExecutionProvider", placed), onnx_bytes())
    for provider in _NO_DELEGATE:
        yield Case(f"LiteRT has no {provider!r}", _tflite("litert", provider), tflite_bytes())


def _left_to_the_kernels(name: Tflite) -> Iterator[Case]:
    """One operator that no delegate takes, first, last, between others and alone in half of a graph."""
    runtime = _tflite(name)
    for first, second in product(_TAKEN[:4], _TAKEN[4:]):
        yield Case(f"{name} leaves one between", runtime, tflite_bytes(tail=(first, _LEFT, second)))
    for taken in _TAKEN:
        yield Case(f"{name} leaves the last", runtime, tflite_bytes(tail=(taken, _LEFT)))
    for count in range(2, 6):
        yield Case(f"{name} leaves {count}", runtime, tflite_bytes(tail=(_LEFT,) * count))


def _left_by_openvino() -> Iterator[Case]:
    # Always the last ones: OpenVINO cannot load a second part behind an operator that it leaves, and says so.
    for taken in ((), ("Relu",), ("Tanh",), ("Relu", "Tanh"), ("Abs",)):
        tail = (*taken, "CDist")
        yield Case(f"OpenVINO leaves {tail}", _onnx(OPENVINO), partly_taken_onnx(tail))
        yield Case(f"OpenVINO leaves too many of {tail}", _onnx(OPENVINO, 0.9), partly_taken_onnx(tail))


def _onnx(provider: str, placed: float = 1.0) -> RuntimeRange:
    return RuntimeRange("onnxruntime", "1.24", "99", provider, placed)


def _tflite(name: Tflite, provider: str = "XNNPACK", placed: float = 1.0) -> RuntimeRange:
    return RuntimeRange(name, "2", "99", provider, placed)
