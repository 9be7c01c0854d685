"""``runner_overhead_us`` and ``runner_isolated_overhead_us``: what the agent adds to each inference.

Three ways to run the same 2 MB network with the same options, in turn in one process, each from the same
array to a list of numbers:

- bare: ``session.run`` of onnxruntime, the peer of both;
- in process: the agent's own ``Session`` behind its runtime seam, with bound arrays and the check for values
  that are not finite;
- isolated: the line's own ``RunnerProcess``: request, inference in the other process, reply, output read from
  the shared memory.

Each figure is the median over all rounds of the difference of the medians. A value below zero means that the
seam costs less than what the bare call spends on making new arrays.
"""

import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import monotonic, perf_counter_ns

import numpy as np
import onnxruntime as ort

from edgewright.agent.line.runnerprocess import RunnerProcess
from edgewright.agent.runner.runtimes import load_session
from edgewright.wire.manifest import encode_manifest
from tests.benchmarks.release import BenchmarkRelease, benchmark_release

ROUNDS = 5
CALLS_A_ROUND = 300
WARM_UP_CALLS = 50
PATIENCE_S = 60.0


def run() -> Iterator[dict[str, object]]:
    """Measure; one dictionary for each figure."""
    release = benchmark_release()
    with tempfile.TemporaryDirectory() as name:
        runner = _started(Path(name), release)
        calls = (
            _bare_call(release, runner.frames.inputs),
            _seam_call(release, runner.frames.inputs),
            _isolated_call(runner),
        )
        try:
            _interleaved(calls, WARM_UP_CALLS)
            rounds = [_interleaved(calls, CALLS_A_ROUND) for _ in range(ROUNDS)]
        finally:
            runner.kill()
    yield _row("runner_overhead_us", rounds, 1)
    yield _row("runner_isolated_overhead_us", rounds, 2)


def _row(name: str, rounds: list[tuple[float, ...]], way: int) -> dict[str, object]:
    overheads = [medians[way] - medians[0] for medians in rounds]
    overhead, bare_us = statistics.median(overheads), statistics.median(medians[0] for medians in rounds)
    return {
        "name": name,
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
    return lambda: np.asarray(session.run(None, {"x": own})[0]).tolist()


def _seam_call(release: BenchmarkRelease, inputs: np.ndarray) -> Callable[[], object]:
    session = load_session(release.artifact, release.manifest, 1)
    own = inputs.copy()
    output = np.empty(release.manifest.output.shape, np.float32)

    def call() -> object:
        session.run_into(own, output)
        if not np.isfinite(output).all():
            raise ValueError("The output is not finite.")
        return output.tolist()

    return call


def _isolated_call(runner: RunnerProcess) -> Callable[[], object]:
    def call() -> object:
        runner.ask()
        if not runner.wait(monotonic() + PATIENCE_S):
            raise TimeoutError("The runner did not answer.")
        return runner.frames.output.tolist()

    return call


def _interleaved(calls: Sequence[Callable[[], object]], n: int) -> tuple[float, ...]:
    """Medians of all in microseconds, called in turn."""
    times: list[list[int]] = [[] for _ in calls]
    for _ in range(n):
        for call, taken in zip(calls, times, strict=True):
            started = perf_counter_ns()
            call()
            taken.append(perf_counter_ns() - started)
    return tuple(statistics.median(taken) / 1000 for taken in times)
