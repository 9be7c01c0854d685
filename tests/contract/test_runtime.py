"""What every inference runtime behind the seam has to do; runs on each of the four.

onnxruntime and LiteRT are loaded here. OpenVINO and tflite-runtime live in environments of their own, which
``.ci/runtimes`` makes; they are asked through the real runner process, as a line asks them. Where there is
no such environment their tests are skipped, unless ``EDGEWRIGHT_REQUIRE_RUNTIMES=1`` demands them.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from edgewright.agent.environments import Environments, find_runtimes, installed_runtime, python_for
from edgewright.agent.line.runnerprocess import RunnerProcess
from edgewright.agent.qualifier import qualify
from edgewright.agent.runner.runtimes import load_session
from edgewright.wire.errors import PlacementError, RuntimeLoadError
from edgewright.wire.manifest import Manifest, RuntimeRange, Tensor, encode_manifest
from tests.agent.tflite_model import tflite_bytes
from tests.agent.tiny_models import classify, golden_bytes, make_manifest, onnx_bytes
from tests.environments import find_environments
from tests.fallback_models import partly_taken_onnx

PATIENCE_SECONDS = 60.0
Array = NDArray[np.float32]
RUNTIMES = {
    "onnxruntime": RuntimeRange("onnxruntime", "1.24", "9", "CPUExecutionProvider"),
    "openvino": RuntimeRange("onnxruntime", "1.24", "9", "OpenVINOExecutionProvider"),
    "litert": RuntimeRange("litert", "2", "9", "XNNPACK"),
    "tflite-runtime": RuntimeRange("tflite-runtime", "2.14", "3", "XNNPACK"),
}
ELSEWHERE = ("openvino", "tflite-runtime")


class Running(Protocol):
    """A loaded model, wherever it runs."""

    def __call__(self, inputs: Array) -> Array:
        """Run once, in the arrays of the run before."""


class Subject(NamedTuple):
    """A runtime with a model for it."""

    manifest: Manifest
    path: Path
    environments: Environments
    here: bool

    @contextmanager
    def load(self, **changes: object) -> Iterator[Running]:
        """The model, loaded by this manifest or a changed one."""
        manifest = msgspec.structs.replace(self.manifest, **changes)
        if self.here:
            yield _run_here(self.path, manifest)
            return
        runner = _start(self.path, manifest, self.environments)
        try:
            yield _run_elsewhere(runner)
        finally:
            runner.kill()


def _run_here(path: Path, manifest: Manifest) -> Running:
    session = load_session(path, manifest, threads=1)
    array, output = np.empty(manifest.input.shape, np.float32), np.empty(manifest.output.shape, np.float32)

    def run(inputs: Array) -> Array:
        array[...] = inputs
        session.run_into(array, output)
        return output.copy()

    return run


def _start(path: Path, manifest: Manifest, environments: Environments) -> RunnerProcess:
    manifest_path = path.with_suffix(".json")
    manifest_path.write_bytes(encode_manifest(manifest))
    runner = RunnerProcess(manifest, manifest_path, path, environments=environments)
    try:
        assert runner.wait(time.monotonic() + PATIENCE_SECONDS)
    except BaseException:
        runner.kill()
        raise
    return runner


def _run_elsewhere(runner: RunnerProcess) -> Running:
    def run(inputs: Array) -> Array:
        runner.frames.inputs[...] = inputs
        runner.ask()
        assert runner.wait(time.monotonic() + PATIENCE_SECONDS)
        return runner.frames.output.copy()

    return run


@pytest.fixture(params=sorted(RUNTIMES))
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Subject:
    """Each runtime of the table; a visible skip where its environment is missing."""
    name, environments = request.param, find_environments()
    wanted = RUNTIMES[name]
    if name in ELSEWHERE and not installed_runtime(wanted, environments):
        if os.environ.get("EDGEWRIGHT_REQUIRE_RUNTIMES") == "1":
            pytest.fail(f"{name} is demanded, and its environment is not there: run .ci/runtimes")
        pytest.skip(f"no environment of its own for {name}: .ci/runtimes makes it")
    artifact = onnx_bytes() if wanted.name == "onnxruntime" else tflite_bytes()
    path = tmp_path / "model"
    path.write_bytes(artifact)
    manifest = make_manifest(artifact, golden_bytes(), runtime=wanted)
    return Subject(manifest, path, environments, name not in ELSEWHERE)


def test_outputs_equal_the_arithmetic(subject: Subject) -> None:
    """The model's outputs equal the same arithmetic in numpy, for input after input in the same arrays."""
    with subject.load() as run:
        for seed in range(5):
            inputs = np.random.default_rng(seed).random((1, 3, 8, 8), np.float32)
            np.testing.assert_allclose(run(inputs), classify(inputs.mean(axis=(1, 2, 3))), atol=1e-4)


