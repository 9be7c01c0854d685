"""tflite-runtime behind the seam: the only file that imports it.

Google ended this package at 2.14, for Python 3.11 and numpy below 2. It is the only runtime with wheels for
32-bit ARM, and such boards stay in factories for long. With numpy 2 its import succeeds and its first
interpreter fails; that is refused as a load error like any other.
"""

from importlib.metadata import version as installed_version
from pathlib import Path

from tflite_runtime.interpreter import Interpreter, OpResolverType

from edgewright.agent.runner.runtimes import Session
from edgewright.agent.runner.tflite_session import Package, load_tflite
from edgewright.wire.manifest import Manifest


class TfliteRuntime:
    """The installed tflite-runtime, on the CPU."""

    def version(self) -> str:
        """The installed version."""
        return installed_version("tflite-runtime")

    def load(self, artifact: Path | bytes, manifest: Manifest, threads: int) -> Session:
        """Load a TFLite file or its bytes.

        Raises:
            PlacementError, RuntimeLoadError: see ``Runtime.load``.
        """
        kernels = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        package = Package("tflite-runtime", self.version(), Interpreter, kernels)
        return load_tflite(package, artifact, manifest, threads)
