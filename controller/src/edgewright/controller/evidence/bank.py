"""Many small e-detectors side by side: one row each for the fleet, every robot and every tag.

A row is a mixture of Shiryaev-Roberts e-detectors, as ``edetector.EDetector`` is one, over as many bets as
the bank has columns; what is bet on is the caller's matter. Ten thousand rows are a few arrays instead of ten
thousand objects. Two things differ:

- A row's evidence is capped a little above what an alarm needs. Evidence that is thrown away keeps an
  e-detector one, and a row falls back soon after what it saw has ended: a finding closes.
- A row whose evidence is below a twentieth of what opened it is taken to have ended.

Rows are made as they come, up to ``MOST_ROWS``; what comes after that has no row and no evidence of its own,
and still counts for the fleet.

>>> bank = Bank(bets=1, run_length=100.0)
>>> bank.observe(["r1"] * 12, np.full((12, 1), 0.7), at=np.arange(12.0))
>>> bank.is_open("r1"), bank.onset_at("r1"), bank.is_open("r2")
(True, 0.0, False)
"""

from collections.abc import Mapping, Sequence
from math import inf, log
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MOST_ROWS: Final = 20_000

CAP_LOG: Final = 3.0
"""Evidence is kept up to e^3 times what an alarm needs."""

CLOSE_LOG: Final = log(20.0)
"""A row closes at a twentieth of what opened it."""

FIRST_ROWS: Final = 16


class Bank:
    """See the module's text.

    Attributes:
        run_length: at which evidence a row opens.
        open: names of the rows that have reached it and not fallen back.
    """

    def __init__(self, bets: int, run_length: float) -> None:
        self.run_length = run_length
        self.open: set[str] = set()
        self._index: dict[str, int] = {}
        self._most = log(run_length) + CAP_LOG + log(bets)
        self._bets = bets
        self._sums: Floats = np.full((FIRST_ROWS, bets), -inf)
        self._best: Floats = np.zeros((FIRST_ROWS, bets))
        self._since: Floats = np.full((FIRST_ROWS, bets), inf)
        self._total: Floats = np.full(FIRST_ROWS, -inf)

    def observe(self, names: Sequence[str], steps: Floats, at: Floats) -> None:
        """Take blocks in order; a row's name may stand more than once.

        Args:
            names: of the row of each block.
            steps: blocks x bets, logarithms of the blocks' e-values.
            at: times of the blocks, seconds.
        """
        rows = np.array([self._row(name) for name in names], dtype=np.intp)
        found, first, times = np.unique(rows, return_index=True, return_counts=True)
        once = (times == 1) & (found >= 0)
        if once.any():
            self._take(found[once], steps[first[once]], at[first[once]])
        for row in found[(times > 1) & (found >= 0)].tolist():
            some = np.flatnonzero(rows == row)
            self._advance(row, steps[some], at[some])
        self._weigh({name: row for name, row in zip(names, rows.tolist(), strict=True) if row >= 0})

    def _take(self, rows: NDArray[np.intp], steps: Floats, at: Floats) -> None:
        """One block of each of some distinct rows."""
        best, since = self._best[rows], self._since[rows]
        self._since[rows] = np.where((best <= 0.0) | (since == inf), at[:, None], since)
        self._best[rows] = np.maximum(best, 0.0) + steps
        self._sums[rows] = np.minimum(steps + np.logaddexp(self._sums[rows], 0.0), self._most)

    def _advance(self, row: int, steps: Floats, at: Floats) -> None:
        """Several blocks of one row, at once; see ``EDetector._advance``."""
        sums = np.cumsum(steps, axis=0)
        before = sums - steps
        grown = sums[-1] + np.logaddexp(self._sums[row], np.logaddexp.reduce(-before, axis=0))
        self._sums[row] = np.minimum(grown, self._most)
        # The best start is where the running sum was lowest, unless the one from before is still better.
        lowest = np.argmin(before, axis=0)
        low = before[lowest, np.arange(self._bets)]
        carried = -np.maximum(self._best[row], 0.0)
        moved = (low < carried) | (self._best[row] <= 0.0) | (self._since[row] == inf)
        self._since[row] = np.where(moved, at[lowest], self._since[row])
        self._best[row] = sums[-1] - np.minimum(low, carried)

    def _weigh(self, rows: Mapping[str, int]) -> None:
        """Open and close rows by their evidence."""
        places = np.fromiter(rows.values(), dtype=np.intp, count=len(rows))
        if not places.size:
            return
        total = np.logaddexp.reduce(self._sums[places], axis=1) - log(self._bets)
        self._total[places] = total
        opens = log(self.run_length)
        for name, evidence in zip(rows, total.tolist(), strict=True):
            if evidence >= opens:
                self.open.add(name)
            elif evidence < opens - CLOSE_LOG:
                self.open.discard(name)

    def log_evidence(self, name: str) -> float:
        """Natural logarithm of a row's e-detector; minus infinity before its first block."""
        row = self._index.get(name)
        return float(self._total[row]) if row is not None else -inf

    def above(self, log_evidence: float) -> dict[str, float]:
        """The rows with at least so much evidence, and how much they have."""
        enough = set(np.flatnonzero(self._total >= log_evidence).tolist())
        if not enough:
            return {}
        return {name: float(self._total[row]) for name, row in self._index.items() if row in enough}

    def best_bet(self, name: str) -> int:
        """The bet that has won the most since it last had nothing."""
        row = self._index.get(name)
        return int(np.argmax(self._best[row])) if row is not None else 0

    def onset_at(self, name: str) -> float:
        """When what a row sees most likely began, seconds; infinite before its first block."""
        row = self._index.get(name)
        return float(self._since[row, self.best_bet(name)]) if row is not None else inf

    def is_open(self, name: str) -> bool:
        """Whether a row has reached the run length and has not fallen back."""
        return name in self.open

    def _row(self, name: str) -> int:
        row = self._index.get(name)
        if row is not None:
            return row
        row = len(self._index)
        if row >= MOST_ROWS:
            return -1
        if row >= len(self._total):
            self._grow()
        self._index[name] = row
        return row

    def _grow(self) -> None:
        more = len(self._total)
        self._sums = np.concatenate([self._sums, np.full((more, self._bets), -inf)])
        self._best = np.concatenate([self._best, np.zeros((more, self._bets))])
        self._since = np.concatenate([self._since, np.full((more, self._bets), inf)])
        self._total = np.concatenate([self._total, np.full(more, -inf)])


def rate_steps(labelled: Floats, wrong: Floats, rate: float, bets: Floats) -> Floats:
    """Blocks x bets: logarithms of likelihood ratios of error rates ``bets`` to ``rate``."""
    right = (labelled - wrong)[:, None]
    steps: Floats = wrong[:, None] * np.log(bets / rate) + right * np.log((1.0 - bets) / (1.0 - rate))
    return steps
