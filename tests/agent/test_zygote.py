"""Runners that are forked: they are the line's own, and nothing depends on whom they were forked from."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep

import pytest

from edgewright.agent.control import RunnerReplaced
from edgewright.agent.line.forking import begin_zygote
from tests.agent.line_rig import PATIENCE_S, LineRig, running_line
from tests.agent.tiny_models import Release, write_release


@pytest.fixture
def line(tmp_path: Path) -> Iterator[LineRig]:
    """A line with a machine."""
    with running_line(tmp_path) as line:
        line.connect()
        yield line


@pytest.fixture
def release(tmp_path: Path) -> Release:
    """A model."""
    return write_release(tmp_path)


def _until(condition: Callable[[], object], what: str) -> None:
    end = monotonic() + PATIENCE_S
    while not condition():
        assert monotonic() < end, f"{what} did not come about"
        sleep(0.01)


def _words(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except FileNotFoundError:
        return []


def _status(pid: int, name: str) -> str:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except FileNotFoundError:
        return ""
    return next((line.split()[1] for line in lines if line.startswith(f"{name}:")), "")


def _gone(pid: int) -> bool:
    return _status(pid, "State") in {"", "Z"}


def _zygote(line: LineRig) -> int:
    children = Path(f"/proc/{line.process.pid}/task/{line.process.pid}/children").read_text()
    found = [pid for pid in map(int, children.split()) if "edgewright.agent.zygote" in _words(pid)]
    assert len(found) == 1
    return found[0]


def _forked(pid: int) -> bool:
    """Whether it was forked: only a program is told on its command line which descriptors it inherits."""
    return "--shm-fd" not in _words(pid)


def test_a_runner_is_forked_and_the_lines_own(line: LineRig, release: Release) -> None:
    """It shows what it is, its parent is the line, and it holds none of the line's or the zygote's files."""
    line.run("a", release)
    assert line.ask("item", 255).label == "bright"
    runner = line.runner_of(release)
    assert _forked(runner)
    assert _words(runner)[1:4] == ["-m", "edgewright.agent.runner", "serve"]
    assert _status(runner, "PPid") == str(line.process.pid)
    assert _status(_zygote(line), "Threads") == "1"
    sockets = [entry for entry in Path(f"/proc/{runner}/fd").iterdir() if "socket:" in str(entry.readlink())]
    assert len(sockets) == 1


def test_a_forked_runners_end_is_known(line: LineRig, release: Release) -> None:
    """The line learns the signal that ended it, leaves no zombie, and its replacement is forked too."""
    line.run("a", release)
    killed = line.signal_runner(release, signal.SIGSEGV)
    assert "by signal 11" in line.expect(RunnerReplaced).detail
    _until(lambda: line.runner_pids().keys() - {killed}, "another runner")
    _until(lambda: _status(killed, "State") == "", "the end of the first")
    assert _forked(line.runner_of(release))


def test_a_zygote_that_is_killed_takes_nobody_along(line: LineRig, release: Release) -> None:
    """Its runner goes on deciding; the next one starts as a program."""
    line.run("a", release)
    runner, zygote = line.runner_of(release), _zygote(line)
    os.kill(zygote, signal.SIGKILL)
    _until(lambda: _gone(zygote), "the end of the zygote")
    assert line.ask("item", 255).label == "bright"
    os.kill(runner, signal.SIGKILL)
    line.expect(RunnerReplaced)
    _until(lambda: line.ask("again", 255).label == "bright", "a decision")
    assert not _forked(line.runner_of(release))


def test_a_line_that_is_killed_takes_zygote_and_runners_along(line: LineRig, release: Release) -> None:
    """Nothing of a line outlives it, a runner that is stopped included."""
    line.run("a", release)
    left = [_zygote(line), line.signal_runner(release, signal.SIGSTOP)]
    line.process.kill()
    line.process.wait()
    _until(lambda: all(map(_gone, left)), "the end of all")


def test_a_process_with_threads_does_not_fork() -> None:
    """No zygote comes of it: another thread may hold a lock that no one would ever release."""
    waiting = threading.Event()
    thread = threading.Thread(target=waiting.wait)
    thread.start()
    try:
        assert begin_zygote([sys.executable], {}) is None
    finally:
        waiting.set()
        thread.join()


def test_nobody_is_forked_for_another_environments_python() -> None:
    """Where onnxruntime lives elsewhere there is no zygote."""
    assert begin_zygote([sys.executable], {"onnxruntime": "/elsewhere/bin/python"}) is None


_SHOWS = """
from pathlib import Path
from edgewright.agent.runner.ownprocess import command_fits, name_process
for words in ("a name".split(), ["x" * 100_000]):
    fits, done = command_fits(words), name_process(words)
    print(fits, done, *Path("/proc/self/cmdline").read_text().rstrip("\\0").split("\\0"))
"""


def test_a_process_shows_a_name_that_fits() -> None:
    """A command line is replaced as a whole; one that is too long changes nothing."""
    done = subprocess.run([sys.executable, "-c", _SHOWS], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["True True a name", "False False a name"]


_STOPPED = """
import os, signal, sys, time
from pathlib import Path
from edgewright.agent.line.forking import begin_zygote
from edgewright.agent.line.runnerprocess import RunnerProcess
from edgewright.agent.runner.artifacts import read_manifest
from edgewright.wire.errors import RunnerCrashError
zygote = begin_zygote([sys.executable], {}, patience_s=0.1)
for child in Path("/proc/self/task", str(os.getpid()), "children").read_text().split():
    os.kill(int(child), signal.SIGSTOP)
files = Path(sys.argv[1]), Path(sys.argv[2])
runner = RunnerProcess(read_manifest(files[0]), *files, zygote=zygote)
try:
    while not runner.take():
        runner.watch(time.monotonic())
except RunnerCrashError as error:
    print(error.sentence)
runner.kill()
print(runner.reaped(), zygote.lives)
program = RunnerProcess(read_manifest(files[0]), *files, zygote=zygote)
print(program.wait(time.monotonic() + 30))
"""


def test_a_zygote_that_hangs_is_given_up(release: Release) -> None:
    """It counts as the crash of a runner, not as a model that hangs, and the next runner is a program."""
    files = [str(release.manifest_path), str(release.artifact_path)]
    done = subprocess.run(
        [sys.executable, "-c", _STOPPED, *files],
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.splitlines() == ["The runner ended with status 1.", "True False", "True"]
