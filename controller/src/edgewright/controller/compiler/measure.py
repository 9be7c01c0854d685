"""What the gates need to know of a candidate, measured by running it beside fp32."""

import time
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgewright.controller.compiler.gates import Measurement, PairedClass
from edgewright.controller.compiler.ort import Array, Session

ROUNDS: Final = 60
WARM_UP_ROUNDS: Final = 5


def compare_logits(
    fp32: Array, candidate: Array, classes: NDArray[np.intp], labels: Sequence[str]
) -> tuple[float, float, dict[str, PairedClass]]:
    """Top-1 agreement, relative logit error, and correctness by class.

    Args:
        fp32: its logits, one frame a row.
        candidate: the candidate's.
        classes: true class of each frame.
        labels: names of the classes.
    """
    ours, theirs = candidate.argmax(axis=1), fp32.argmax(axis=1)
    centred = fp32 - fp32.mean(axis=1, keepdims=True)
    difference = candidate - candidate.mean(axis=1, keepdims=True) - centred
    error = float(np.sqrt(np.mean(difference**2) / max(float(np.mean(centred**2)), 1e-12)))
    by_class = {}
    for number, label in enumerate(labels):
        rows = classes == number
        right, fp32_right = ours[rows] == number, theirs[rows] == number
        by_class[label] = PairedClass(
            int(rows.sum()), int((fp32_right & ~right).sum()), int((right & ~fp32_right).sum())
        )
    return float(np.mean(ours == theirs)), error, by_class


def median_latencies(sessions: Sequence[Session], image: Array, output: str) -> list[float]:
    """Median thread CPU time of one inference of each session, microseconds.

    The sessions take turns, so that whatever slows the machine slows all of them.
    """
    times: list[list[int]] = [[] for _ in sessions]
    for turn in range(WARM_UP_ROUNDS + ROUNDS):
        for session, taken in zip(sessions, times, strict=True):
            start = time.thread_time_ns()
            session.run(image, output)
            if turn >= WARM_UP_ROUNDS:
                taken.append(time.thread_time_ns() - start)
    return [float(np.median(taken)) / 1000 for taken in times]


def measure_reference(name: str, length: int, fp32: Array) -> Measurement:
    """fp32 against itself."""
    finite = bool(np.isfinite(fp32).all())
    return Measurement(name, length, finite, 1.0, 0.0, {}, None, None, is_reference=True)
