"""Ranges that lose least: a few large values may be clipped where that makes all others finer.

The range of a tensor sets the step of its 256 int8 values. Where one outlier stretches it, most values fall
on few steps. For each tensor a histogram over the calibration calls says, for each narrower range, what
clipping costs and what the finer step saves; the range with the least mean square error is taken.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgewright.controller.compiler.candidate import Range
from edgewright.controller.compiler.subject import Feeds
from edgewright.controller.compiler.within import read_within, spread_rows

CALLS: Final = 48
"""Calibration calls that the histograms are made of."""

BINS: Final = 2048
STEPS: Final = 255
"""Between the smallest and the largest int8 value."""

_SHARES: Final = tuple(round(1 - 0.03 * i, 2) for i in range(31))
"""Shares of the observed range that are tried, from all of it down to a tenth."""


def clipped_ranges(model: bytes, ranges: Mapping[str, Range], feeds: Feeds) -> dict[str, Range]:
    """Narrower ranges where those lose less.

    Args:
        model: the optimised fp32 model that the ranges belong to.
        ranges: observed ones.
        feeds: calibration calls.

    Raises:
        UnknownOperatorError: the runtime cannot load the model with its inner tensors as outputs.
        InputShapeError: the runtime cannot run it.
    """
    wide = {name: range_ for name, range_ in sorted(ranges.items()) if range_[1] > range_[0]}
    counts = {name: np.zeros(BINS) for name in wide}
    for tensors in read_within([model], [{name: name for name in wide}], spread_rows(feeds, CALLS)):
        for name, (values,) in tensors.items():
            counts[name] += np.histogram(values, BINS, wide[name])[0]
    return {**ranges, **{name: best_range(counts[name], wide[name]) for name in wide}}


def best_range(counts: NDArray[np.float64], observed: Range) -> Range:
    """The range with the least mean square error.

    Args:
        counts: histogram of the values over the observed range.
        observed: smallest and largest value.
    """
    low, high = observed
    edges = np.linspace(low, high, len(counts) + 1)
    centres = (edges[1:] + edges[:-1]) / 2
    losses = []
    for share in _SHARES:
        # Zero stays inside: the quantiser needs it exact, for padding.
        narrow = (min(low * share, 0.0), max(high * share, 0.0))
        step = max(narrow[1] - narrow[0], 1e-30) / STEPS
        clipped = np.clip(centres, *narrow)
        rounded = narrow[0] + np.round((clipped - narrow[0]) / step) * step
        losses.append(float(np.sum(counts * (rounded - centres) ** 2)))
    share = _SHARES[int(np.argmin(losses))]
    return (low * share, high * share)
