"""``compile_9mb_3_targets_s`` and ``compile_unchanged_s``: the command's wall time, first and again.

`edgewright compile` runs as a person runs it, start of Python included: a folder with a 9 MB network of
MobileNetV2's form (see ``mobile_network``) for three targets, on however many cores there are. The cache is
empty before each first run and full for the runs after it. The peer of the second figure is the first.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from tests.benchmarks.mobile_network import write_folder
from tests.environments import TOOLCHAINS

TARGETS: Final = ("x86_64-ort-cpu", "aarch64-ort-cpu")
THIRD: Final = "aarch64-litert"
INSTEAD: Final = "x86_64-ort-cpu-fp32"
"""Third target where the toolchains for TFLite are not installed."""

FIRST_RUNS: Final = 3
UNCHANGED_RUNS: Final = 5


def run() -> Iterator[dict[str, object]]:
    """Measure; one dictionary a figure."""
    with tempfile.TemporaryDirectory(prefix="edgewright-compile-") as root:
        model = Path(root, "model")
        third = THIRD if (TOOLCHAINS / "onnx2tf").is_dir() else INSTEAD
        spec = write_folder(model, (*TARGETS, third))
        length = (model / spec.model.file).stat().st_size
        caches = [Path(root, f"cache-{turn}") for turn in range(FIRST_RUNS)]
        runs = [_compile(model, cache) for cache in caches]
        again = [_compile(model, caches[-1])[0] for _ in range(UNCHANGED_RUNS)]
    first, shipped = [took for took, _ in runs], runs[0][1]
    common = {"unit": "s", "bytes": length, "targets": list(spec.targets), "cores": os.cpu_count()}
    yield {"name": "compile_9mb_3_targets_s"} | _figure(first) | common | {"shipped": shipped}
    peer = {"peer": "the same command the first time", "peer_value": round(statistics.median(first), 2)}
    yield {"name": "compile_unchanged_s"} | _figure(again) | common | peer


def _figure(seconds: Sequence[float]) -> dict[str, object]:
    return {
        "value": round(statistics.median(seconds), 2),
        "spread": [round(min(seconds), 2), round(max(seconds), 2)],
        "runs": len(seconds),
    }


def _compile(model: Path, cache: Path) -> tuple[float, dict[str, str]]:
    """Seconds of one run, and the precision that it chose for each target."""
    program = Path(sys.executable).with_name("edgewright")
    command: list[str | Path] = [program, "compile", model, "--json"]
    environment = os.environ | {"XDG_CACHE_HOME": str(cache), "EDGEWRIGHT_TOOLCHAINS": str(TOOLCHAINS)}
    start = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    took = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"edgewright compile ended with {done.returncode}: {done.stderr[-400:]}")
    report = msgspec.json.decode(done.stdout)
    return took, {one["target"]: one["precision"] for one in report["targets"]}
