"""The reference profile: what the shipped artifact does on frames that it never saw.

Drift is measured against it, so it is made of the same parts as a device's telemetry window: the artifact
itself, the agent's preprocessing and image statistics, and the wire's histograms.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgewright.controller.compiler.frames import Frames
from edgewright.controller.compiler.ort import Array
from edgewright.controller.compiler.reference_profile import SIGNALS, ReferenceProfile
from edgewright.wire.histograms import Histogram

TEMPERATURES: Final = tuple(round(float(value), 4) for value in np.geomspace(0.25, 4.0, 161))

Floats = NDArray[np.float64]


def fit_temperature(logits: Array, classes: NDArray[np.intp]) -> float:
    """The temperature with the smallest log loss on every second frame.

    Guo et al., "On calibration of modern neural networks" (ICML 2017), section 4.2, by grid search.
    """
    rows, truth = logits[::2].astype(np.float64), classes[::2]
    losses = [_log_loss(rows / temperature, truth) for temperature in TEMPERATURES]
    return TEMPERATURES[int(np.argmin(losses))]


def signals(logits: Array, temperature: float, frames: Frames) -> dict[str, Floats]:
    """Every signal's values, one a frame.

    Entropy is relative to that of a uniform decision, so it lies between 0 and 1.
    """
    chances = np.exp(_log_softmax(logits.astype(np.float64) / temperature))
    ordered = np.sort(chances, axis=1)
    entropy = -np.sum(chances * np.log(np.maximum(chances, 1e-12)), axis=1) / np.log(chances.shape[1])
    statistics = frames.statistics()
    return {
        "confidence": ordered[:, -1],
        "margin": ordered[:, -1] - ordered[:, -2],
        "entropy": entropy,
        "brightness": statistics[:, 0],
        "contrast": statistics[:, 1],
        "sharpness": statistics[:, 2],
    }


def make_profile(
    identity: tuple[str, int, str],
    logits: Array,
    frames: Frames,
    labels: Sequence[str],
    temperature: float,
) -> ReferenceProfile:
    """The profile from the shipped artifact's logits on the holdout frames.

    Args:
        identity: model, version and target.
        logits: one frame a row.
        frames: the frames.
        labels: the output's classes.
        temperature: of the manifest.
    """
    decided, truth = logits.argmax(axis=1), frames.classes(labels)
    wrong = decided != truth
    histograms = {}
    for name, values in signals(logits, temperature, frames).items():
        histogram = Histogram(SIGNALS[name])
        for value in values.tolist():
            histogram.add(value)
        histograms[name] = histogram.pack()
    model, version, target = identity
    return ReferenceProfile(
        model=model,
        version=version,
        target=target,
        error_rate=float(wrong.mean()),
        error_rate_n=len(frames),
        histograms=histograms,
        classes={label: int((decided == i).sum()) for i, label in enumerate(labels)},
        truths={
            label: (int((truth == i).sum()), int(wrong[truth == i].sum())) for i, label in enumerate(labels)
        },
        temperature=temperature,
    )


def _log_softmax(logits: Floats) -> Floats:
    shifted: Floats = logits - logits.max(axis=1, keepdims=True)
    normed: Floats = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return normed


def _log_loss(logits: Floats, classes: NDArray[np.intp]) -> float:
    return -float(_log_softmax(logits)[np.arange(len(classes)), classes].mean())
