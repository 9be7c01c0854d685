import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgewright.agent.control import QualificationResult, decode_qualification
from edgewright.agent.runner.qualify import verify_placement
from edgewright.wire.errors import (
    GoldenMismatchError,
    LatencyLimitError,
    MalformedMessageError,
    RuntimeLoadError,
)
from edgewright.wire.manifest import Limits, RuntimeRange, Tensor
from tests.agent.tiny_models import Release, write_release

_LIMITS = Limits(
    golden_tolerance=0.01, latency_p99_us=500_000, memory_mb=400, shadow_frames=5, probation_frames=5
)


def _qualify(release: Release) -> QualificationResult:
    """Run the real command in a process of its own."""
    files = ["--manifest", release.manifest_path, "--artifact", release.artifact_path]
    command = [sys.executable, "-m", "edgewright.agent.runner", "qualify", *files]
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
        ({"runtime": RuntimeRange("onnxruntime", "1.20", "2", "NpuExecutionProvider")}, RuntimeLoadError),
        ({"limits": msgspec.structs.replace(_LIMITS, latency_p99_us=0)}, LatencyLimitError),
        ({"limits": msgspec.structs.replace(_LIMITS, memory_mb=5)}, RuntimeLoadError),
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


def test_a_provider_without_a_node_is_a_silent_fallback() -> None:
    """A graph that runs elsewhere than on the declared provider is refused."""
    verify_placement({"CPUExecutionProvider": 1, "NpuExecutionProvider": 9}, "NpuExecutionProvider")
    with pytest.raises(RuntimeLoadError):
        verify_placement({"CPUExecutionProvider": 10}, "NpuExecutionProvider")
