"""Starts the process that holds an artifact against its manifest, and waits for its one line.

Native code that crashes, hangs or eats memory does so in that process, not here.
"""

import contextlib
import logging
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from edgewright.agent.control import QualificationResult, decode_qualification
from edgewright.agent.environments import NO_ENVIRONMENTS, Environments, runner_command
from edgewright.agent.fetcher import Interrupt, Interrupted
from edgewright.wire.errors import (
    ConfidentialKeyError,
    DeviceError,
    EdgewrightError,
    GoldenMismatchError,
    IllegalTransitionError,
    InterlockError,
    LatencyLimitError,
    MalformedMessageError,
    PlacementError,
    RunnerCrashError,
    RunnerHangError,
    RunnerMemoryError,
    RunnerOutputError,
    RunnerShapeError,
    RunnerSlowError,
    RuntimeLoadError,
)
from edgewright.wire.manifest import RuntimeRange, decode_manifest

LIMIT_SECONDS: Final = 120.0
"""A slow board loads a large model and runs its golden vectors well within this."""

_SLICE_SECONDS: Final = 0.25

Qualifier = Callable[[Path, Path, Path, bytes, Interrupt], QualificationResult]
"""Manifest, artifact and golden file, and the content key of a confidential model (else empty), to the
result; raises ``EdgewrightError`` or ``Interrupted``."""

_BY_NUMBER: Final[dict[int, type[EdgewrightError]]] = {
    kind.number: kind
    for kind in (
        ConfidentialKeyError,
        RuntimeLoadError,
        GoldenMismatchError,
        LatencyLimitError,
        RunnerCrashError,
        RunnerHangError,
        RunnerOutputError,
        IllegalTransitionError,
        PlacementError,
        RunnerMemoryError,
        RunnerShapeError,
        RunnerSlowError,
        InterlockError,
    )
}

log = logging.getLogger(__name__)


def device_error(number: int, detail: str) -> EdgewrightError:
    """The error class that a line or runner names by its number."""
    return _BY_NUMBER.get(number, DeviceError)(detail)


def qualify(
    manifest: Path,
    artifact: Path,
    golden: Path,
    content_key: bytes,
    interrupt: Interrupt,
    *,
    environments: Environments = NO_ENVIRONMENTS,
    threads: int = 0,
) -> QualificationResult:
    """Run the runner's ``qualify`` with the Python that has the manifest's runtime.

    It reads the content key from its standard input. ``threads`` of an inference; 0 lets it choose.

    Raises:
        RunnerCrashError: the process ended without its line.
        RunnerHangError: it did not end in time.
        RuntimeLoadError: the manifest cannot be read, or the runtime's Python does not start.
        Interrupted: the work was called off.
    """
    command = [*runner_command(_runtime_of(manifest), environments), "qualify", "--threads", str(threads)]
    command += ["--manifest", str(manifest), "--artifact", str(artifact), "--golden", str(golden)]
    process = _start(command)
    try:
        _hand_over(process, content_key)
        output = _wait(process, interrupt)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
    if process.returncode != 0:
        raise RunnerCrashError(f"The qualification ended {_ending(process.returncode)}.")
    try:
        return decode_qualification(output)
    except MalformedMessageError as error:
        raise RunnerCrashError(f"The qualification gave no result: {error.sentence}") from error


def _runtime_of(manifest: Path) -> RuntimeRange:
    try:
        return decode_manifest(manifest.read_bytes()).runtime
    except OSError as error:
        raise RuntimeLoadError(f"The manifest cannot be read: {error.strerror}.") from error


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    except OSError as error:
        raise RuntimeLoadError(f"The Python {command[0]} cannot be started: {error.strerror}.") from error


def _hand_over(process: subprocess.Popen[bytes], content_key: bytes) -> None:
    """Write the key and close the pipe; its buffer takes far more than a key."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
        pipe.write(content_key)
    process.stdin = None


def _wait(process: subprocess.Popen[bytes], interrupt: Interrupt) -> bytes:
    deadline = time.monotonic() + LIMIT_SECONDS
    while True:
        try:
            output, _ = process.communicate(timeout=_SLICE_SECONDS)
        except subprocess.TimeoutExpired:
            if interrupt():
                raise Interrupted from None
            if time.monotonic() > deadline:
                raise RunnerHangError(f"The qualification took more than {LIMIT_SECONDS:.0f} s.") from None
        else:
            return output


def _ending(code: int) -> str:
    return f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit status {code}"
