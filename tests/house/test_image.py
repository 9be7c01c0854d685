"""What goes into the Debian image, whatever Python builds it."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from packaging import markers

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


def test_the_images_python_decides_what_is_needed(
    builder: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build under a newer Python, which has Zstandard built in, or on another system leaves nothing out."""
    before = builder.needed("edgewright-agent[line,onnxruntime]", "x86_64")
    newer = {**builder.markers("riscv64"), "python_version": "3.14", "python_full_version": "3.14.0"}
    newer |= {"sys_platform": "darwin", "platform_system": "Darwin"}
    monkeypatch.setattr(markers, "default_environment", lambda: dict(newer))
    assert builder.needed("edgewright-agent[line,onnxruntime]", "x86_64") == before
    assert {"backports-zstd", "onnxruntime", "paho-mqtt"} <= before
    named = [entry.split("=")[0] for entry in builder.locked(before, "x86_64")]
    assert sorted(named) == sorted(before)