def test_a_qualification_reports_where_it_ran(subject: Subject, tmp_path: Path) -> None:
    """Started with the Python that has the runtime, it finds every node on the manifest's provider, right
    golden outputs, and one thread at least.
    """
    golden = tmp_path / "golden"
    golden.write_bytes(golden_bytes())
    manifest = tmp_path / "manifest"
    manifest.write_bytes(encode_manifest(subject.manifest))
    result = qualify(manifest, subject.path, golden, b"", lambda: False, environments=subject.environments)
    assert (result.ok, result.detail) == (True, "")
    assert set(result.placement) == {subject.manifest.runtime.provider}
    assert result.threads >= 1


def test_the_device_finds_the_runtime(subject: Subject) -> None:
    """Without starting it, the device knows name, version and provider of what would run the model."""
    wanted = subject.manifest.runtime
    found = {(each.name, each.provider): each.version for each in find_runtimes(subject.environments)}
    assert found[wanted.name, wanted.provider] == installed_runtime(wanted, subject.environments)


@pytest.mark.parametrize("content", [b"", b"nonsense" * 100])
def test_bytes_that_are_no_model_are_refused(subject: Subject, content: bytes) -> None:
    """A damaged file is a numbered error, not an exception of the runtime."""
    subject.path.write_bytes(content)
    with pytest.raises(RuntimeLoadError), subject.load():
        pass


@pytest.mark.parametrize(
    "changes", [{"input": Tensor("x", "float32", (1, 3, 9, 8))}, {"output": Tensor("y", "float32", (1, 5))}]
)
def test_a_model_of_another_shape_is_refused(subject: Subject, changes: dict[str, Tensor]) -> None:
    """Input and output shapes have to be the manifest's."""
    with pytest.raises(RuntimeLoadError), subject.load(**changes):
        pass


# Below the CPU there is nothing to fall back to.
@pytest.mark.parametrize("subject", sorted(set(RUNTIMES) - {"onnxruntime"}), indirect=True)
def test_a_model_that_the_provider_takes_in_part_is_refused(subject: Subject) -> None:
    """One operator that is left to the CPU is a silent fallback, in a runner that serves as in a
    qualification; a manifest that allows it gets it.
    """
    wanted = subject.manifest.runtime
    partial = partly_taken_onnx() if wanted.name == "onnxruntime" else tflite_bytes(tail=("ZEROS_LIKE",))
    subject.path.write_bytes(partial)
    with pytest.raises(PlacementError), subject.load():
        pass
    with subject.load(runtime=msgspec.structs.replace(wanted, placed=0.5)) as run:
        assert np.isfinite(run(np.zeros((1, 3, 8, 8), np.float32))).all()


def test_an_unknown_provider_is_refused(subject: Subject) -> None:
    """A provider that the device lacks never falls back silently."""
    wanted = subject.manifest.runtime
    changed = msgspec.structs.replace(wanted, provider="NpuExecutionProvider")
    other = subject._replace(environments={wanted.name: python_for(wanted, subject.environments)})
    with pytest.raises(PlacementError), other.load(runtime=changed):
        pass


def test_versions_are_a_half_open_range(subject: Subject) -> None:
    """The minimum is inside, the bound is outside."""
    wanted = subject.manifest.runtime
    version = installed_runtime(wanted, subject.environments)
    with subject.load(runtime=msgspec.structs.replace(wanted, minimum=version, below="999")):
        pass
    outside = msgspec.structs.replace(wanted, minimum="0.1", below=version)
    with pytest.raises(RuntimeLoadError), subject.load(runtime=outside):
        pass


def test_a_session_is_not_tied_to_its_arrays(tmp_path: Path) -> None:
    """A session takes other arrays at each call, whichever runtime it is of."""
    for name in sorted(set(RUNTIMES) - set(ELSEWHERE)):
        artifact = onnx_bytes() if name == "onnxruntime" else tflite_bytes()
        manifest = make_manifest(artifact, golden_bytes(), runtime=RUNTIMES[name])
        session = load_session(artifact, manifest, threads=1)
        outputs = []
        for value in (0.0, 1.0):
            inputs, output = np.full((1, 3, 8, 8), value, np.float32), np.empty((1, 3), np.float32)
            session.run_into(inputs, output)
            outputs.append(output)
        np.testing.assert_allclose(outputs, [[[8, 2, -12]], [[-12, 2, 8]]], atol=1e-4)
        assert session.info() == (name, installed_runtime(RUNTIMES[name]), RUNTIMES[name].provider)
