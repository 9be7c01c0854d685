"""Keys of the cache for a model folder: for the build, and for whoever looks whether one is needed."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from edgewright.controller.compiler.cache import source_key, target_key
from edgewright.controller.compiler.targets import Target
from edgewright.controller.compiler.toolchains.places import find_place
from edgewright.controller.compiler.toolchains.table import find_toolchain
from edgewright.controller.model_tensors import TensorSpec
from edgewright.controller.model_toml import ModelSpec
from edgewright.wire.canonical import sha256_hex

_NOT_COMPILED: Final = ("targets", "drift", "rebuild", "confidential", "licence")
"""Tables of model.toml that change no artifact."""

_EXPORTERS: Final = {".pt2": "torch", ".keras": "keras"}
"""Toolchains that write a source as ONNX first."""


@dataclass(frozen=True)
class Keys:
    """Keys of one folder.

    Attributes:
        source: of the model and its data.
        digests: of the files that determine it, by path.
        ranges_sha256: calibration ranges that the build inherits.
    """

    source: str
    digests: Mapping[str, str]
    ranges_sha256: str = ""

    def target(self, target: Target, *, keep_others: bool = False) -> str:
        """Of one target's compilation, or of one that keeps all that passes the gates."""
        names = [name for name in (target.environment, *target.needs) if name]
        key = target_key(self.source, target, self.ranges_sha256, [_identity(name) for name in names])
        return sha256_hex(f"{key} and all others".encode()) if keep_others else key


def keys_of(
    folder: Path, spec: ModelSpec | TensorSpec, ranges_sha256: str = "", others: Sequence[str] = ()
) -> Keys:
    """Keys of a model folder.

    Args:
        folder: where the files are.
        spec: their declaration.
        ranges_sha256: calibration ranges that the build inherits.
        others: files that no declaration names and that count too, such as a model's outer weights.

    Raises:
        OSError: a file that model.toml names cannot be read.
    """
    declaration: dict[str, Any] = msgspec.to_builtins(spec)
    for name in _NOT_COMPILED:
        declaration.pop(name, None)
    names = (spec.model.file, spec.data.calibration, spec.data.holdout, *others)
    if toolchain := _EXPORTERS.get(Path(spec.model.file).suffix):
        declaration["exporter"] = _identity(toolchain)
    digests = {name: file_digest(folder / name) for name in names if name}
    return Keys(source_key(declaration, digests), digests, ranges_sha256)


def file_digest(path: Path) -> str:
    """SHA-256 of a file.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _identity(name: str) -> str:
    """A toolchain with its lock and the versions of its packages; one that is not installed has none."""
    toolchain = find_toolchain(name)
    place = find_place(toolchain)
    versions = sorted(place.versions.items()) if place else []
    parts = (f"{package}={version}" for package, version in versions)
    return " ".join([name, *([toolchain.lock_sha256] if place and not place.own else []), *parts])
