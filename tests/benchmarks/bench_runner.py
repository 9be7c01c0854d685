"""``runner_overhead_us``: what the isolation of the runner costs per inference.

One call through the line's own ``RunnerProcess`` (request, inference in the other process, reply, output read
from the shared memory) and one bare ``session.run`` in this process, in turn, on the same 2 MB network with
the same options. The figure is the difference of the medians.
"""

import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, perf_counter_ns

import numpy as np
import onnxruntime as ort

from edgewright.agent.line.runnerprocess import RunnerProcess
from edgewright.wire.manifest import encode_manifest
from tests.benchmarks.release import BenchmarkRelease, benchmark_release

ROUNDS = 5
CALLS_A_ROUND = 300
WARM_UP_CALLS = 50
PATIENCE_S = 60.0


def run() -> Iterator[dict[str, object]]:
    """Measure; one dictionary."""
    release = benchmark_release()
    with tempfile.TemporaryDirectory() as name:
        runner = _started(Path(name), release)
        bare = _bare_call(release, runner.frames.inputs)
        isolated = _isolated_call(runner)
        try:
            _interleaved(bare, isolated, WARM_UP_CALLS)
            rounds = [_interleaved(bare, isolated, CALLS_A_ROUND) for _ in range(ROUNDS)]
        finally:
            runner.kill()
    overheads = [isolated_us - bare_us for bare_us, isolated_us in rounds]
    overhead, bare_us = statistics.median(overheads), statistics.median(pair[0] for pair in rounds)
    yield {
        "name": "runner_overhead_us",
        "value": round(overhead, 1),
        "unit": "us",
        "peer": "session.run in process, same network and options",
        "peer_value": round(bare_us, 1),
        "ratio": round(overhead / bare_us, 3),
        "spread": [round(min(overheads), 1), round(max(overheads), 1)],
    }


def _started(folder: Path, release: BenchmarkRelease) -> RunnerProcess:
    manifest_path, artifact_path = folder / "manifest.json", folder / "model.onnx"
    manifest_path.write_bytes(encode_manifest(release.manifest))
    artifact_path.write_bytes(release.artifact)
    runner = RunnerProcess(release.manifest, manifest_path, artifact_path)
    if not runner.wait(monotonic() + PATIENCE_S):
        raise TimeoutError("The runner did not become ready.")
    runner.frames.inputs[...] = np.random.default_rng(3).normal(size=runner.frames.inputs.shape)
    return runner


def _bare_call(release: BenchmarkRelease, inputs: np.ndarray) -> Callable[[], object]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(release.artifact, options, providers=["CPUExecutionProvider"])
    own = inputs.copy()
    return lambda: session.run(None, {"x": own})


def _isolated_call(runner: RunnerProcess) -> Callable[[], object]:
    def call() -> object:
        runner.ask()
        if not runner.wait(monotonic() + PATIENCE_S):
            raise TimeoutError("The runner did not answer.")
        return runner.frames.output.tolist()

    return call


def _interleaved(bare: Callable[[], object], isolated: Callable[[], object], n: int) -> tuple[float, float]:
    """Medians of both in microseconds, called in turn."""
    times: tuple[list[int], list[int]] = ([], [])
    for _ in range(n):
        for call, taken in zip((bare, isolated), times, strict=True):
            started = perf_counter_ns()
            call()
            taken.append(perf_counter_ns() - started)
    return statistics.median(times[0]) / 1000, statistics.median(times[1]) / 1000
