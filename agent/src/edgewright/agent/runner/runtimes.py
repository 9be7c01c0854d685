"""The seam between Edgewright and inference runtimes: what an adapter has to do, and which adapters exist.

Everything on this side of the seam is float32 with the shapes of the manifest: an adapter of a model with
integer inputs or outputs quantises and dequantises by the model's own scales. Foreign exceptions do not pass.
"""

import importlib.util
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from edgewright.agent.environments import verify_version
from edgewright.wire.errors import PlacementError, RuntimeLoadError
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
            RunnerShapeError: the output has another shape than the manifest's.
        """

    def info(self) -> Info:
        """Runtime, version and provider."""

    def placement(self) -> dict[str, int]:
        """Number of graph nodes by execution provider or delegate."""


class Runtime(Protocol):
    """One inference runtime."""

    def version(self) -> str:
        """The installed version."""

    def load(self, artifact: Path | bytes, manifest: Manifest, threads: int) -> Session:
        """Load an artifact: a file, or the bytes of one that lies encrypted on the disk.

        Raises:
            PlacementError: the provider is not there, or does not take the model.
            RuntimeLoadError: it is no model, or not the one that the manifest describes.
        """


MODULES: Final = {
    "onnxruntime": "onnxruntime",
    "litert": "ai_edge_litert",
    "tflite-runtime": "tflite_runtime",
}
"""The module that has to be installed for a runtime, in the environment of its runner."""


def installed(name: str) -> bool:
    """Whether the environment of this process has the runtime."""
    return importlib.util.find_spec(MODULES[name]) is not None


def open_runtime(wanted: RuntimeRange) -> Runtime:
    """The runtime that a manifest asks for.

    Raises:
        RuntimeLoadError: it is not installed, cannot be imported, or is of a version outside the range.
    """
    if not installed(wanted.name):
        raise RuntimeLoadError(f"The runtime {wanted.name} is not installed.")
    try:
        runtime = _import_runtime(wanted.name)
    except ImportError as error:
        raise RuntimeLoadError(f"The runtime {wanted.name} cannot be imported: {error}.") from error
    verify_version(wanted, runtime.version())
    return runtime


def load_session(artifact: Path | bytes, manifest: Manifest, threads: int) -> Session:
    """Load an artifact on the runtime of its manifest, and refuse what would run elsewhere.

    Every runner loads by this, in the qualification and for each frame's sake alike: the device that
    qualified a model may have lost its accelerator since.

    Raises:
        PlacementError: too few of its nodes run on the manifest's provider.
        RuntimeLoadError: see ``open_runtime`` and ``Runtime.load``.
    """
    session = open_runtime(manifest.runtime).load(artifact, manifest, threads)
    verify_placement(session.placement(), manifest.runtime)
    return session


def verify_placement(placement: dict[str, int], wanted: RuntimeRange) -> None:
    """No silent fallback: the manifest's provider runs the share of the nodes that the manifest demands.

    Raises:
        PlacementError: it runs less, or the runtime does not tell where nodes run.
    """
    nodes, taken = sum(placement.values()), placement.get(wanted.provider, 0)
    if not nodes:
        raise PlacementError(
            "The runtime names no node of the model, so none is known to run where it should."
        )
    # At least one, whatever the share; and a share that is no number is met by nothing.
    enough = taken >= wanted.placed * nodes
    if not (taken and enough):
        raise PlacementError(
            f"{taken} of the model's {nodes} nodes would run on {wanted.provider}; "
            f"the manifest demands {wanted.placed:.0%} of them."
        )


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
    match name:
        case "litert":
            from edgewright.agent.runner.litert_runtime import LiteRtRuntime

            return LiteRtRuntime()
        case "tflite-runtime":
            from edgewright.agent.runner.tflite_runtime import TfliteRuntime

            return TfliteRuntime()
        case _:
            from edgewright.agent.runner.onnxruntime_runtime import OnnxRuntime

            return OnnxRuntime()
