"""What was compiled before, by everything that determines it: an unchanged push compiles nothing.

A key covers the bytes of the model and of its data, what model.toml says of both, the target's row, the
inherited ranges, the compiler's own code, the packages and toolchains that it uses, and this machine's
processor, because a gate may judge latency. A measured latency near its limit may differ from one run to the
next; the cache keeps the first answer, so the same push gives the same bytes on one controller.

An entry is one JSON file, written whole or not at all. One that cannot be read, or whose blobs are gone, is
no entry, and one that cannot be written is forgone. Nothing here is trusted for security: artifacts are
proven again by their digests when they are signed, and by the device.
"""

import contextlib
import os
import platform
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as distribution_version
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from edgewright.controller.blobs import BlobStore
from edgewright.controller.compiler.compiled import Compiled
from edgewright.controller.compiler.subject import Port
from edgewright.controller.compiler.targets import Target
from edgewright.wire.canonical import canonical_json, sha256_hex
from edgewright.wire.manifest import Manifest, Patch, encode_manifest

FOLDER: Final = "compiled"
"""In the data folder, beside the blobs."""

MOST_ENTRIES: Final = 4000
"""A kilobyte or ten each; the oldest go first."""

PACKAGES: Final = (
    "edgewright-controller",
    "edgewright-agent",
    "numpy",
    "onnx",
    "onnxruntime",
    "opencv-python-headless",
    "protobuf",
    "scipy",
)

_T = TypeVar("_T")


class KnownPatch(msgspec.Struct, frozen=True):
    """That somebody has looked for a patch between two blobs; None where none is worth it."""

    patch: Patch | None


class KnownTwin(msgspec.Struct, frozen=True):
    """What was said of a source beside an older version; empty for nothing. See ``twin``."""

    sentence: str


class SourceFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A source that has passed its checks.

    Attributes:
        metrics: numbers of the source, as ``BuildResult.metrics``.
        inputs, outputs: its ports.
        confusion: its decisions on the holdout, ``[true][decided]`` counts by label; empty for none.
        rows: how many calls calibration and holdout have.
        classes: how many calls of the holdout have each label.
        licence: that the model's file carries in its own metadata.
        synthetic: whether they were drawn.
        notes: sentences of the front end.
        warnings: those among them that a person should read before a rollout.
    """

    metrics: dict[str, float]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    confusion: tuple[tuple[int, ...], ...] = ()
    rows: dict[str, int] = {}
    classes: dict[str, int] = {}
    licence: str = ""
    synthetic: bool = False
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class CompileCache:
    """Entries below one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, key: str, blobs: BlobStore) -> Compiled | None:
        """What was compiled under a key, where its blobs are still there."""
        found = self._read(key, Compiled)
        if found is None:
            return None
        needed = [blob for one in (found, *found.others) for blob in (one.artifact, one.golden)]
        return found if all(blobs.has(blob.sha256) for blob in needed) else None

    def keep(self, key: str, compiled: Compiled) -> None:
        """Remember what was compiled."""
        self._write(key, compiled)

    def find_patch(self, base: str, new: str, blobs: BlobStore) -> KnownPatch | None:
        """What patch leads from one blob to another, where that is known."""
        found = self._read(_patch_key(base, new), KnownPatch)
        if found is None or (found.patch is not None and not blobs.has(found.patch.blob.sha256)):
            return None
        return found

    def keep_patch(self, base: str, new: str, patch: Patch | None) -> None:
        """Remember a patch, or that none is worth it."""
        self._write(_patch_key(base, new), KnownPatch(patch))

    def find_twin(self, source: str, older: Manifest) -> KnownTwin | None:
        """What was said of a source beside an older version, where they were compared."""
        return self._read(_twin_key(source, older), KnownTwin)

    def keep_twin(self, source: str, older: Manifest, sentence: str) -> None:
        """Remember what was said of a source beside an older version."""
        self._write(_twin_key(source, older), KnownTwin(sentence))

    def find_source(self, key: str) -> SourceFacts | None:
        """What is known of a source that has passed its checks."""
        return self._read(key, SourceFacts)

    def keep_source(self, key: str, facts: SourceFacts) -> None:
        """Remember that a source has passed its checks."""
        self._write(key, facts)

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.json"

    def _read(self, key: str, shape: type[_T]) -> _T | None:
        try:
            return msgspec.json.decode(self._path(key).read_bytes(), type=shape)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None

    def _write(self, key: str, value: Any) -> None:
        # A result exists whether it is remembered or not: a full disk must not end its build.
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self._folder, prefix=".part-")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(msgspec.json.encode(value))
                Path(name).replace(self._path(key))
            finally:
                Path(name).unlink(missing_ok=True)
            self._thin()

    def _thin(self) -> None:
        entries = list(self._folder.glob("*.json"))
        if len(entries) > MOST_ENTRIES:
            for entry in sorted(entries, key=_age)[: len(entries) // 4]:
                entry.unlink(missing_ok=True)


def _age(entry: Path) -> float:
    try:
        return entry.stat().st_mtime
    except FileNotFoundError:  # another writer has removed it
        return 0.0


def target_key(source: str, target: Target, ranges_sha256: str, identities: Sequence[str]) -> str:
    """Key of one target's compilation.

    Args:
        source: see ``source_key``.
        target: its row.
        ranges_sha256: inherited calibration ranges, empty for none.
        identities: of the toolchains that it uses, each with its version.
    """
    parts = {"source": source, "target": target, "ranges": ranges_sha256, "toolchains": list(identities)}
    return _digest({"what": "compiled", **parts})


def source_key(declaration: Mapping[str, Any], digests: Mapping[str, str]) -> str:
    """Key of a model and its data on this installation.

    Args:
        declaration: what model.toml says of them, as plain data.
        digests: of the files that it names, by path.
    """
    machine = {"machine": platform.machine(), "cpu": _processor()}
    parts = {"code": _code(), "packages": package_versions(), **machine}
    return _digest({"what": "source", "declaration": declaration, "digests": dict(digests), **parts})


def _patch_key(base: str, new: str) -> str:
    return _digest({"what": "patch", "base": base, "new": new, "code": _code()})


def _twin_key(source: str, older: Manifest) -> str:
    return _digest({"what": "twin", "source": source, "older": sha256_hex(encode_manifest(older))})


def _digest(parts: Mapping[str, Any]) -> str:
    return sha256_hex(canonical_json(parts))


@cache
def _code() -> str:
    """Digest of the compiler's own source files: another release compiles anew."""
    root = Path(__file__).parent
    files = sorted(path for path in root.rglob("*") if path.suffix in {".py", ".toml", ".lock"})
    return sha256_hex(b"\0".join(path.name.encode() + b"\0" + path.read_bytes() for path in files))


@cache
def package_versions() -> dict[str, str]:
    """Packages of this environment that take part in compiling."""
    return {name: _version(name) for name in PACKAGES}


def _version(name: str) -> str:
    try:
        return distribution_version(name)
    except PackageNotFoundError:
        return ""


@cache
def _processor() -> str:
    """The processor's name and features, as the kernel tells them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    told = [line for line in lines if line.lower().startswith(("model name", "flags", "features"))]
    return "\n".join(told[:2])
