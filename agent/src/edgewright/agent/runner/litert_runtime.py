"""LiteRT (``ai-edge-litert``, once TensorFlow Lite) behind the seam: the only file that imports it."""

from importlib.metadata import version as installed_version
from pathlib import Path

from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edgewright.agent.runner.runtimes import Session
from edgewright.agent.runner.tflite_session import Package, load_tflite
from edgewright.wire.manifest import Manifest


class LiteRtRuntime:
    """The installed LiteRT, on the CPU."""

    def version(self) -> str:
        """The installed version."""
        return installed_version("ai-edge-litert")

    def load(self, artifact: Path | bytes, manifest: Manifest, threads: int) -> Session:
        """Load a TFLite file or its bytes.

        Raises:
            PlacementError, RuntimeLoadError: see ``Runtime.load``.
        """
        kernels = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        package = Package("litert", self.version(), Interpreter, kernels)
        return load_tflite(package, artifact, manifest, threads)
