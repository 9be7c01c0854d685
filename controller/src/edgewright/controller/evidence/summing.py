"""Many windows as one sum, at some microseconds a window.

Unpacking a histogram one number at a time costs plain Python 10 us, and a thousand windows carry ten thousand
of them. Here all packed histograms are one array of bytes: numpy finds the numbers in it, the runs of empty
bins, and adds every count to its bin. Everything is a whole number, so the sum does not depend on the order.

What the quick way finds strange it leaves to ``Histogram.unpack`` and ``Moments.unpack``, one by one: they
decide what is refused. Nothing of a refused histogram is counted, and the rest of its window is.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations_with_replacement
from operator import add
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgewright.wire.errors import MessageError
from edgewright.wire.histograms import BINS, SCHEMAS, Histogram
from edgewright.wire.messages import Window
from edgewright.wire.moments import DIMS, EMBEDDING, LIMIT, MAX_COUNT, Moments
from edgewright.wire.varints import MAX_VARINT_BYTES

Numbers = NDArray[np.int64]

_NAME_OF: Final = {schema.number: name for name, schema in SCHEMAS.items()}
_TOGETHER: Final = 512
"""Histograms that are read in one go: their numbers fit into a processor's cache."""

_EXACT: Final = 2**53
"""Whole numbers below this are exact in float64."""

_PAIRS: Final = np.array(list(combinations_with_replacement(range(DIMS), 2)))
_SQUARES: Final = np.flatnonzero(_PAIRS[:, 0] == _PAIRS[:, 1])
_MOMENT_NUMBERS: Final = 4 + DIMS + len(_PAIRS)
_SURELY: Final = 1 - 1e-9
"""An inequality that holds with this to spare in float64 holds in whole numbers."""


class WindowSum(NamedTuple):
    """What windows count together.

    Attributes:
        number, frames: windows, and frames in them.
        by_source, causes, classes, truths: as those of a window.
        histograms: by signal.
        embedding: of all pictures.
        unreadable: histograms and embeddings that were refused.
    """

    number: int
    frames: int
    by_source: dict[str, int]
    causes: dict[str, int]
    classes: dict[str, int]
    truths: dict[str, tuple[int, int]]
    histograms: dict[str, Histogram]
    embedding: Moments
    unreadable: int


def sum_windows(windows: Sequence[Window]) -> WindowSum:
    """The sum of windows, whosever they are; the caller chooses those that belong together."""
    histograms, refused = sum_histograms([window.histograms for window in windows])
    embedding, refused_too = sum_moments([window.embedding for window in windows if window.embedding])
    truths: dict[str, tuple[int, int]] = {}
    for window in windows:
        for label, (labelled, wrong) in window.truths.items():
            before = truths.get(label, (0, 0))
            truths[label] = (before[0] + labelled, before[1] + wrong)
    return WindowSum(
        number=len(windows),
        frames=sum(window.frames for window in windows),
        by_source=_added(window.by_source for window in windows),
        causes=_added(window.causes for window in windows),
        classes=_added(window.classes for window in windows),
        truths=truths,
        histograms=histograms,
        embedding=embedding,
        unreadable=refused + refused_too,
    )


def sum_histograms(packed: Sequence[Mapping[str, bytes]]) -> tuple[dict[str, Histogram], int]:
    """The sum of each signal's packed histograms, and how many were refused.

    Where a signal comes in several schemas, that with the most values stands, and the others are refused.
    """
    names: dict[str, int] = {}
    blobs: list[bytes] = []
    signals: list[int] = []
    known: dict[tuple[str, ...], list[int]] = {}
    for each in packed:
        keys = tuple(each)
        if keys not in known:
            known[keys] = [names.setdefault(name, len(names)) for name in keys]
        signals += known[keys]
        blobs += each.values()
    if not blobs:
        return {}, 0
    sums = _Sums(len(names))
    for start in range(0, len(blobs), _TOGETHER):
        some, whose = blobs[start : start + _TOGETHER], signals[start : start + _TOGETHER]
        if not _add_quickly(sums, some, np.array(whose)):
            for data, signal in zip(some, whose, strict=True):
                sums.add_one(signal, data)
    return sums.histograms(list(names)), sums.refused + sums.of_other_schemas()


