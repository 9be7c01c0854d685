"""The seam between Edgewright and inference runtimes: what an adapter has to do, and which adapters exist.

Everything on this side of the seam is float32 with the shapes of the manifest: an adapter of a model with
integer inputs or outputs quantises and dequantises by the model's own scales. Foreign exceptions do not pass.
"""

import importlib.util
import re
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from edgewright.wire.errors import RuntimeLoadError
from edgewright.wire.manifest import Manifest, RuntimeRange


class Quantisation(NamedTuple):
    """``real = (stored - zero_point) * scale``; the default is that of a float32 tensor."""

    scale: float = 1.0
    zero_point: int = 0


class Info(NamedTuple):
    """What a session runs on, for reports."""

    runtime: str
    version: str
    provider: str


class Session(Protocol):
    """One loaded artifact."""

    @property
    def input_quantisation(self) -> Quantisation:
        """How the model stores its input."""

    def run_into(self, inputs: NDArray[np.float32], output: NDArray[np.float32]) -> None:
        """Run once, from and into arrays of the manifest's shapes, which may be the same at every call.

        Raises:
            RunnerOutputError: the runtime could not run the model.
        """

    def info(self) -> Info:
        """Runtime, version and provider."""

    def placement(self) -> dict[str, int]:
        """Number of graph nodes by execution provider; empty where the runtime does not tell."""


class Runtime(Protocol):
    """One inference runtime."""

    def version(self) -> str:
        """The installed version."""

    def load(self, artifact: Path | bytes, manifest: Manifest, threads: int) -> Session:
        """Load an artifact: a file, or the bytes of one that lies encrypted on the disk.

        Raises:
            RuntimeLoadError: it is no model, or not the one that the manifest describes, or the provider is
                not there.
        """


MODULES: Final = {"onnxruntime": "onnxruntime", "litert": "ai_edge_litert"}
"""The module that has to be installed for a runtime."""


def installed(name: str) -> bool:
    """Whether this device has the runtime."""
    return importlib.util.find_spec(MODULES[name]) is not None


def open_runtime(wanted: RuntimeRange) -> Runtime:
    """The runtime that a manifest asks for.

    Raises:
        RuntimeLoadError: it is not installed, or in a version outside the range.
    """
    if not installed(wanted.name):
        raise RuntimeLoadError(f"The runtime {wanted.name} is not installed.")
    runtime = _import_runtime(wanted.name)
    version = runtime.version()
    if not _numbers(wanted.minimum) <= _numbers(version) < _numbers(wanted.below):
        raise RuntimeLoadError(
            f"{wanted.name} {version} is installed; the artifact needs {wanted.minimum} to {wanted.below}."
        )
    return runtime


def verify_shape(what: str, found: tuple[object, ...], declared: tuple[int, ...]) -> None:
    """Compare a tensor's shape in the model with the manifest's; an axis that the model leaves open fits any.

    Raises:
        RuntimeLoadError: they differ.
    """
    fits = len(found) == len(declared) and all(
        not isinstance(axis, int) or axis == size for axis, size in zip(found, declared, strict=True)
    )
    if not fits:
        raise RuntimeLoadError(f"The model's {what} has the shape {found}, not {declared}.")


def _import_runtime(name: str) -> Runtime:
    if name == "litert":
        from edgewright.agent.runner.litert_runtime import LiteRtRuntime

        return LiteRtRuntime()
    from edgewright.agent.runner.onnxruntime_runtime import OnnxRuntime

    return OnnxRuntime()


def _numbers(version: str) -> tuple[int, ...]:
    """Leading numbers of a version without trailing zeros, so that 1.31 equals 1.31.0."""
    match = re.match(r"\d+(\.\d+)*", version)
    numbers = [int(part) for part in match[0].split(".")] if match else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
