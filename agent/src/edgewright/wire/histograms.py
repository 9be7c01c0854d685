"""Fixed-edge histograms that merge by addition.

Every signal that leaves a device is counted into 64 bins whose edges belong to a named, numbered schema and
never change. Merging is therefore exact, in any order and any number of times over disjoint windows, and a
window costs about 100 bytes a signal. Confidence has edges on the logit scale and latency on the log scale:
with linear edges two thirds of a confident classifier's scores fall into the last bin.

The packed form is: schema number (1 byte), count of values that were not finite (varint), then the bins as
varints in which a 0 is followed by the length of the run of empty bins.

>>> h = Histogram("confidence")
>>> h.add(0.97); h.add(0.5); h.add(float("nan"))
>>> h.total, h.invalid
(2, 1)
>>> Histogram.unpack(h.pack()) == h
True
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import exp, isfinite
from typing import Final, NamedTuple, Self

from edgewright.wire.errors import HistogramMismatchError, MalformedMessageError
from edgewright.wire.varints import get_varint, put_varint

BINS: Final = 64


class Schema(NamedTuple):
    """Edges of one kind of histogram.

    Attributes:
        number: what stands on the wire.
        edges: the 63 inner edges, ascending; bin ``i`` holds values in ``[edges[i-1], edges[i])``.
        low, high: where the first and the last bin are taken to end, for means and quantiles.
    """

    number: int
    edges: tuple[float, ...]
    low: float
    high: float


def _linear(low: float, high: float) -> tuple[float, ...]:
    return tuple(low + (high - low) * i / BINS for i in range(1, BINS))


def _logit(low: float, high: float) -> tuple[float, ...]:
    return tuple(1 / (1 + exp(-(low + (high - low) * i / (BINS - 2)))) for i in range(BINS - 1))


def _log(low: float, high: float) -> tuple[float, ...]:
    return tuple(low * (high / low) ** (i / (BINS - 2)) for i in range(BINS - 1))


SCHEMAS: Final[dict[str, Schema]] = {
    "confidence": Schema(1, _logit(-4.0, 12.0), 0.0, 1.0),
    "unit": Schema(2, _linear(0.0, 1.0), 0.0, 1.0),
    "latency_us": Schema(3, _log(10.0, 1e7), 0.0, 1e7),
    "sharpness": Schema(4, _log(0.1, 1e5), 0.0, 1e5),
}
"""All schemas. A changed edge is a new schema with a new number, never an edit of an old one."""

_BY_NUMBER: Final = {schema.number: name for name, schema in SCHEMAS.items()}


class Histogram:
    """Counts of one signal; see the module's text.

    Attributes:
        schema: name in ``SCHEMAS``.
        counts: 64 counts.
        invalid: how many values were not finite; they are in no bin.
    """

    __slots__ = ("_edges", "counts", "invalid", "schema")

    def __init__(self, schema: str, counts: Sequence[int] | None = None, invalid: int = 0) -> None:
        self.schema = schema
        self._edges = SCHEMAS[schema].edges
        self.counts = list(counts) if counts is not None else [0] * BINS
        self.invalid = invalid
        if len(self.counts) != BINS or min(self.counts) < 0:
            raise HistogramMismatchError(f"A histogram has {BINS} counts of at least 0.")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Histogram):
            return NotImplemented
        mine = (self.schema, self.counts, self.invalid)
        return mine == (other.schema, other.counts, other.invalid)

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        return f"Histogram({self.schema!r}, total={self.total}, invalid={self.invalid})"

    def add(self, value: float) -> None:
        """Count one value; values beyond the outer edges fall into the outer bins."""
        if isfinite(value):
            self.counts[bisect_right(self._edges, value)] += 1
        else:
            self.invalid += 1

    def merge(self, other: Self) -> None:
        """Add another histogram's counts to this one's.

        Raises:
            HistogramMismatchError: the schemas differ.
        """
        if other.schema != self.schema:
            raise HistogramMismatchError(f"{other.schema!r} cannot be merged into {self.schema!r}.")
        self.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        self.invalid += other.invalid

    @property
    def total(self) -> int:
        """How many values are in the bins."""
        return sum(self.counts)

    @property
    def centres(self) -> list[float]:
        """The middle of each bin, in the signal's unit."""
        schema = SCHEMAS[self.schema]
        bounds = (schema.low, *schema.edges, schema.high)
        return [(a + b) / 2 for a, b in pairwise(bounds)]

    def mean(self) -> float:
        """Mean by bin centres; not a number where the histogram is empty."""
        total = self.total
        if not total:
            return float("nan")
        return sum(c * x for c, x in zip(self.counts, self.centres, strict=True)) / total

    def quantile(self, q: float) -> float:
        """Quantile by linear interpolation in its bin; not a number where the histogram is empty."""
        total = self.total
        if not total:
            return float("nan")
        schema = SCHEMAS[self.schema]
        bounds = (schema.low, *schema.edges, schema.high)
        rank, below = q * total, 0
        for i, count in enumerate(self.counts):
            if count and below + count >= rank:
                share = (rank - below) / count
                return bounds[i] + share * (bounds[i + 1] - bounds[i])
            below += count
        return bounds[-1]

    def pack(self) -> bytes:
        """The packed form."""
        full = [(at, count) for at, count in enumerate(self.counts) if count]
        return pack_bins(self.schema, self.invalid, full)

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Read the packed form.

        Raises:
            MalformedMessageError: the bytes are no packed histogram.
        """
        if not data or data[0] not in _BY_NUMBER:
            raise MalformedMessageError("The histogram's schema is unknown.")
        invalid, at = get_varint(data, 1)
        counts: list[int] = []
        while at < len(data):
            value, at = get_varint(data, at)
            if value:
                counts.append(value)
                continue
            run, at = get_varint(data, at)
            if not 0 < run <= BINS - len(counts):
                raise MalformedMessageError("The histogram has a run of empty bins that does not fit.")
            counts.extend([0] * run)
        if len(counts) != BINS:
            raise MalformedMessageError(f"The histogram has {len(counts)} bins instead of {BINS}.")
        return cls(_BY_NUMBER[data[0]], counts, invalid)


def pack_bins(schema: str, invalid: int, bins: Iterable[tuple[int, int]]) -> bytes:
    """The packed form of a histogram whose other bins are empty.

    Args:
        schema: name in ``SCHEMAS``.
        invalid: values that were not finite.
        bins: each bin that is not empty and its count, ascending.
    """
    out = bytearray([SCHEMAS[schema].number])
    put_varint(out, invalid)
    after = 0
    for at, count in bins:
        if at > after:
            out.append(0)
            out.append(at - after)
        after = at + 1
        if count > 0x7F:
            put_varint(out, count)
        else:
            out.append(count)
    if after < BINS:
        out.append(0)
        out.append(BINS - after)
    return bytes(out)


def merged(histograms: Iterable[Histogram]) -> Histogram:
    """The sum of at least one histogram.

    Raises:
        HistogramMismatchError: the schemas differ, or there is none to merge.
    """
    rest = iter(histograms)
    first = next(rest, None)
    if first is None:
        raise HistogramMismatchError("There is no histogram to merge.")
    total = Histogram(first.schema, first.counts, first.invalid)
    for histogram in rest:
        total.merge(histogram)
    return total
