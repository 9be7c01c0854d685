import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewright.agent.environments import (
    ENTRY,
    find_runtimes,
    installed_runtime,
    python_for,
    runner_command,
    verify_runtime,
)
from edgewright.agent.line.runnerprocess import RunnerProcess
from edgewright.agent.lineprocess import line_command
from edgewright.agent.qualifier import qualify
from edgewright.agent.settings import BrokerSettings, RuntimeSettings, Settings
from edgewright.wire.errors import RuntimeLoadError
from edgewright.wire.manifest import RuntimeRange
from tests.agent.confidential_release import CONTENT_KEY, write_confidential
from tests.agent.line_rig import running_line
from tests.agent.own_environment import make_environment
from tests.agent.tiny_models import Release, write_release

PATIENCE_SECONDS = 60.0
ONNX = RuntimeRange("onnxruntime", "1.24", "9", "CPUExecutionProvider")


@pytest.fixture(scope="module")
def own_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The interpreter of an environment that knows nothing of Edgewright."""
    return make_environment(tmp_path_factory.mktemp("environment") / "own")


@pytest.fixture
def runner(own_python: str, tmp_path: Path) -> Iterator[RunnerProcess]:
    """A runner in that environment, warm."""
    release = write_release(tmp_path)
    process = RunnerProcess(
        release.manifest,
        release.manifest_path,
        release.artifact_path,
        environments={"onnxruntime": own_python},
    )
    try:
        assert process.wait(time.monotonic() + PATIENCE_SECONDS)
        yield process
    finally:
        process.kill()


def test_the_closest_environment_runs_a_runtime() -> None:
    """An environment of runtime and provider goes before one of the runtime, that before the agent's own."""
    both = {"onnxruntime": "/a/python", "onnxruntime/OpenVINOExecutionProvider": "/b/python"}
    openvino = RuntimeRange("onnxruntime", "1", "2", "OpenVINOExecutionProvider")
    assert python_for(openvino, both) == "/b/python"
    assert python_for(ONNX, both) == "/a/python"
    assert python_for(RuntimeRange("litert", "2", "3", "XNNPACK"), both) == sys.executable


def test_another_environment_is_started_isolated() -> None:
    """Its Python gets the agent by one file, and nothing of this process's environment and path."""
    assert runner_command(ONNX, {"onnxruntime": "/a/python"}) == ["/a/python", "-I", str(ENTRY)]
    assert runner_command(ONNX) == [sys.executable, "-m", "edgewright.agent.runner"]


def test_a_manifest_names_no_interpreter(tmp_path: Path) -> None:
    """A manifest whose provider is a path chooses no Python; that comes from the configuration alone."""
    wanted = RuntimeRange("onnxruntime", "1", "9", f"../../{tmp_path}/python")
    assert runner_command(wanted, {"onnxruntime/CPUExecutionProvider": "/a/python"})[0] == sys.executable


def test_runtimes_are_found_without_starting_them(own_python: str) -> None:
    """Version and provider of every runtime are known, of this environment and of others; an interpreter that
    is not there brings none.
    """
    found = find_runtimes({"onnxruntime": own_python, "tflite-runtime": "/nowhere/bin/python"})
    assert {each.python for each in found if each.name == "onnxruntime"} == {sys.executable, own_python}
    assert not [each for each in found if each.name == "tflite-runtime"]
    assert installed_runtime(ONNX, {"onnxruntime": own_python}) == installed_runtime(ONNX)


def test_a_release_for_a_missing_runtime_is_refused_before_it_is_fetched(own_python: str) -> None:
    """The version that counts is that of the environment that would run it."""
    verify_runtime(ONNX, {"onnxruntime": own_python})
    for wanted, environments in (
        (ONNX, {"onnxruntime": "/nowhere/bin/python"}),
        (RuntimeRange("onnxruntime", "1.0", "1.1", "CPUExecutionProvider"), {"onnxruntime": own_python}),
        (RuntimeRange("litert", "1", "9", "XNNPACK"), {"litert": own_python}),
    ):
        with pytest.raises(RuntimeLoadError):
            verify_runtime(wanted, environments)


def test_a_runner_serves_from_an_environment_without_edgewright(
    runner: RunnerProcess, own_python: str
) -> None:
    """The runner is the other environment's Python, runs the model, and has loaded no package of this one."""
    runner.frames.inputs[...] = 1.0
    runner.ask()
    assert runner.wait(time.monotonic() + PATIENCE_SECONDS)
    assert runner.frames.output.argmax() == 2
    arguments = Path(f"/proc/{runner.pid}/cmdline").read_bytes().split(b"\0")
    assert arguments[0].decode() == own_python


def test_nothing_of_the_agents_path_reaches_another_environment(
    own_python: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A numpy that lies in PYTHONPATH or in the working folder is not what a runner elsewhere imports."""
    poison = tmp_path / "poison"
    poison.mkdir()
    (poison / "numpy.py").write_text("raise SystemExit('the wrong numpy')")
    monkeypatch.setenv("PYTHONPATH", str(poison))
    monkeypatch.chdir(poison)
    assert _qualify(write_release(tmp_path), own_python) == (True, 0, "")


def test_a_confidential_model_says_what_its_environment_lacks(own_python: str, tmp_path: Path) -> None:
    """Without the package cryptography it is refused with a sentence that names the package."""
    ok, error, detail = _qualify(write_confidential(tmp_path), own_python, CONTENT_KEY)
    assert (ok, error) == (False, RuntimeLoadError.number)
    assert "needs the package cryptography" in detail


def test_a_python_that_does_not_start_is_a_numbered_error(tmp_path: Path) -> None:
    """A wrong path in the configuration refuses the model, and does not stop the agent."""
    with pytest.raises(RuntimeLoadError):
        _qualify(write_release(tmp_path), str(tmp_path / "missing" / "python"))


def test_the_line_is_told_the_environments() -> None:
    """Every interpreter of the configuration stands on the line's command line."""
    settings = Settings(
        device="press-7",
        target="t",
        data="/data",
        broker=BrokerSettings("127.0.0.1", 1883),
        runtime=RuntimeSettings({"tflite-runtime": "/t/python", "onnxruntime": "/o/python"}),
    )
    command = line_command(settings)
    told = [command[i + 1] for i, word in enumerate(command) if word == "--environment"]
    assert told == ["onnxruntime=/o/python", "tflite-runtime=/t/python"]


def test_a_line_starts_its_runners_where_the_runtime_is(own_python: str, tmp_path: Path) -> None:
    """A model decides frames from the environment that the line was told."""
    release = write_release(tmp_path)
    with running_line(tmp_path, more=("--environment", f"onnxruntime={own_python}")) as line:
        line.run("a", release)
        line.connect()
        assert line.ask("item", 255).label == "bright"
        arguments = Path(f"/proc/{line.runner_of(release)}/cmdline").read_bytes().split(b"\0")
        assert arguments[0].decode() == own_python


def _qualify(release: Release, python: str, content_key: bytes = b"") -> tuple[bool, int, str]:
    files = (release.manifest_path, release.artifact_path, release.golden_path)
    result = qualify(*files, content_key, lambda: False, environments={"onnxruntime": python}, threads=1)
    return result.ok, result.error, result.detail