def sum_moments(packed: Sequence[bytes]) -> tuple[Moments, int]:
    """The sum of packed moments of ``DIMS`` components, and how many were refused."""
    total, refused = Moments(), 0
    numbers = _read(packed)
    quick = np.zeros(len(packed), np.bool_)
    if numbers is not None and (numbers.per_blob == _MOMENT_NUMBERS).all() and len(packed):
        rows = numbers.values.reshape(-1, _MOMENT_NUMBERS)
        quick = _surely_possible(rows)
        rows = rows[quick]
        signed = (rows[:, 4:] >> 1) ^ -(rows[:, 4:] & 1)
        sums = _column_sums(signed)
        total.invalid = sum(rows[:, 3].tolist())
        total.add_sums(sum(rows[:, 2].tolist()), sums[:DIMS], sums[DIMS:])
    for i in np.flatnonzero(~quick).tolist():
        try:
            total.merge(Moments.unpack(packed[i]))
        except MessageError:
            refused += 1
    return total, refused


class _Sums:
    """Counts by signal and schema.

    Attributes:
        refused: packed histograms that are none.
    """

    def __init__(self, signals: int) -> None:
        self.refused = 0
        self._schemas = len(_NAME_OF) + 1
        self._counts: list[list[int]] = [[0] * BINS for _ in range(signals * self._schemas)]
        self._invalid = [0] * (signals * self._schemas)
        self._histograms = [0] * (signals * self._schemas)

    def add(self, keys: Numbers, counts: Numbers, invalid: Numbers) -> None:
        """Add histograms; ``counts`` is the sum of them, by signal, schema and bin."""
        histograms = np.bincount(keys, minlength=len(self._counts)).tolist()
        for key, number in enumerate(histograms):
            if number:
                self._histograms[key] += number
                more = counts[key * BINS : (key + 1) * BINS].tolist()
                self._counts[key] = list(map(add, self._counts[key], more))
        for key, count in zip(keys[invalid > 0].tolist(), invalid[invalid > 0].tolist(), strict=True):
            self._invalid[key] += count

    def add_one(self, signal: int, data: bytes) -> None:
        """Add one histogram, or count it as refused."""
        try:
            histogram = Histogram.unpack(data)
        except MessageError:
            self.refused += 1
            return
        key = signal * self._schemas + SCHEMAS[histogram.schema].number
        self._histograms[key] += 1
        self._counts[key] = list(map(add, self._counts[key], histogram.counts))
        self._invalid[key] += histogram.invalid

    def keys(self, signals: Numbers, schemas: Numbers) -> Numbers:
        """Where signals of these schemas are counted."""
        return signals * self._schemas + schemas

    def histograms(self, names: Sequence[str]) -> dict[str, Histogram]:
        """Each signal's histogram of its main schema."""
        found = {}
        for signal, name in enumerate(names):
            key = self._main(signal)
            if self._histograms[key]:
                schema = _NAME_OF[key - signal * self._schemas]
                found[name] = Histogram(schema, self._counts[key], self._invalid[key])
        return found

    def of_other_schemas(self) -> int:
        """Histograms of schemas that are not their signal's main one."""
        signals = len(self._counts) // self._schemas
        return sum(self._histograms) - sum(self._histograms[self._main(signal)] for signal in range(signals))

    def _main(self, signal: int) -> int:
        keys = range(signal * self._schemas + 1, (signal + 1) * self._schemas)
        return max(keys, key=lambda key: (sum(self._counts[key]), self._histograms[key], -key))


class _Read(NamedTuple):
    """Numbers of packed blobs, end to end.

    Attributes:
        values: the numbers.
        first: place of each blob's first number.
        per_blob: how many numbers each blob has.
    """

    values: Numbers
    first: Numbers
    per_blob: Numbers


