"""onnxruntime behind the seam: the only file that imports it, whichever of its builds is installed.

Without care it falls back in silence, in two places. Its Python layer starts again on the CPU when a provider
cannot be made, and its graph partitioner hands every node that the provider does not take to the CPU. The
first is switched off, the second refused where the manifest allows no such node, and in any case counted.

Inputs and outputs are bound to the caller's arrays once, so a run copies nothing. Threads do not spin: on a
board that shares its cores with a line, a spinning thread doubled the latency.

From 1.29 on the packages for Linux report to their maker: at import they write an identifier of the device
and a database below the home folder, and start a thread that sends. The variable that switches all of that
off is read at import only (docs/Privacy.md of onnxruntime), so it is set before.
"""

import os
from collections import Counter
from pathlib import Path
from typing import Final

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

# Whatever stands below is imported after the line above, which is its point.
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from edgewright.agent.runner.runtimes import Info, Quantisation, Session, verify_shape
from edgewright.wire.errors import (
    PlacementError,
    RunnerOutputError,
    RunnerShapeError,
    RuntimeLoadError,
)
from edgewright.wire.manifest import Manifest, RuntimeRange

_FATAL_ONLY: Final = 4
"""Errors come as exceptions too; on the log they would stand twice."""

_CPU: Final = "CPUExecutionProvider"
_FALLBACK_REFUSED: Final = "fallback to CPU EP has been explicitly disabled"
"""Were this sentence another one day, the load would be refused by another number."""


class OnnxRuntime:
    """The installed onnxruntime, whatever its execution providers."""

    def version(self) -> str:
        """The installed version."""
        return str(ort.__version__)

    def load(self, artifact: Path | bytes, manifest: Manifest, threads: int) -> Session:
        """Load an ONNX file or its bytes.

        Raises:
            PlacementError, RuntimeLoadError: see ``Runtime.load``.
        """
        provider = manifest.runtime.provider
        if provider not in ort.get_available_providers():
            raise PlacementError(f"onnxruntime has no {provider} on this device.")
        try:
            model = artifact if isinstance(artifact, bytes) else str(artifact)
            session = ort.InferenceSession(
                model,
                _options(manifest.runtime, threads),
                providers=[(provider, _provider_options(provider, threads))],
                enable_fallback=0,
            )
        # onnxruntime raises many unrelated classes, which differ from build to build.
        except Exception as error:
            said = _first_line(error)
            if isinstance(artifact, Path):
                said = said.replace(str(artifact), artifact.name)
            kind = PlacementError if _FALLBACK_REFUSED in said else RuntimeLoadError
            raise kind(f"onnxruntime cannot load the artifact: {said}.") from error
        _verify_model(session, manifest)
        return OnnxSession(session, manifest)


class OnnxSession:
    """One ONNX model."""

    def __init__(self, session: ort.InferenceSession, manifest: Manifest) -> None:
        self._session = session
        self._manifest = manifest
        self._binding = session.io_binding()
        self._bound: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None

    @property
    def input_quantisation(self) -> Quantisation:
        """Always that of float32: an int8 ONNX model quantises inside its graph."""
        return Quantisation()

    def run_into(self, inputs: NDArray[np.float32], output: NDArray[np.float32]) -> None:
        """Run once.

        Raises:
            RunnerOutputError: onnxruntime could not run the model.
            RunnerShapeError: the output has another shape than the manifest's.
        """
        try:
            if self._bound is None or inputs is not self._bound[0] or output is not self._bound[1]:
                self._bind(inputs, output)
            self._session.run_with_iobinding(self._binding)
        # See load.
        except Exception as error:
            self._verify_output(inputs, output)
            raise RunnerOutputError(f"onnxruntime cannot run the model: {_first_line(error)}.") from error

    def _verify_output(self, inputs: NDArray[np.float32], output: NDArray[np.float32]) -> None:
        """Run without bound arrays: a shape that does not fit them is then seen."""
        try:
            (found,) = self._session.run([self._manifest.output.name], {self._manifest.input.name: inputs})
        # See load. The caller tells the error of the first run.
        except Exception:  # noqa: BLE001 - as above
            return
        if found.shape != output.shape:
            raise RunnerShapeError(f"The model's output has the shape {found.shape}, not {output.shape}.")

    def info(self) -> Info:
        """Runtime, version and the first provider."""
        return Info("onnxruntime", str(ort.__version__), self._session.get_providers()[0])

    def placement(self) -> dict[str, int]:
        """Number of graph nodes by execution provider, as onnxruntime placed them.

        Empty before onnxruntime 1.24, which does not tell.
        """
        if not hasattr(self._session, "get_provider_graph_assignment_info"):
            return {}
        nodes: Counter[str] = Counter()
        for part in self._session.get_provider_graph_assignment_info():
            nodes[part.ep_name] += len(part.get_nodes())
        return dict(nodes)

    def _bind(self, inputs: NDArray[np.float32], output: NDArray[np.float32]) -> None:
        binding, manifest = self._binding, self._manifest
        binding.bind_input(manifest.input.name, "cpu", 0, np.float32, list(inputs.shape), inputs.ctypes.data)
        binding.bind_output(
            manifest.output.name, "cpu", 0, np.float32, list(output.shape), output.ctypes.data
        )
        # The binding holds addresses; these references keep them valid.
        self._bound = (inputs, output)


def _options(wanted: RuntimeRange, threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    # The CPU cannot be asked for and refused; for the others this ends a load before a long compilation.
    if wanted.provider != _CPU and wanted.placed >= 1:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    return options


def _provider_options(provider: str, threads: int) -> dict[str, str]:
    """OpenVINO has threads of its own; every other provider keeps its defaults."""
    return {"num_of_threads": str(threads)} if provider == "OpenVINOExecutionProvider" else {}


def _verify_model(session: ort.InferenceSession, manifest: Manifest) -> None:
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or inputs[0].name != manifest.input.name:
        raise RuntimeLoadError(f"The model has no single input named {manifest.input.name!r}.")
    found = next((output for output in outputs if output.name == manifest.output.name), None)
    if found is None:
        raise RuntimeLoadError(f"The model has no output named {manifest.output.name!r}.")
    for tensor in (inputs[0], found):
        if tensor.type != "tensor(float)":
            raise RuntimeLoadError(f"The model's {tensor.name!r} is a {tensor.type}, not float32.")
    verify_shape("input", tuple(inputs[0].shape), manifest.input.shape)
    verify_shape("output", tuple(found.shape), manifest.output.shape)


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:200].rstrip(".") if text else type(error).__name__
