"""Signals of a window, held against a reference: where in the old distribution do the new values lie?

A signal's values are replaced by their ranks in the reference, 0 to 1 (the probability integral transform),
and a window by the mean of them. One half says that nothing moved, whatever the signal's unit and shape; the
mean rank is the chance that a value of now lies above one of then (Mann and Whitney 1947). Windows of
different tags, each ranked in its own tag's reference, can be taken together.

Only ranks are bet on. The means of what is shown to people come from the histograms.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from math import inf, log, sqrt
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgewright.wire.errors import MessageError
from edgewright.wire.histograms import SCHEMAS, Histogram
from edgewright.wire.messages import Window
from edgewright.wire.moments import Moments

Floats = NDArray[np.float64]

SIGNALS: Final[Mapping[str, str]] = {
    "confidence": "confidence",
    "margin": "unit",
    "entropy": "unit",
    "brightness": "unit",
    "contrast": "unit",
    "sharpness": "sharpness",
    "saturation": "unit",
}
"""Signals that are compared with a reference, and the schema that their histogram has to have."""

NAMES: Final = tuple(SIGNALS)

LATENCY: Final = "latency_us"
"""Signal and schema; it is held against the model's limit and no reference: another machine is no measure."""

MATTERS: Final = 0.05
"""A mean rank that is off by less is not told of: one value in ten moved past the median."""

REFERENCE_DELTA: Final = 0.05
"""Probability that the reference's own sampling moves a mean rank further than is allowed for."""

_RANK_VARIANCE: Final = 1 / 12
"""Of a uniform rank."""

_CENTRES: Final = {schema: np.array(Histogram(schema).centres) for schema in SCHEMAS}


class Seen(NamedTuple):
    """A window's readable signals.

    Attributes:
        histograms: by signal, those with the right schema and a value.
        invalid: values that were no number, of confidence.
        embedding: moments, None where there are none that can be read.
        unreadable: signals whose bytes are no histogram, or one of another schema.
        latency: None where there is none that can be read.
    """

    histograms: dict[str, Histogram]
    invalid: int
    embedding: Moments | None
    unreadable: tuple[str, ...]
    latency: Histogram | None = None

    def slow_share(self, limit_us: float) -> float:
        """Share of the decisions that took longer, by the bins that lie above the limit as a whole."""
        if self.latency is None or not limit_us:
            return 0.0
        first = bisect_left(SCHEMAS[LATENCY].edges, limit_us) + 1
        return sum(self.latency.counts[first:]) / self.latency.total


def read_signals(window: Window) -> Seen:
    """What of a window can be read; what cannot is named and never evidence."""
    histograms, unreadable = {}, []
    for signal, schema in (*SIGNALS.items(), (LATENCY, LATENCY)):
        packed = window.histograms.get(signal)
        if packed is None:
            continue
        try:
            histogram = Histogram.unpack(packed)
        except MessageError:
            unreadable.append(signal)
            continue
        if histogram.schema != schema:
            unreadable.append(signal)
        else:
            histograms[signal] = histogram
    try:
        moments = Moments.unpack(window.embedding) if window.embedding else None
    except MessageError:
        moments = None
        unreadable.append("embedding")
    invalid = histograms["confidence"].invalid if "confidence" in histograms else 0
    filled = {signal: histogram for signal, histogram in histograms.items() if any(histogram.counts)}
    latency = filled.pop(LATENCY, None)
    return Seen(filled, invalid, moments if moments and moments.n else None, tuple(unreadable), latency)


class Baseline:
    """A reference that windows are ranked in.

    Attributes:
        means: of each signal of ``NAMES``; not a number where the reference lacks it.
        slack: how far a mean rank may be off by the reference's own sampling and without mattering.
        classes: share of each label among the decisions.
    """

    def __init__(
        self, histograms: Mapping[str, Histogram], classes: Mapping[str, int], embedding: Moments | None
    ) -> None:
        self._ranks: dict[str, Floats] = {}
        self.means: Floats = np.full(len(NAMES), np.nan)
        self.slack: Floats = np.full(len(NAMES), inf)
        for number, signal in enumerate(NAMES):
            histogram = histograms.get(signal)
            if histogram is None or not histogram.total or histogram.schema != SIGNALS[signal]:
                continue
            counts = np.array(histogram.counts, dtype=np.float64)
            below = np.cumsum(counts) - counts / 2
            self._ranks[signal] = below / counts.sum()
            self.means[number] = float(counts @ _CENTRES[histogram.schema] / counts.sum())
            self.slack[number] = MATTERS + sampling_slack(histogram.total)
        total = sum(classes.values())
        self.classes = {label: count / total for label, count in classes.items()} if total else {}
        self._embedding = _whitening(embedding)

    def rank_of(self, signal: str) -> Floats | None:
        """Rank of each bin of a signal; None where the reference lacks it."""
        return self._ranks.get(signal)

    def mix(self, shares: Mapping[str, float]) -> tuple[float, str]:
        """Total variation of class shares against the reference's, and the class that grew the most."""
        if not self.classes or not shares:
            return 0.0, ""
        gains = {x: shares.get(x, 0.0) - self.classes.get(x, 0.0) for x in {*shares, *self.classes}}
        grown = max(sorted(gains), key=lambda label: gains[label])
        return sum(gain for gain in gains.values() if gain > 0), grown

    def distance(self, mean: Floats | None) -> float | None:
        """Standard deviations between an embedding's mean and the reference's; None where nobody can say."""
        if mean is None or self._embedding is None or len(mean) != len(self._embedding[0]):
            return None
        centre, inverse = self._embedding
        gap = mean - centre
        return sqrt(max(float(gap @ inverse @ gap), 0.0))


def ranks_of(windows: Sequence[tuple[Seen, Baseline | None]]) -> tuple[Floats, Floats]:
    """Windows x signals: mean ranks in each window's reference, and means; not a number where one lacks."""
    shape = (len(windows), len(NAMES))
    ranks, means = np.full(shape, np.nan), np.full(shape, np.nan)
    for number, signal in enumerate(NAMES):
        there = []
        for row, (seen, baseline) in enumerate(windows):
            histogram = seen.histograms.get(signal)
            known = baseline.rank_of(signal) if baseline is not None else None
            if histogram is not None and known is not None:
                there.append((row, histogram.counts, known))
        if not there:
            continue
        rows = [row for row, _, _ in there]
        counts = np.array([each for _, each, _ in there], dtype=np.float64)
        counts /= counts.sum(axis=1, keepdims=True)
        ranks[rows, number] = np.einsum("ij,ij->i", counts, np.array([known for _, _, known in there]))
        means[rows, number] = counts @ _CENTRES[SIGNALS[signal]]
    return ranks, means


def sampling_slack(n: int) -> float:
    """How far the mean rank of the same distribution may lie from one half after ``n`` reference values.

    Bernstein's inequality for ranks, whose variance is a twelfth; two-sided, holds with probability 0.95.
    """
    room = log(2 / REFERENCE_DELTA)
    return sqrt(2 * _RANK_VARIANCE * room / n) + room / (3 * n)


def _whitening(embedding: Moments | None) -> tuple[Floats, Floats] | None:
    if embedding is None or embedding.n < 2 * embedding.dims:
        return None
    spread = np.array(embedding.covariance())
    # A component that never varies would make any movement infinite; a hundredth of the others bounds it.
    floor = max(float(np.trace(spread)) / embedding.dims * 0.01, 1e-9)
    inverse: Floats = np.linalg.inv(spread + floor * np.eye(embedding.dims)).astype(np.float64)
    return np.array(embedding.mean(), dtype=np.float64), inverse