def _read(blobs: Sequence[bytes]) -> _Read | None:
    """All numbers of packed blobs; None where one ends in the middle of a number, or has none."""
    data = np.frombuffer(b"".join(blobs), np.uint8)
    blob_ends = np.cumsum(np.fromiter(map(len, blobs), np.int64, len(blobs)))
    if not len(blobs) or not all(blobs) or (data[blob_ends - 1] >= 0x80).any():
        return None
    if data.max() < 0x80:
        # One byte a number, as in windows of some hundred frames.
        values, last = data.astype(np.int64), blob_ends - 1
    else:
        ends = np.flatnonzero(data < 0x80)
        last = np.searchsorted(ends, blob_ends - 1)
        longer = _numbers(data, ends)
        if longer is None:
            return None
        values = longer
    first = np.empty_like(last)
    first[0], first[1:] = 0, last[:-1] + 1
    return _Read(values, first, last - first + 1)


def _numbers(data: NDArray[np.uint8], ends: Numbers) -> Numbers | None:
    """The numbers that end at these bytes; None where one is too long."""
    lengths = np.diff(ends, prepend=-1)
    longer = np.flatnonzero(lengths > 1)
    longest = int(lengths[longer].max(initial=1))
    if longest > MAX_VARINT_BYTES:
        return None
    values = data[ends].astype(np.int64)
    for place in range(1, longest):
        longer = longer[lengths[longer] > place]
        values[longer] = values[longer] << 7 | data[ends[longer] - place] & 0x7F
    return values


def _add_quickly(sums: _Sums, blobs: Sequence[bytes], signals: Numbers) -> bool:
    """Add histograms if every one is plainly what it should be; otherwise add nothing."""
    read = _read(blobs)
    if read is None or (read.per_blob < 2).any():
        return False
    values, first = read.values, read.first
    schemas, invalid = values[first], values[first + 1]
    weights = values.astype(np.float64)
    if not np.isin(schemas, list(_NAME_OF)).all() or weights.sum() >= _EXACT:
        return False
    # Neither schema nor invalid count are bins, nor is the length of a run after the 0 that announces it.
    steps = np.ones(len(values), np.int64)
    steps[first] = steps[first + 1] = 0
    empty = np.flatnonzero((values == 0) & (steps == 1))
    runs = empty + 1
    if empty.size and (runs[-1] == len(values) or not (steps[runs] & (values[runs] > 0)).all()):
        return False
    steps[empty], steps[runs] = 0, values[runs]
    weights[first] = weights[first + 1] = weights[runs] = 0.0
    passed = np.cumsum(steps)
    before = passed[first]
    if (passed[first + read.per_blob - 1] - before != BINS).any():
        return False
    keys = sums.keys(signals, schemas)
    passed += np.repeat(keys * BINS - before - 1, read.per_blob)
    size = int(keys.max() + 1) * BINS
    sums.add(keys, np.bincount(passed, weights, size).astype(np.int64), invalid)
    return True


def _surely_possible(rows: Numbers) -> NDArray[np.bool_]:
    """Which rows of numbers are moments of some vectors beyond the doubt of rounding; see ``Moments``."""
    n = rows[:, 2].astype(np.float64)
    signed = ((rows[:, 4:] >> 1) ^ -(rows[:, 4:] & 1)).astype(np.float64)
    sums, products = signed[:, :DIMS], signed[:, DIMS:]
    squares = products[:, _SQUARES]
    bounds = squares[:, _PAIRS[:, 0]] * squares[:, _PAIRS[:, 1]] * _SURELY
    mixed = _PAIRS[:, 0] != _PAIRS[:, 1]
    fine: NDArray[np.bool_] = (rows[:, 0] == EMBEDDING) & (rows[:, 1] == DIMS) & (n <= MAX_COUNT)
    fine &= ((squares >= 0) & (squares <= n[:, None] * LIMIT**2)).all(axis=1)
    fine &= ((sums == 0) | (sums**2 <= n[:, None] * squares * _SURELY)).all(axis=1)
    fine &= ((products == 0) | (products**2 <= bounds) | ~mixed).all(axis=1)
    return fine


def _column_sums(rows: Numbers) -> list[int]:
    if np.abs(rows).astype(np.float64).sum(initial=0.0) < _EXACT:
        exact: list[int] = rows.sum(axis=0).tolist()
        return exact
    return [sum(column) for column in rows.T.tolist()]


def _added(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for each in counts:
        for name, number in each.items():
            total[name] = total.get(name, 0) + number
    return total
