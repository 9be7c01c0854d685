"""A candidate: one form of a model that could ship for a target."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from edgewright.controller.compiler.subject import Format
from edgewright.controller.model_toml import Precision

Range = tuple[float, float]
"""Smallest and largest value of a tensor."""

AS_IT_CAME: Final = "int8, as it came"
"""Name of the one candidate of a model that came quantised."""

_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True)
class Candidate:
    """One form of the model.

    Attributes:
        name: its precision, with a remark where there are two of one; unique among a target's candidates.
        precision: for the manifest.
        model: the artifact.
        format: of the artifact.
        ranges: what it was quantised with, by fingerprint of the tensor; empty where nothing was.
        tools: what made it, with versions, for provenance and SBOM.
        left_alone: nodes or operators that a mixed-precision search left in float.
    """

    name: str
    precision: Precision
    model: bytes
    format: Format = "onnx"
    ranges: Mapping[str, Range] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    left_alone: tuple[str, ...] = ()
