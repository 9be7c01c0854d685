"""What goes into the Debian image, whatever Python builds it."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from packaging.markers import Marker, default_environment

SCRIPT = Path(__file__).resolve().parents[2] / "firmware-images" / "debian" / "build_image.py"


@pytest.fixture
def builder() -> ModuleType:
    """The script that builds it."""
    spec = importlib.util.spec_from_file_location("build_image", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_images_python_decides_what_is_needed(builder: ModuleType) -> None:
    """Nothing that a wheel's marker may ask for is taken from the Python or the system that builds."""
    asked = set(default_environment()) - {"platform_release", "platform_version"}
    assert builder.markers("aarch64").keys() == asked
    assert Marker('python_full_version < "3.14"').evaluate(builder.markers("aarch64"))
    assert Marker('platform_machine == "aarch64"').evaluate(builder.markers("aarch64"))
    needed = builder.needed("edgewright-agent[line,onnxruntime]", "aarch64")
    assert {"backports-zstd", "onnxruntime", "paho-mqtt"} <= needed
    assert sorted(entry.split("=")[0] for entry in builder.locked(needed, "aarch64")) == sorted(needed)
