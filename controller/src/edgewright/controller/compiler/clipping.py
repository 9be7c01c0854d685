"""Ranges without their outliers: a few large values are clipped, which makes all others finer.

The range of a tensor sets the step of its 256 int8 values. Where one outlier stretches it, most values fall
on few steps. For each tensor a histogram over the calibration calls tells which range holds all but the
outermost values. (The range of the least mean square error hardly differs from the observed one where the
outlier is far out: its own error outweighs the rounding of ten thousand others.)
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgewright.controller.compiler.candidate import Range
from edgewright.controller.compiler.subject import Feeds
from edgewright.controller.compiler.within import HEAVY, layers_of, read_within, spread_rows

CALLS: Final = 16
"""Calibration calls that the histograms are made of."""

VALUES: Final = 16_384
"""Of one tensor in one call; more are thinned evenly."""

BINS: Final = 2048
CLIPPED_SHARE: Final = 0.0005
"""Share of the values that is clipped at each end, at most."""


def clipped_ranges(model: bytes, ranges: Mapping[str, Range], feeds: Feeds) -> dict[str, Range]:
    """Ranges of all but the outermost values, for what layers with weights read and give.

    Args:
        model: the optimised fp32 model that the ranges belong to.
        ranges: observed ones.
        feeds: calibration calls.

    Raises:
        UnknownOperatorError: the runtime cannot load the model with its inner tensors as outputs.
        InputShapeError: the runtime cannot run it.
    """
    heavy = [layer for layer in layers_of(model) if layer.operator in HEAVY]
    touched = {name for layer in heavy for name in (*layer.inputs, *layer.outputs)}
    wide = {name: ranges[name] for name in sorted(touched & set(ranges)) if ranges[name][1] > ranges[name][0]}
    counts = {name: np.zeros(BINS) for name in wide}
    for tensors in read_within([model], [{name: name for name in wide}], spread_rows(feeds, CALLS)):
        for name, (values,) in tensors.items():
            # An odd step does not fall into step with rows and channels, whose lengths are mostly even.
            few = values.ravel()[:: max(1, values.size // VALUES) | 1]
            counts[name] += np.histogram(few, BINS, wide[name])[0]
    return {**ranges, **{name: inner_range(counts[name], wide[name]) for name in wide}}


def inner_range(counts: NDArray[np.float64], observed: Range) -> Range:
    """The range of all but the outermost values.

    Args:
        counts: histogram of the values over the observed range.
        observed: smallest and largest value.
    """
    edges = np.linspace(*observed, len(counts) + 1)
    below = np.cumsum(counts) / max(float(counts.sum()), 1.0)
    first = int(np.searchsorted(below, CLIPPED_SHARE, side="right"))
    last = int(np.searchsorted(below, 1 - CLIPPED_SHARE, side="left"))
    # Zero stays inside: the quantiser needs it exact, for padding.
    low, high = (float(edge) for edge in (edges[first], edges[min(last, len(counts) - 1) + 1]))
    return (min(low, max(observed[0], 0.0)), max(high, min(observed[1], 0.0)))
