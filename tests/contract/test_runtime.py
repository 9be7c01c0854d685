"""What every inference runtime behind the seam has to do; runs on each that is installed."""

from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import pytest

from edgewright.agent.runner.runtimes import MODULES, Runtime, installed, open_runtime
from edgewright.wire.errors import RuntimeLoadError
from edgewright.wire.manifest import Manifest, RuntimeRange, Tensor
from tests.agent.tflite_model import tflite_bytes
from tests.agent.tiny_models import classify, golden_bytes, make_manifest, onnx_bytes

_RANGES = {
    "onnxruntime": RuntimeRange("onnxruntime", "1.20", "9", "CPUExecutionProvider"),
    "litert": RuntimeRange("litert", "1", "9", "XNNPACK"),
}


class Subject(NamedTuple):
    """A runtime with a model for it."""

    runtime: Runtime
    manifest: Manifest
    path: Path


@pytest.fixture(params=sorted(MODULES))
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Subject:
    """Each runtime of the table; a visible skip where it is not installed."""
    name = request.param
    if not installed(name):
        pytest.skip(f"{MODULES[name]} is not installed")
    artifact = onnx_bytes() if name == "onnxruntime" else tflite_bytes()
    manifest = make_manifest(artifact, golden_bytes(), runtime=_RANGES[name])
    path = tmp_path / "model"
    path.write_bytes(artifact)
    return Subject(open_runtime(manifest.runtime), manifest, path)


def test_outputs_equal_the_arithmetic(subject: Subject) -> None:
    """The model's outputs equal the same arithmetic in numpy, for input after input in the same arrays."""
    session = subject.runtime.load(subject.path, subject.manifest, threads=1)
    inputs, output = np.empty((1, 3, 8, 8), np.float32), np.empty((1, 3), np.float32)
    for seed in range(5):
        inputs[...] = np.random.default_rng(seed).random(inputs.shape, np.float32)
        session.run_into(inputs, output)
        np.testing.assert_allclose(output, classify(inputs.mean(axis=(1, 2, 3))), atol=1e-4)


def test_other_arrays_may_follow(subject: Subject) -> None:
    """A session is not tied to the first pair of arrays."""
    session = subject.runtime.load(subject.path, subject.manifest, threads=1)
    outputs = []
    for value in (0.0, 1.0):
        inputs, output = np.full((1, 3, 8, 8), value, np.float32), np.empty((1, 3), np.float32)
        session.run_into(inputs, output)
        outputs.append(output)
    np.testing.assert_allclose(outputs, [[[8, 2, -12]], [[-12, 2, 8]]], atol=1e-4)


def test_a_session_says_what_it_runs_on(subject: Subject) -> None:
    """Runtime, version and provider are those of the manifest and the installation."""
    session = subject.runtime.load(subject.path, subject.manifest, threads=1)
    wanted = subject.manifest.runtime
    assert session.info() == (wanted.name, subject.runtime.version(), wanted.provider)
    assert all(count > 0 for count in session.placement().values())


@pytest.mark.parametrize("content", [b"", b"nonsense" * 100])
def test_bytes_that_are_no_model_are_refused(subject: Subject, content: bytes) -> None:
    """A damaged file is a numbered error, not an exception of the runtime."""
    subject.path.write_bytes(content)
    with pytest.raises(RuntimeLoadError):
        subject.runtime.load(subject.path, subject.manifest, threads=1)


def test_a_model_of_another_shape_is_refused(subject: Subject) -> None:
    """Input and output shapes have to be the manifest's."""
    for changes in (
        {"input": Tensor("x", "float32", (1, 3, 9, 8))},
        {"output": Tensor("y", "float32", (1, 5))},
    ):
        other = msgspec.structs.replace(subject.manifest, **changes)
        with pytest.raises(RuntimeLoadError):
            subject.runtime.load(subject.path, other, threads=1)


def test_an_unknown_provider_is_refused(subject: Subject) -> None:
    """A provider that the device lacks never falls back silently."""
    runtime = msgspec.structs.replace(subject.manifest.runtime, provider="NpuExecutionProvider")
    other = msgspec.structs.replace(subject.manifest, runtime=runtime)
    with pytest.raises(RuntimeLoadError):
        subject.runtime.load(subject.path, other, threads=1)


def test_versions_are_a_half_open_range(subject: Subject) -> None:
    """The minimum is inside, the bound is outside."""
    version = subject.runtime.version()
    name, provider = subject.manifest.runtime.name, subject.manifest.runtime.provider
    assert open_runtime(RuntimeRange(name, version, "999", provider)).version() == version
    with pytest.raises(RuntimeLoadError):
        open_runtime(RuntimeRange(name, "0.1", version, provider))
