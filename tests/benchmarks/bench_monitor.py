"""``monitor_cost_us``: processor time of the line's statistics per inference.

Counted is all that the line does for a decided frame beside deciding it: softmax, eight signals and the
moments of the embedding, class and cause counts, the changeover, the join table, the truth of every second
item, and its part of cutting, packing and encoding the window (one in 100 frames). What OpenCV does to look
at the picture stands in a field of its own.

The peer does the same with numpy's own functions: softmax on arrays, ``numpy.histogram`` for each signal. The
second peer, whylogs, is in ``bench_windows`` (``peer_row_us``), because it needs an environment of its own.
"""

import statistics
from collections.abc import Callable, Iterator
from random import Random
from time import process_time_ns

import numpy as np

from edgewright.agent.control import Up, encode
from edgewright.agent.line.capture import CapturePlan
from edgewright.agent.line.deciding import Ruling
from edgewright.agent.line.observing import Observer
from edgewright.agent.line.statistics import score
from edgewright.agent.preprocess import ImageStatistics, Look, look, use_one_thread
from edgewright.wire.cell import Decision, Frame, Outcome
from edgewright.wire.histograms import SCHEMAS

FRAMES = 5000
ROUNDS = 5
FRAMES_A_WINDOW = 100
CLASSES = 10
LABELS = tuple(f"class {i}" for i in range(CLASSES))


def run() -> Iterator[dict[str, object]]:
    """Measure; one dictionary."""
    use_one_thread()
    rng = np.random.default_rng(4)
    logits = rng.normal(scale=3, size=(FRAMES, CLASSES)).astype(np.float32)
    image = rng.integers(0, 256, (96, 96, 3), dtype=np.uint8)
    decided = [_decided(i, row) for i, row in enumerate(logits)]
    said = logits.tolist()
    looks = [_made_up_look(rng) for _ in range(FRAMES)]
    rounds = [
        (
            _cost_us(lambda: _observe(said, decided, looks)),
            _cost_us(lambda: _observe_with_numpy(logits)),
            _cost_us(lambda: _look(image)),
        )
        for _ in range(ROUNDS)
    ]
    own, peer, images = ([costs[i] for costs in rounds] for i in range(3))
    value, peer_value = statistics.median(own), statistics.median(peer)
    yield {
        "name": "monitor_cost_us",
        "value": round(value, 2),
        "unit": "us",
        "peer": "the same statistics with numpy.exp and numpy.histogram",
        "peer_value": round(peer_value, 2),
        "ratio": round(value / peer_value, 3),
        "spread": [round(min(own), 2), round(max(own), 2)],
        "looking_us": round(statistics.median(images), 2),
        "looking_spread": [round(min(images), 2), round(max(images), 2)],
    }


def _cost_us(work: Callable[[], None]) -> float:
    """Processor time of ``FRAMES`` frames, per frame."""
    started = process_time_ns()
    work()
    return (process_time_ns() - started) / FRAMES / 1000


def _decided(number: int, logits: np.ndarray) -> tuple[Frame, Decision]:
    """What the line has in hand anyway: the frame and its decision."""
    frame = Frame(item=f"i-{number}", deadline_ms=50, shape=(0, 0, 3), pixels=b"", tag="sku")
    label = LABELS[int(logits.argmax())]
    return frame, Decision(item=frame.item, label=label, confidence=0.9, source="active", version=1)


def _observe(said: list[list[float]], decided: list[tuple[Frame, Decision]], looks: list[Look]) -> None:
    sent: list[bytes] = []

    def send(message: Up) -> None:
        sent.append(encode(message))

    observer = Observer(send, "robot-1", CapturePlan(), Random(1), 0.0)
    observer.runs("network", 1, 0.0)
    for i, (row, (frame, decision), seen) in enumerate(zip(said, decided, looks, strict=True), start=1):
        ruling = Ruling(decision, score(row, 1.0), "", None)
        observer.count(frame, ruling, seen, 0.0, 0.004, 1.7e9)
        if i % 2:
            observer.learn(Outcome(frame.item, LABELS[i % CLASSES]), 0.0, 1.7e9)
        if i % FRAMES_A_WINDOW == 0:
            observer.cut(1.0)
    if len(sent) != FRAMES // FRAMES_A_WINDOW:
        raise RuntimeError("The observer did not send every window.")


def _made_up_look(rng: np.random.Generator) -> Look:
    few = rng.random(4).tolist()
    return Look(ImageStatistics(*few), np.zeros((8, 8, 3), np.uint8), rng.random(8, np.float32))


def _observe_with_numpy(logits: np.ndarray) -> None:
    edges = {name: np.array((schema.low, *schema.edges, schema.high)) for name, schema in SCHEMAS.items()}
    counts = {name: np.zeros(64, np.int64) for name in ("confidence", "margin", "entropy", "latency_us")}
    classes = np.zeros(CLASSES, np.int64)
    for row in logits:
        weights = np.exp(row - row.max())
        p = weights / weights.sum()
        first, second = np.partition(p, -2)[-1], np.partition(p, -2)[-2]
        entropy = -np.sum(p * np.log(p)) / np.log(CLASSES)
        classes[np.argmax(p)] += 1
        counts["confidence"] += np.histogram([first], edges["confidence"])[0]
        counts["margin"] += np.histogram([first - second], edges["unit"])[0]
        counts["entropy"] += np.histogram([entropy], edges["unit"])[0]
        counts["latency_us"] += np.histogram([4000.0], edges["latency_us"])[0]


def _look(image: np.ndarray) -> None:
    for _ in range(FRAMES):
        look(image)
