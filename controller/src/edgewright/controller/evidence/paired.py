"""Two models on the same labelled items: is the candidate better by a margin?

Of each item only the difference counts: ``+1`` where the candidate alone is right, ``-1`` where the running
model alone is right, 0 otherwise. Testing by betting (Waudby-Smith and Ramdas 2024, Section 4) against "the
mean difference is at most ``margin``": ``1 + bet * (d - margin)`` has expectation at most 1, so the product
over items is an e-process, and so is its mean over a grid of bets. It depends on the counts only and may be
looked at again when more items have come or when the next rung of a ladder is tried.

>>> log_evidence_better(Pairs(gained=40, lost=3, same=57), margin=0.02) > 3.0
True
>>> round(lower_bound(Pairs(gained=40, lost=3, same=57), alpha=0.05), 2)
0.2
"""

from math import log
from typing import Final, NamedTuple

import numpy as np

BETS: Final = 24
BISECTIONS: Final = 40


class Pairs(NamedTuple):
    """Items by who was right: only the candidate, only the running model, both or neither."""

    gained: int
    lost: int
    same: int

    @property
    def items(self) -> int:
        """How many there are."""
        return self.gained + self.lost + self.same

    @property
    def difference(self) -> float:
        """Observed gain in accuracy; not a number without items."""
        return (self.gained - self.lost) / self.items if self.items else float("nan")


def log_evidence_better(pairs: Pairs, margin: float) -> float:
    """Evidence against "the candidate's accuracy is higher by at most ``margin``"; ``margin`` in (-1, 1)."""
    bets = np.geomspace(0.01, 0.95, BETS) / (1.0 + margin)
    logs = (
        pairs.gained * np.log1p(bets * (1.0 - margin))
        + pairs.lost * np.log1p(-bets * (1.0 + margin))
        + pairs.same * np.log1p(-bets * margin)
    )
    return float(np.logaddexp.reduce(logs)) - log(BETS)


def lower_bound(pairs: Pairs, alpha: float) -> float:
    """Lower confidence bound of the gain in accuracy, simultaneously for all numbers of items."""
    low, high = -1.0 + 1e-9, 1.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if log_evidence_better(pairs, middle) >= log(1 / alpha):
            low = middle
        else:
            high = middle
    return low
