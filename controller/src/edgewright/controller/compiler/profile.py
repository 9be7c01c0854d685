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
from edgewright.wire.moments import Moments

TEMPERATURES: Final = tuple(round(float(value), 4) for value in np.geomspace(0.25, 4.0, 161))

Floats = NDArray[np.float64]


def fit_temperature(logits: Array, classes: NDArray[np.intp]) -> float:
    """The temperature with the smallest log loss on every second frame.

    Guo et al., "On calibration of modern neural networks" (ICML 2017), section 4.2, by grid search.
    """
    rows, truth = logits[::2].astype(np.float64), classes[::2]
    losses = [_log_loss(rows / temperature, truth) for temperature in TEMPERATURES]
    return TEMPERATURES[int(np.argmin(losses))]


def signals(logits: Array, temperature: float, optics: Floats) -> dict[str, Floats]:
    """Every signal's values, one a frame, but for those that need labels.

    Entropy is relative to that of a uniform decision, so it lies between 0 and 1.

    Args:
        logits: one frame a row.
        temperature: divides them.
        optics: of the same frames; see ``Frames.looks``.
    """
    chances = np.exp(_log_softmax(logits.astype(np.float64) / temperature))
    ordered = np.sort(chances, axis=1)
    entropy = -np.sum(chances * np.log(np.maximum(chances, 1e-12)), axis=1) / np.log(chances.shape[1])
    return {
        "confidence": ordered[:, -1],
        "margin": ordered[:, -1] - ordered[:, -2],
        "entropy": entropy,
        "brightness": optics[:, 0],
        "contrast": optics[:, 1],
        "sharpness": optics[:, 2],
        "saturation": optics[:, 3],
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
    optics, vectors = frames.looks()
    values = signals(logits, temperature, optics)
    values["labelled_confidence"] = values["confidence"]
    values["right_confidence"] = values["confidence"][~wrong]
    embedding = Moments()
    embedding.add_many(vectors.tolist())
    model, version, target = identity
    return ReferenceProfile(
        model=model,
        version=version,
        target=target,
        error_rate=float(wrong.mean()),
        error_rate_n=len(frames),
        histograms={name: _counted(SIGNALS[name], column).pack() for name, column in values.items()},
        classes={label: int((decided == i).sum()) for i, label in enumerate(labels)},
        truths={
            label: (int((truth == i).sum()), int(wrong[truth == i].sum())) for i, label in enumerate(labels)
        },
        temperature=temperature,
        embedding=embedding.pack(),
    )


def _counted(schema: str, values: Floats) -> Histogram:
    histogram = Histogram(schema)
    for value in values.tolist():
        histogram.add(value)
    return histogram


def _log_softmax(logits: Floats) -> Floats:
    shifted: Floats = logits - logits.max(axis=1, keepdims=True)
    normed: Floats = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return normed


def _log_loss(logits: Floats, classes: NDArray[np.intp]) -> float:
    return -float(_log_softmax(logits)[np.arange(len(classes)), classes].mean())
