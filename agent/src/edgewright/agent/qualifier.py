"""Starts the process that holds an artifact against its manifest, and waits for its one line.

Native code that crashes, hangs or eats memory does so in that process, not here (``trial``).
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Final

from edgewright.agent.control import QualificationResult, decode_qualification
from edgewright.agent.environments import NO_ENVIRONMENTS, Environments, runner_command
from edgewright.agent.fetcher import Interrupt
from edgewright.agent.trial import Bounds, bounds, run_trial
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
from edgewright.wire.manifest import Manifest, decode_manifest

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
    most: Bounds | None = None,
    niceness: int = 0,
) -> QualificationResult:
    """Run the runner's ``qualify`` with the Python that has the manifest's runtime.

    It reads the content key from its standard input. ``threads`` of an inference; 0 lets it choose. ``most``
    bounds it whatever the manifest promises.

    Raises:
        RunnerCrashError: the process ended without its line.
        RunnerHangError: it did not end in time.
        RunnerMemoryError: it took many times the memory that the model may take.
        RuntimeLoadError: the manifest cannot be read, or the runtime's Python does not start.
        Interrupted: the work was called off.
    """
    promised = _read(manifest)
    command = [*runner_command(promised.runtime, environments), "qualify", "--threads", str(threads)]
    command += ["--manifest", str(manifest), "--artifact", str(artifact), "--golden", str(golden)]
    allowed = bounds(promised.limits, promised.artifact.length + promised.golden.length)
    longest = math.inf
    if most is not None:
        allowed = Bounds(min(allowed.seconds, most.seconds), min(allowed.memory_mb, most.memory_mb))
        longest = most.seconds
    output = run_trial(command, content_key, allowed, interrupt, niceness, longest)
    try:
        return decode_qualification(output)
    except MalformedMessageError as error:
        raise RunnerCrashError(f"The qualification gave no result: {error.sentence}") from error


def _read(manifest: Path) -> Manifest:
    try:
        return decode_manifest(manifest.read_bytes())
    except OSError as error:
        raise RuntimeLoadError(f"The manifest cannot be read: {error.strerror}.") from error
