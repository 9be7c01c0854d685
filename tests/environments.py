"""The environments of their own that ``.ci/runtimes`` makes for runtimes, as a device would name them."""

from typing import Final

from tests.house.sources import ROOT

_INTERPRETERS: Final = {
    "onnxruntime/OpenVINOExecutionProvider": ROOT / ".venv-openvino" / "bin" / "python",
    "tflite-runtime": ROOT / ".venv-tflite" / "bin" / "python",
}


def find_environments() -> dict[str, str]:
    """Those that are there, by the key under which a configuration names them."""
    return {key: str(python) for key, python in _INTERPRETERS.items() if python.exists()}
