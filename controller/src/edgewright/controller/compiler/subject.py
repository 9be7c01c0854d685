"""What the compiler compiles: a model with fixed ports, the data that it is judged on, and what decides.

A subject knows nothing of versions, releases or devices. Front ends make it (``sources``): from a folder of a
model that decides on camera frames, or from one whose inputs are tensors. Everything after that is the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from edgewright.controller.model_toml import GatesPart

Format = Literal["onnx", "tflite"]

Feeds = Mapping[str, NDArray[Any]]
"""Inputs by name, each ``[n, *port.shape]``: row ``i`` of all of them is one call. A port's own shape has its
batch axis of 1, where it has one, so an image model has ``[n, 1, 3, 64, 64]``.
"""

Outputs = Mapping[str, NDArray[Any]]
"""The same of outputs, of whatever element type the model has."""

NO_TRUTHS: Final = np.empty(0, np.intp)


@dataclass(frozen=True)
class Port:
    """An input or output: name, NumPy's name of the element type, and sizes, all of them fixed."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Subject:
    """A model to compile.

    Attributes:
        name: of the model.
        model: the source, fp32 and canonical where it is ONNX; the file as it came where it is TFLite.
        format: of the source.
        inputs, outputs: its ports.
        calibration: feeds that show which values occur.
        holdout: feeds that judge; none of them is among the calibration's.
        decision: the output that carries one logit a label, empty where none does.
        labels: classes of that output, empty where nobody named them.
        truths: the true class of each holdout row, -1 where it is not known; empty where there are none.
        gates: thresholds.
        memory_mb, latency_us: limits of the model's own, 0 for none.
        batches: whether the first axis of every port counts examples, so that many rows can run in one call.
        synthetic: whether the feeds were drawn, not recorded: they show parity, not accuracy.
        notes: sentences about what the front end changed or chose.
    """

    name: str
    model: bytes
    format: Format
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    calibration: Feeds
    holdout: Feeds
    gates: GatesPart
    decision: str = ""
    labels: tuple[str, ...] = ()
    truths: NDArray[np.intp] = field(default_factory=lambda: NO_TRUTHS)
    memory_mb: float = 0.0
    latency_us: float = 0.0
    batches: bool = False
    synthetic: bool = False
    notes: tuple[str, ...] = ()


def rows_of(feeds: Feeds) -> int:
    """How many calls a set of feeds is."""
    return len(next(iter(feeds.values()))) if feeds else 0


def take_rows(feeds: Feeds, rows: Sequence[int]) -> dict[str, NDArray[Any]]:
    """Some of the calls."""
    return {name: values[list(rows)] for name, values in feeds.items()}
