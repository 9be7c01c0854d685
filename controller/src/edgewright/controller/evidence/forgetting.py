"""Means that forget, of many rows at once: each new value of a row counts, half is forgotten after some.

A value that is missing (not a number) leaves its mean as it is. Several values of one row in one call count
in their order, exactly as they would one by one.

>>> means = Forgetting(columns=1, half_life=1.0)
>>> means.observe(["a", "a", "b"], np.array([[0.0], [1.0], [np.nan]]))
>>> round(float(means.of("a")[0]), 3), float(means.of("b")[0])
(0.667, nan)
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgewright.controller.evidence.bank import FIRST_ROWS, MOST_ROWS, Floats


class Forgetting:
    """See the module's text."""

    def __init__(self, columns: int, half_life: float) -> None:
        self._keep = 0.5 ** (1.0 / half_life)
        self._columns = columns
        self._index: dict[str, int] = {}
        self._sums: Floats = np.zeros((FIRST_ROWS, columns))
        self._weights: Floats = np.zeros((FIRST_ROWS, columns))

    def observe(self, names: Sequence[str], values: Floats) -> None:
        """Take values in order: names of the rows, and values x columns."""
        rows = np.array([self._row(name) for name in names], dtype=np.intp)
        found, first, times = np.unique(rows, return_index=True, return_counts=True)
        once = (times == 1) & (found >= 0)
        if once.any():
            self._add(found[once], values[first[once]])
        for row in found[(times > 1) & (found >= 0)].tolist():
            self._add_many(row, values[rows == row])

    def of(self, name: str) -> Floats:
        """The means of a row; not a number where nothing has come."""
        row = self._index.get(name)
        if row is None:
            return np.full(self._columns, np.nan)
        weights = self._weights[row]
        means: Floats = np.full(self._columns, np.nan)
        np.divide(self._sums[row], weights, out=means, where=weights > 0.0)
        return means

    def _add(self, rows: NDArray[np.intp], values: Floats) -> None:
        known = np.isfinite(values)
        keep = np.where(known, self._keep, 1.0)
        self._sums[rows] = self._sums[rows] * keep + np.where(known, values, 0.0)
        self._weights[rows] = self._weights[rows] * keep + known

    def _add_many(self, row: int, values: Floats) -> None:
        known = np.isfinite(values)
        later = np.cumsum(known[::-1], axis=0)[::-1] - known
        shares = np.where(known, self._keep**later, 0.0)
        keep = self._keep ** known.sum(axis=0)
        self._sums[row] = self._sums[row] * keep + (np.where(known, values, 0.0) * shares).sum(axis=0)
        self._weights[row] = self._weights[row] * keep + shares.sum(axis=0)

    def _row(self, name: str) -> int:
        row = self._index.get(name)
        if row is not None:
            return row
        row = len(self._index)
        if row >= MOST_ROWS:
            return -1
        if row >= len(self._sums):
            self._sums = np.concatenate([self._sums, np.zeros_like(self._sums)])
            self._weights = np.concatenate([self._weights, np.zeros_like(self._weights)])
        self._index[name] = row
        return row
