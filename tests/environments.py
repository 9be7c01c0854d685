"""The environments that ``.ci/runtimes`` makes: as a device would name them, and for the compiler.

Tests find toolchains in ``.toolchains`` of the working tree, whatever the person who runs them has installed.
"""

import os
from typing import Final

import pytest

from tests.house.sources import ROOT

TOOLCHAINS: Final = ROOT / ".toolchains"
REQUIRE: Final = "EDGEWRIGHT_REQUIRE_TOOLCHAINS"
"""Names of toolchains without which tests fail instead of being skipped; ``1`` stands for all."""

_INTERPRETERS: Final = {
    "onnxruntime/OpenVINOExecutionProvider": TOOLCHAINS / "openvino" / "bin" / "python",
    "tflite-runtime": TOOLCHAINS / "tflite-runtime" / "bin" / "python",
}


def find_environments() -> dict[str, str]:
    """Those that are there, by the key under which a configuration names them."""
    return {key: str(python) for key, python in _INTERPRETERS.items() if python.exists()}


def need_toolchains(*names: str) -> None:
    """Skip the test where a toolchain is not there, or fail it where that was demanded."""
    from edgewright.controller.compiler.toolchains.places import find_place
    from edgewright.controller.compiler.toolchains.table import find_toolchain

    demanded = os.environ.get(REQUIRE, "").split()
    for name in names:
        if find_place(find_toolchain(name)) is None:
            words = f"the toolchain {name} is not there: .ci/runtimes makes it"
            pytest.fail(words) if "1" in demanded or name in demanded else pytest.skip(words)
