"""LiteRT (TensorFlow Lite) behind the seam: the only file that imports it.

A model with integer inputs or outputs is fed and read through its own scales. ``ai-edge-litert`` is optional:
a device installs the one runtime that its boards need.
"""

from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from edgewright.agent.runner.runtimes import Info, Quantisation, Session, verify_shape
from edgewright.wire.errors import RunnerOutputError, RuntimeLoadError
from edgewright.wire.manifest import Manifest

_PROVIDER = "XNNPACK"


class LiteRtRuntime:
    """The installed LiteRT, on the CPU."""

    def version(self) -> str:
        """The installed version."""
        return installed_version("ai-edge-litert")

    def load(self, artifact: Path | bytes, manifest: Manifest, threads: int) -> Session:
        """Load a TFLite file or its bytes.

        Raises:
            RuntimeLoadError: see ``Runtime.load``.
        """
        if manifest.runtime.provider not in {_PROVIDER, "CPU"}:
            raise RuntimeLoadError(f"LiteRT has no delegate {manifest.runtime.provider} on this device.")
        try:
            if isinstance(artifact, bytes):
                interpreter = Interpreter(model_content=artifact, num_threads=threads)
            else:
                interpreter = Interpreter(model_path=str(artifact), num_threads=threads)
            interpreter.allocate_tensors()
        # The interpreter raises ValueError, RuntimeError and what its C++ layer makes up.
        except Exception as error:
            said = _first_line(error)
            if isinstance(artifact, Path):
                said = said.replace(str(artifact), artifact.name)
            raise RuntimeLoadError(f"LiteRT cannot load the artifact: {said}.") from error
        return LiteRtSession(interpreter, manifest)


class LiteRtSession:
    """One TFLite model with one input; the manifest's output is found by name, or is the only one."""

    def __init__(self, interpreter: Any, manifest: Manifest) -> None:
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        named = [detail for detail in outputs if detail["name"] == manifest.output.name]
        if len(inputs) != 1 or (len(outputs) != 1 and len(named) != 1):
            raise RuntimeLoadError(f"The model has no single output named {manifest.output.name!r}.")
        self._interpreter = interpreter
        self._provider = manifest.runtime.provider
        self._input, self._output = inputs[0], (named or outputs)[0]
        verify_shape("input", tuple(map(int, self._input["shape"])), manifest.input.shape)
        verify_shape("output", tuple(map(int, self._output["shape"])), manifest.output.shape)

    @property
    def input_quantisation(self) -> Quantisation:
        """How the model stores its input."""
        return _quantisation(self._input)

    def run_into(self, inputs: NDArray[np.float32], output: NDArray[np.float32]) -> None:
        """Run once.

        Raises:
            RunnerOutputError: LiteRT could not run the model.
        """
        try:
            self._interpreter.set_tensor(self._input["index"], _stored(inputs, self._input))
            self._interpreter.invoke()
            stored = self._interpreter.get_tensor(self._output["index"])
        # See load.
        except Exception as error:
            raise RunnerOutputError(f"LiteRT cannot run the model: {_first_line(error)}.") from error
        scale, zero_point = _quantisation(self._output)
        output[...] = (stored.astype(np.float32) - zero_point) * np.float32(scale)

    def info(self) -> Info:
        """Runtime, version and delegate."""
        return Info("litert", installed_version("ai-edge-litert"), self._provider)

    def placement(self) -> dict[str, int]:
        """Empty: LiteRT does not tell which nodes its delegate took."""
        return {}


def _quantisation(detail: dict[str, Any]) -> Quantisation:
    scale, zero_point = detail["quantization"]
    return Quantisation(float(scale), int(zero_point)) if scale else Quantisation()


def _stored(real: NDArray[np.float32], detail: dict[str, Any]) -> NDArray[Any]:
    dtype = np.dtype(detail["dtype"])
    if dtype == np.float32:
        return real
    scale, zero_point = _quantisation(detail)
    limits = np.iinfo(dtype)
    nearest = np.rint(real / np.float32(scale)) + zero_point
    stored: NDArray[Any] = np.clip(nearest, limits.min, limits.max).astype(dtype)
    return stored


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:200].rstrip(".") if text else type(error).__name__
