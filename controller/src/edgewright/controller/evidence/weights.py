"""Labels that were chosen with known, unequal chances, as numbers of items that a detector may bet on.

Each such item stands for ``1/p`` items (Horvitz and Thompson 1952). Within a window the weighted share is
right only where the window holds many labels: with one or two the weights cancel, and windows of suspicious
items would count like windows of all. So an item counts as its weight in parts of the largest weight that its
robot ever had. With ``s`` that part, ``e`` the item's e-value and ``p`` its chance, of all items that might
have been chosen ``1 + p (e^s - 1) <= 1 + p s (e - 1)``, and ``p s`` is the same for all: bets on such numbers
keep their promise, whatever was chosen more often.

A window tells the sum of its weights and of their squares. Its largest weight is bounded by what these allow
(Samuelson, "How deviant can you be?", Journal of the American Statistical Association 1968), so weights that
differ much cost evidence. Weights are a robot's own word; they scale nobody's labels but its own.

>>> weights = Weights()
>>> weights.count("r1", Outcomes(1, 10, 2)), weights.count("r1", Outcomes(1, 10, 2, "", 50.0, 10.0, 250.0))
((10.0, 2.0), (10.0, 2.0))
>>> weights.count("r1", Outcomes(1, 10, 2)), weights.count("r2", Outcomes(1, 10, 2))
((2.0, 0.4), (10.0, 2.0))
"""

from math import sqrt
from typing import NamedTuple

from edgewright.wire.messages import Outcomes


class Sums(NamedTuple):
    """Of weights, over all and over wrong items, and of the squares of all."""

    weight: float
    wrong: float
    squares: float


def sums_of(told: Outcomes) -> Sums:
    """Of an agent that counts no weights, all are 1."""
    if not told.weight or not told.weight_squares:
        return Sums(told.labelled, told.wrong, told.labelled)
    return Sums(told.weight, min(told.wrong_weight, told.weight), told.weight_squares)


class Weights:
    """The largest weight of each robot, of one source; see the module's text."""

    def __init__(self) -> None:
        self._largest: dict[str, float] = {}

    def count(self, robot: str, told: Outcomes) -> tuple[float, float]:
        """Labelled and wrong items, in parts of the robot's largest weight; more than none are labelled."""
        sums = sums_of(told)
        mean = sums.weight / told.labelled
        spread = sqrt(max(sums.squares / told.labelled - mean * mean, 0.0) * (told.labelled - 1))
        largest = self._largest[robot] = max(self._largest.get(robot, 1.0), mean + spread)
        return sums.weight / largest, sums.wrong / largest
