import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgewright.agent.control import QualificationResult, decode_qualification
from edgewright.agent.runner.runtimes import verify_placement
from edgewright.agent.runner.threads import choose_threads, thread_counts
from edgewright.wire.errors import (
    GoldenMismatchError,
    LatencyLimitError,
    MalformedMessageError,
    PlacementError,
    RunnerMemoryError,
    RuntimeLoadError,
)
from edgewright.wire.manifest import Limits, RuntimeRange, Tensor
from tests.agent.tiny_models import Release, write_release

_LIMITS = Limits(
    golden_tolerance=0.01, latency_p99_us=500_000, memory_mb=400, shadow_frames=5, probation_frames=5
)


def _qualify(release: Release, *options: str) -> QualificationResult:
    """Run the real command in a process of its own."""
    files = ["--manifest", release.manifest_path, "--artifact", release.artifact_path]
    command = [sys.executable, "-m", "edgewright.agent.runner", "qualify", *files, *options]
    done = subprocess.run(
        [*map(str, command), "--golden", str(release.golden_path)],
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(b"\n") == 1
    return decode_qualification(done.stdout)


def test_a_good_artifact_qualifies_with_its_measurements(tmp_path: Path) -> None:
    """All limits hold; latency, memory and placement are reported as measured."""
    result = _qualify(write_release(tmp_path))
    assert result.ok
    assert result.error == 0
    assert result.worst_difference < 1e-5
    assert 0 < result.latency_p50_us <= result.latency_p99_us
    assert 10 < result.memory_mb < 400
    assert result.placement == {"CPUExecutionProvider": 3}


@pytest.mark.parametrize(
    ("release", "error"),
    [
        ({"fault": "nonsense-bytes"}, RuntimeLoadError),
        ({"fault": "unknown-operator"}, RuntimeLoadError),
        ({"golden_error": 0.5}, GoldenMismatchError),
        ({"output": Tensor("y", "float32", (1, 4))}, RuntimeLoadError),
        ({"input": Tensor("other", "float32", (1, 3, 8, 8))}, RuntimeLoadError),
        ({"runtime": RuntimeRange("onnxruntime", "1.0", "1.1", "CPUExecutionProvider")}, RuntimeLoadError),
        ({"runtime": RuntimeRange("onnxruntime", "1.20", "2", "NpuExecutionProvider")}, PlacementError),
        ({"limits": msgspec.structs.replace(_LIMITS, latency_p99_us=0)}, LatencyLimitError),
        ({"limits": msgspec.structs.replace(_LIMITS, memory_mb=5)}, RunnerMemoryError),
    ],
)
def test_what_does_not_hold_is_named(tmp_path: Path, release: dict[str, Any], error: type[Any]) -> None:
    """Each way to miss the manifest ends in its own number and one sentence without a path."""
    result = _qualify(write_release(tmp_path, **release))
    assert (result.ok, result.error) == (False, error.number)
    assert result.detail.endswith(".")
    assert str(tmp_path) not in result.detail


def test_golden_vectors_that_are_none_are_refused(tmp_path: Path) -> None:
    """Damaged golden vectors, or ones of another shape, never qualify an artifact."""
    release = write_release(tmp_path)
    release.golden_path.write_bytes(b"\xc1garbage")
    assert _qualify(release).error == MalformedMessageError.number


def _wanted(provider: str, placed: float) -> RuntimeRange:
    return RuntimeRange("onnxruntime", "1.20", "2", provider, placed)


def test_a_provider_with_fewer_nodes_than_demanded_is_a_silent_fallback() -> None:
    """A graph runs in full where its manifest says, or as far as the manifest demands; else it is refused."""
    partly = {"CPUExecutionProvider": 1, "NpuExecutionProvider": 9}
    verify_placement({"NpuExecutionProvider": 10}, _wanted("NpuExecutionProvider", 1.0))
    verify_placement(partly, _wanted("NpuExecutionProvider", 0.9))
    for placement, wanted in (
        (partly, _wanted("NpuExecutionProvider", 1.0)),
        (partly, _wanted("NpuExecutionProvider", 0.91)),
        ({"CPUExecutionProvider": 10}, _wanted("NpuExecutionProvider", 0.0)),
        ({}, _wanted("CPUExecutionProvider", 0.0)),
    ):
        with pytest.raises(PlacementError):
            verify_placement(placement, wanted)


def test_threads_have_to_earn_their_cores() -> None:
    """A step up is taken for a tenth of the latency, the first that brings less ends the search, and a board
    whose second core is the line's gets one thread without any measurement.
    """
    tried: list[int] = []

    def latency(count: int) -> float:
        tried.append(count)
        return {1: 1000.0, 2: 880.0, 4: 830.0, 8: 100.0}[count]

    assert choose_threads(thread_counts(16), latency) == 2
    assert tried == [1, 2, 4]
    assert [choose_threads(thread_counts(cores), latency) for cores in (1, 2)] == [1, 1]
    assert tried == [1, 2, 4]


def test_threads_of_the_configuration_are_not_chosen_again(tmp_path: Path) -> None:
    """A qualification uses and reports the threads that it was given, and chooses at least one for none."""
    release = write_release(tmp_path)
    assert _qualify(release, "--threads", "2").threads == 2
    assert _qualify(release, "--threads", "0").threads >= 1
