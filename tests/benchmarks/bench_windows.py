"""``window_bytes`` and ``merge_1000_ms``: what a telemetry window costs on the wire and on the controller.

The windows are those of a line of ten classes: every signal on every frame, a truth for every second item
from three sources, the embedding's moments. ``window_bytes`` is the whole MQTT payload, sealing apart, of one
with 3,000 frames; of one with 64 classes besides, which is the largest that a device sends. ``merge_1000_ms``
is processor time from the payloads of 1,000 windows of 100 frames, ten seconds of a line each, to one sum.

The peer is whylogs on the same columns: eight signals and the eight components of the embedding as numbers,
two labels as text. Its time for one profile is multiplied by 1,000; it is logged row by row, as on a line.
"""

import json
import os
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import process_time_ns
from typing import Any, Final

import numpy as np

from edgewright.agent.line.statistics import Tally, score
from edgewright.agent.preprocess import ImageStatistics, Look
from edgewright.controller.evidence.summing import WindowSum, sum_windows
from edgewright.wire.cell import Decision, Outcome
from edgewright.wire.messages import Window, decode_up, encode
from edgewright.wire.moments import DIMS
from tests.benchmarks.peer_environments import PeerError, last_line, python_of

SEEDS: Final = 20
WINDOWS: Final = 1000
DRAWN: Final = 50
ROUNDS: Final = 7
FRAMES: Final = 3000
SOURCES: Final = ("", "gripper", "operator")
QUIET: Final = {"WHYLOGS_NO_ANALYTICS": "True", "DO_NOT_TRACK": "1"}


def run() -> Iterator[dict[str, object]]:
    """Measure both; two dictionaries."""
    peer = _whylogs()
    sizes = [len(encode(make_window(FRAMES, 10, seed))) for seed in range(SEEDS)]
    largest = [len(encode(make_window(FRAMES, 64, seed))) for seed in range(SEEDS)]
    value = statistics.median(sizes)
    yield {
        "name": "window_bytes",
        "value": value,
        "unit": "B",
        "spread": [min(sizes), max(sizes)],
        "worst_of_64_classes": max(largest),
        **_beside(value, peer, "bytes", 1.0),
    }
    payloads = [encode(make_window(100, 10, seed)) for seed in range(DRAWN)] * (WINDOWS // DRAWN)
    costs = [_merge_ms(payloads) for _ in range(ROUNDS)]
    value = statistics.median(costs)
    yield {
        "name": "merge_1000_ms",
        "value": round(value, 1),
        "unit": "ms",
        "spread": [round(min(costs), 1), round(max(costs), 1)],
        **_beside(value, peer, "merge_us", WINDOWS / 1000),
    }


def make_window(frames: int, classes: int, seed: int) -> Window:
    """What a line makes of so many frames."""
    rng = np.random.default_rng(seed)
    tally = Tally("garment-packing", 3, "sku-1", 1.7e9)
    for i in range(frames):
        best = int(rng.integers(classes))
        logits = rng.normal(size=classes)
        logits[best] += 5
        scores = score(logits.tolist(), 1.0)
        label = f"class {scores.best:02}"
        decision = Decision(
            item=str(i), label=label, confidence=scores.confidence, source="active", version=3
        )
        tally.add(decision, scores, "", float(rng.lognormal(8, 0.5)))
        tally.add_look(_look(rng))
        if i % 2:
            truth = label if rng.random() > 0.05 else f"class {(scores.best + 1) % classes:02}"
            tally.add_outcome(3, label, Outcome(str(i), truth, SOURCES[i % 3], 0.5), scores.confidence)
    return tally.window("robot-0001", frames / 10)


def _look(rng: np.random.Generator) -> Look:
    optics = rng.beta(20, 20, 4) * (0.6, 0.5, 900, 0.1)
    embedding = rng.normal(0.05, 0.05, DIMS).astype(np.float32)
    return Look(ImageStatistics(*optics.tolist()), np.zeros((8, 8, 3), np.uint8), embedding)


def _merge_ms(payloads: list[bytes]) -> float:
    started = process_time_ns()
    windows = [window for data in payloads if isinstance(window := decode_up(data), Window)]
    total: WindowSum = sum_windows(windows)
    took = (process_time_ns() - started) / 1e6
    if total.frames != 100 * WINDOWS or total.unreadable:
        raise RuntimeError("The sum does not count every frame.")
    return took


def _beside(value: float, peer: dict[str, Any], what: str, factor: float) -> dict[str, object]:
    if "reason" in peer:
        return {"peer": f"whylogs 1.6.4: {peer['reason']}", "peer_value": None, "ratio": None}
    theirs = peer[what] * factor
    figures = {"peer": "whylogs 1.6.4, the same columns", "peer_value": round(theirs, 1)}
    figures |= {"ratio": round(value / theirs, 5), "peer_row_us": round(peer["row_us"], 1)}
    return figures


def _whylogs() -> dict[str, Any]:
    """The peer's figures, or the reason why there are none."""
    rng = np.random.default_rng(1)
    floats = np.column_stack([rng.beta(5, 5, (FRAMES, 8)), rng.normal(0.05, 0.05, (FRAMES, DIMS))])
    labels = np.array([[f"class {i}" for i in pair] for pair in rng.integers(10, size=(FRAMES, 2))])
    script = Path(__file__).with_name("peers") / "profile_with_whylogs.py"
    with tempfile.TemporaryDirectory(prefix="edgewright-peer-") as folder:
        columns, out = Path(folder, "columns.npz"), Path(folder, "figures.json")
        np.savez(columns, floats=floats, labels=labels)
        try:
            command = [python_of("whylogs"), script, columns, out]
            environment = {**os.environ, **QUIET}
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        except PeerError as error:
            return {"reason": str(error)}
        if done.returncode or not out.is_file():
            return {"reason": last_line(done.stderr)}
        found: dict[str, Any] = json.loads(out.read_text())
        return found
