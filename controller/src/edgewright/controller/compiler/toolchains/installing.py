"""Installing a toolchain: whole or not at all, by hash, and proven before it counts.

An environment is made beside its place, filled from the lock, made to work on something tiny, marked, and
renamed. Whatever kills this on the way leaves a folder that nothing looks at and the next installation
removes. Installing what is there already does nothing. One installation of a toolchain runs at a time.

pip comes from the controller's own environment where it has one, and takes indexes and mirrors from the
user's configuration of pip; it installs what the lock names and nothing else (``--no-deps``), and runs no
code of a package (``--only-binary``).
"""

import contextlib
import fcntl
import importlib.util
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from edgewright.controller.broker.tether import tethered
from edgewright.controller.childenvironment import child_environment
from edgewright.controller.compiler.toolchains.places import (
    MARK,
    Mark,
    Place,
    find_installed,
    toolchains_folder,
)
from edgewright.controller.compiler.toolchains.proving import prove
from edgewright.controller.compiler.toolchains.table import Toolchain, locked_packages
from edgewright.controller.errors import ToolchainFailedError

OnProgress = Callable[[str, float], None]
"""Called with what is done now, in words, and the share that is done."""

_VENV_SHARE: Final = 0.05
_COLLECTED_SHARE: Final = 0.6
_INSTALLED_SHARE: Final = 0.95
_MAX_REASON_CHARACTERS: Final = 300


def install(
    toolchain: Toolchain, python: str = "", on_progress: OnProgress = lambda _words, _share: None
) -> Place:
    """Make the toolchain's environment, unless this release's is there.

    Args:
        toolchain: which.
        python: interpreter to make it with; empty to look for one.
        on_progress: called on this thread.

    Raises:
        ToolchainFailedError: it cannot be installed on this machine; nothing was left that counts.
    """
    verify_machine(toolchain)
    folder = toolchains_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder, toolchain):
            return find_installed(toolchain) or _make(toolchain, folder, python, on_progress)
    except OSError as error:
        raise ToolchainFailedError(f"{toolchain.name} cannot be installed: {error}.") from error


def remove(toolchain: Toolchain) -> bool:
    """Remove the toolchain's environment; whether there was one."""
    folder = toolchains_folder()
    if not (folder / toolchain.name).exists():
        return False
    with _alone(folder, toolchain):
        # Renamed first, so that no half of it ever counts.
        shutil.rmtree((folder / toolchain.name).rename(_beside(folder, toolchain) / "old"))
        _sweep(folder, toolchain)
    return True


def verify_machine(toolchain: Toolchain) -> None:
    """Demand that its packages exist for this processor.

    Raises:
        ToolchainFailedError: they do not.
    """
    machine = platform.machine()
    if toolchain.machines and machine not in toolchain.machines:
        known = ", ".join(toolchain.machines)
        raise ToolchainFailedError(f"{toolchain.name} has packages for {known}, and this is {machine}.")


def choose_python(toolchain: Toolchain, python: str = "") -> str:
    """The interpreter to make an environment with: the named one, else this one or one on the PATH.

    Raises:
        ToolchainFailedError: none is of a version that the toolchain runs on.
    """
    wanted = " or ".join(toolchain.python)
    candidates = [python] if python else [sys.executable, *(f"python{each}" for each in toolchain.python)]
    for candidate in candidates:
        if _version_of(candidate) in toolchain.python:
            return str(shutil.which(candidate))
    if python:
        found = _version_of(python)
        raise ToolchainFailedError(
            f"{toolchain.name} needs Python {wanted}; {python} is {found or 'no Python that starts'}."
        )
    raise ToolchainFailedError(
        f"{toolchain.name} needs Python {wanted}, and none is on the PATH; name one with --python."
    )


def _version_of(python: str) -> str:
    program = "import sys; print('%d.%d' % sys.version_info[:2])"
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            [python, "-I", "-c", program],
            capture_output=True,
            text=True,
            env=child_environment(),
            timeout=30,
            check=True,
        )
        return done.stdout.strip()
    return ""


def _make(toolchain: Toolchain, folder: Path, python: str, on_progress: OnProgress) -> Place:
    _sweep(folder, toolchain)
    interpreter = choose_python(toolchain, python)
    building = _beside(folder, toolchain)
    try:
        environment = building / "new"
        on_progress("making the environment", 0.0)
        _make_environment(interpreter, environment)
        _install_lock(toolchain, environment, on_progress)
        on_progress("trying it", _INSTALLED_SHARE)
        prove(toolchain, environment / "bin" / "python")
        mark = Mark(toolchain.name, toolchain.lock_sha256, _version_of(str(environment / "bin" / "python")))
        (environment / MARK).write_bytes(msgspec.json.encode(mark))
        with contextlib.suppress(FileNotFoundError):
            (folder / toolchain.name).rename(building / "old")
        environment.rename(folder / toolchain.name)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    on_progress("installed", 1.0)
    place = find_installed(toolchain)
    if place is None:
        raise ToolchainFailedError(f"The lock of {toolchain.name} does not hold what its row asks for.")
    return place


def _make_environment(interpreter: str, environment: Path) -> None:
    without_pip = ["--without-pip"] if _has_pip() else []
    _run([interpreter, "-I", "-m", "venv", *without_pip, str(environment)], "The environment cannot be made")


def _install_lock(toolchain: Toolchain, environment: Path, on_progress: OnProgress) -> None:
    lock = environment / "toolchain.lock"
    lock.write_text(toolchain.lock)
    inside = str(environment / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--python", inside] if _has_pip() else [inside, "-m", "pip"]
    command = [*pip, "--disable-pip-version-check", "--no-input", "install", "--progress-bar", "off"]
    command += ["--no-compile", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
    total, seen = locked_packages(toolchain.lock), 0

    def watch(line: str) -> None:
        nonlocal seen
        if line.startswith("Collecting "):
            seen += 1
            share = _VENV_SHARE + (_COLLECTED_SHARE - _VENV_SHARE) * min(1.0, seen / total)
            on_progress(f"fetching {line.split()[1]}", share)
        elif line.startswith("Installing "):
            on_progress("unpacking", _COLLECTED_SHARE)

    _run([*command, "--requirement", str(lock)], f"{toolchain.name} cannot be installed", watch)


def _run(command: list[str], failed: str, watch: Callable[[str], None] = lambda _line: None) -> None:
    program = tethered([str(shutil.which(command[0])), *command[1:]])
    said = [""]
    with subprocess.Popen(
        program,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=child_environment(),
    ) as child:
        assert child.stdout is not None
        try:
            for line in child.stdout:
                said.append(line.strip())
                watch(said[-1])
        except BaseException:
            # An interrupt: nothing reads on, and it would wait for ever with a full pipe.
            child.kill()
            raise
    if child.returncode:
        errors = [line for line in said if line.startswith("ERROR")] or said[-1:]
        raise ToolchainFailedError(f"{failed}: {errors[0][:_MAX_REASON_CHARACTERS].rstrip('.')}.")


def _has_pip() -> bool:
    return importlib.util.find_spec("pip") is not None


@contextlib.contextmanager
def _alone(folder: Path, toolchain: Toolchain) -> Iterator[None]:
    with (folder / f".{toolchain.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _beside(folder: Path, toolchain: Toolchain) -> Path:
    return Path(tempfile.mkdtemp(prefix=f".{toolchain.name}.building-", dir=folder))


def _sweep(folder: Path, toolchain: Toolchain) -> None:
    """Remove what a killed installation left."""
    for left in folder.glob(f".{toolchain.name}.building-*"):
        shutil.rmtree(left, ignore_errors=True)
