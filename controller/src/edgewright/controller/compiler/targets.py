"""The device targets that this controller compiles for: ``targets.toml``, read into frozen values.

A target is what an artifact is proven against: an inference runtime with a range of versions, an execution
provider or delegate, a processor architecture, and the precisions worth trying, preferred first. int8 weights
are symmetric and per channel everywhere; activations are unsigned on x86, whose dot-product instructions
multiply unsigned by signed (signed ones measured no gain there in depthwise layers), and signed on ARM.

``x86_64-ort-cpu-fp32`` is for processors without an int8 dot product (before AVX-512 VNNI or AVX-VNNI): int8
kernels saturate there and bring no speed.

A described target is one that nobody has qualified yet: it is listed with what is missing, and refused.
"""

import tomllib
from importlib.resources import files
from typing import Final, Literal

import msgspec

from edgewright.controller.compiler.subject import Format
from edgewright.controller.errors import UnknownTargetError, UnqualifiedTargetError
from edgewright.controller.model_toml import Precision
from edgewright.wire.manifest import RuntimeRange

Activation = Literal["uint8", "int8"]


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One row of the table.

    Attributes:
        name: what devices enrol with.
        summary: one sentence for lists and the documentation.
        machine: processor architecture, as ``platform.machine()`` spells it.
        cpu: processor features that it needs, of ``wire.handshake.CPU_FEATURES``.
        runtime: what runs the artifact.
        environment: the toolchain that has this runtime; empty for the controller's own environment.
        format: of its artifacts.
        needs: toolchains that make its candidates.
        precisions: candidates, preferred first; fp32 is the last resort.
        activation: element type of quantised activations.
        memory_mb, latency_us: limits beside the model's own, 0 for none.
    """

    name: str = ""
    summary: str
    machine: str
    cpu: tuple[str, ...] = ()
    runtime: RuntimeRange
    environment: str = ""
    format: Format = "onnx"
    needs: tuple[str, ...] = ()
    precisions: tuple[Precision, ...]
    activation: Activation
    memory_mb: float = 0.0
    latency_us: float = 0.0


class DescribedTarget(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A target that is not qualified yet.

    Attributes:
        missing: what would have to be there, as the end of a sentence.
    """

    name: str = ""
    summary: str
    machine: str
    missing: str


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    target: dict[str, Target]
    described: dict[str, DescribedTarget]


def _read() -> _Table:
    text = files("edgewright.controller.compiler").joinpath("targets.toml").read_text()
    return msgspec.convert(tomllib.loads(text), _Table)


_TABLE: Final = _read()

TARGETS: Final[dict[str, Target]] = {
    name: msgspec.structs.replace(target, name=name) for name, target in _TABLE.target.items()
}

DESCRIBED: Final[dict[str, DescribedTarget]] = {
    name: msgspec.structs.replace(target, name=name) for name, target in _TABLE.described.items()
}


def find_target(name: str) -> Target:
    """The table's row.

    Raises:
        UnqualifiedTargetError: it is described, and not qualified.
        UnknownTargetError: there is none of this name.
    """
    if name in DESCRIBED:
        raise UnqualifiedTargetError(f"The target {name} is not qualified yet: {DESCRIBED[name].missing}.")
    try:
        return TARGETS[name]
    except KeyError:
        known = ", ".join(TARGETS)
        raise UnknownTargetError(f"There is no target {name!r}; there are {known}.") from None
