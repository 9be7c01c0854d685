"""Qualification: does the artifact do on this device what its manifest promises?

It runs in a process of its own, because a bad artifact may take the process with it. Order: load and
placement, threads, golden outputs, latency, memory. The first limit that does not hold ends it. Whatever is
measured, is measured with the threads with which the artifact will run.
"""

import os
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgewright.agent.control import QualificationResult
from edgewright.agent.runner.artifacts import open_artifact, read_golden, read_manifest
from edgewright.agent.runner.ownprocess import resident_kib, return_free_memory
from edgewright.agent.runner.runtimes import Session, load_session
from edgewright.agent.runner.threads import choose_threads, thread_counts
from edgewright.wire.errors import (
    EdgewrightError,
    GoldenMismatchError,
    LatencyLimitError,
    MalformedMessageError,
    RunnerMemoryError,
    RunnerOutputError,
)
from edgewright.wire.manifest import GoldenVectors, Manifest

_RUNS_A_ROUND: Final = 400
_RUNS_A_CHOICE: Final = 100
_ROUNDS: Final = 3
"""The best round counts: a neighbour's burst on a shared board is not the artifact's fault."""

_LONGEST_ROUND_NS: Final = 4_000_000_000
_FEWEST_RUNS: Final = 20
"""A slow model's round is cut short, so that a qualification ends in its time."""

_SMALLEST_RANGE: Final = 1e-6
"""Golden outputs that are all equal have no range to be relative to."""


def qualify(
    manifest_path: Path,
    artifact_path: Path,
    golden_path: Path,
    threads: int,
    read_key: Callable[[], bytes] = bytes,
) -> QualificationResult:
    """Hold an artifact against its manifest on this device's runtime.

    ``read_key`` gives the content key, and is asked only for an encrypted artifact. ``threads`` of an
    inference; 0 lets the device choose.
    """
    measured = QualificationResult(ok=False)
    try:
        manifest = read_manifest(manifest_path)
        content_key = read_key() if manifest.encryption else b""
        golden = read_golden(golden_path, manifest, content_key)
        artifact = open_artifact(artifact_path, manifest, content_key)
        session, threads = _open_session(artifact, manifest, threads)
        measured = msgspec.structs.replace(measured, placement=session.placement(), threads=threads)
        worst = _worst_difference(session, manifest, golden)
        measured = msgspec.structs.replace(measured, worst_difference=worst)
        if worst > manifest.limits.golden_tolerance:
            raise GoldenMismatchError(
                f"A golden output differs by {worst:.4f} of the range; "
                f"{manifest.limits.golden_tolerance:.4f} is allowed."
            )
        p50, p99 = _latency_us(session, manifest, _RUNS_A_ROUND)
        memory = resident_kib() / 1024
        measured = msgspec.structs.replace(measured, latency_p50_us=p50, latency_p99_us=p99, memory_mb=memory)
        _verify_limits(measured, manifest)
    except EdgewrightError as error:
        return msgspec.structs.replace(measured, error=error.number, detail=error.sentence)
    return msgspec.structs.replace(measured, ok=True)


def _open_session(artifact: Path | bytes, manifest: Manifest, threads: int) -> tuple[Session, int]:
    """A session with so many threads, or, for 0, with as many as do best here; and how many these are."""

    def latency_us(count: int) -> int:
        _, p99 = _latency_us(load_session(artifact, manifest, count), manifest, _RUNS_A_CHOICE)
        return_free_memory()
        return p99

    chosen = threads or choose_threads(thread_counts(len(os.sched_getaffinity(0))), latency_us)
    return load_session(artifact, manifest, chosen), chosen


def _worst_difference(session: Session, manifest: Manifest, golden: GoldenVectors) -> float:
    stored = _vectors(golden.inputs, golden.count, manifest.input.dtype, manifest.input.shape)
    expected = _vectors(golden.outputs, golden.count, "float32", manifest.output.shape)
    scale, zero_point = session.input_quantisation
    inputs = np.empty(manifest.input.shape, np.float32)
    output = np.empty(manifest.output.shape, np.float32)
    worst = 0.0
    for vector, wanted in zip(stored, expected, strict=True):
        inputs[...] = (vector.astype(np.float32) - zero_point) * np.float32(scale)
        session.run_into(inputs, output)
        if not np.isfinite(output).all():
            raise RunnerOutputError("The output of a golden input has values that are not finite.")
        worst = max(worst, float(np.abs(output - wanted).max()))
    return worst / max(float(expected.max() - expected.min()), _SMALLEST_RANGE)


def _vectors(data: bytes, count: int, dtype: str, shape: tuple[int, ...]) -> NDArray[np.generic]:
    little_endian = np.dtype(dtype).newbyteorder("<")
    if count < 1 or len(data) != count * int(np.prod(shape)) * little_endian.itemsize:
        raise MalformedMessageError(f"The golden vectors are not {count} times {shape} of {dtype}.")
    return np.frombuffer(data, little_endian).reshape(count, *shape)


def _latency_us(session: Session, manifest: Manifest, runs: int) -> tuple[int, int]:
    """Median and 99th percentile of the best round; stops at the first round within the limit.

    One run before counts for nothing: it lays out memory.
    """
    inputs = np.zeros(manifest.input.shape, np.float32)
    output = np.empty(manifest.output.shape, np.float32)
    best = (0, 2**63)
    session.run_into(inputs, output)
    for _ in range(_ROUNDS):
        times = sorted(_round_ns(session, inputs, output, runs))
        best = min(
            best, (times[len(times) // 2], times[len(times) * 99 // 100 - 1]), key=lambda pair: pair[1]
        )
        if best[1] <= manifest.limits.latency_p99_us * 1000:
            break
    return best[0] // 1000, best[1] // 1000


def _round_ns(
    session: Session, inputs: NDArray[np.float32], output: NDArray[np.float32], runs: int
) -> list[int]:
    times: list[int] = []
    while len(times) < runs and (len(times) < _FEWEST_RUNS or sum(times) < _LONGEST_ROUND_NS):
        times.append(_run_ns(session, inputs, output))
    return times


def _run_ns(session: Session, inputs: NDArray[np.float32], output: NDArray[np.float32]) -> int:
    started = perf_counter_ns()
    session.run_into(inputs, output)
    return perf_counter_ns() - started


def _verify_limits(measured: QualificationResult, manifest: Manifest) -> None:
    limits = manifest.limits
    if measured.latency_p99_us > limits.latency_p99_us:
        raise LatencyLimitError(
            f"One inference takes {measured.latency_p99_us} us at the 99th percentile; "
            f"{limits.latency_p99_us} are allowed."
        )
    if measured.memory_mb > limits.memory_mb:
        raise RunnerMemoryError(
            f"The runner takes {measured.memory_mb:.0f} MiB; the manifest allows {limits.memory_mb}."
        )
