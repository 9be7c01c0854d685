"""The device targets that this controller compiles for: one literal table.

A target is what an artifact is proven against: an inference runtime with a range of versions, an execution
provider, a processor architecture, and the precisions worth trying, preferred first. int8 weights are
symmetric and per channel everywhere; activations are unsigned on x86, whose dot-product instructions multiply
unsigned by signed (signed ones measured no gain there in depthwise layers), and signed on ARM.

``x86_64-ort-cpu-fp32`` is for processors without an int8 dot product (before AVX-512 VNNI or AVX-VNNI): int8
kernels saturate there and bring no speed.
"""

from dataclasses import dataclass
from typing import Final, Literal

from edgewright.controller.errors import UnknownTargetError
from edgewright.controller.model_toml import Precision
from edgewright.wire.manifest import RuntimeRange

Activation = Literal["uint8", "int8"]

_ORT_CPU: Final = RuntimeRange("onnxruntime", "1.24", "2.0", "CPUExecutionProvider")
"""QDQ graphs of opset 17 with per-channel weights run unchanged on all of these, and all of these tell which
provider runs a node; from one that does not, a device takes no model.
"""


@dataclass(frozen=True)
class Target:
    """One row of the table.

    Attributes:
        name: what devices enrol with.
        machine: processor architecture, as ``platform.machine()`` spells it.
        runtime: what runs the artifact.
        precisions: candidates, preferred first; fp32 is the last resort.
        activation: element type of quantised activations.
        summary: one sentence for lists and the documentation.
    """

    name: str
    machine: str
    runtime: RuntimeRange
    precisions: tuple[Precision, ...]
    activation: Activation
    summary: str


_TABLE: Final = (
    Target(
        name="x86_64-ort-cpu",
        machine="x86_64",
        runtime=_ORT_CPU,
        precisions=("int8", "fp32"),
        activation="uint8",
        summary="PC or industrial computer whose CPU has an int8 dot product (VNNI), onnxruntime.",
    ),
    Target(
        name="x86_64-ort-cpu-fp32",
        machine="x86_64",
        runtime=_ORT_CPU,
        precisions=("fp32",),
        activation="uint8",
        summary="PC or industrial computer whose CPU has no int8 dot product, onnxruntime.",
    ),
    Target(
        name="aarch64-ort-cpu",
        machine="aarch64",
        runtime=_ORT_CPU,
        precisions=("int8", "fp32"),
        activation="int8",
        summary="64-bit ARM board, onnxruntime.",
    ),
)

TARGETS: Final[dict[str, Target]] = {target.name: target for target in _TABLE}


def find_target(name: str) -> Target:
    """The table's row.

    Raises:
        UnknownTargetError: there is none of this name.
    """
    try:
        return TARGETS[name]
    except KeyError:
        known = ", ".join(TARGETS)
        raise UnknownTargetError(f"There is no target {name!r}; there are {known}.") from None
