"""What a picture looks like in a few numbers, and whether the line has seen its like lately. Pure; no clock.

Two questions about a vector:

- ``Seen.novel``: is it far from everything of the last few thousand frames? The measure of "far" is learnt:
  a multiple of the distance that nineteen of twenty frames keep from their nearest one.
- ``Captured.knows``: was a picture that is nearly the same captured with the same label? That is one of hard
  cases only. A random draw is never left out for its looks, or it would no longer be random.
"""

from math import sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]

REMEMBERED: Final = 128
EVERY: Final = 32
"""One frame in so many is remembered, so 128 vectors are those of about 4,000 frames."""

LEARNING_FRAMES: Final = 256
"""Before so many frames nothing is novel."""

USUAL_SHARE: Final = 0.95
NOVEL_TIMES: Final = 2.0
_STEP: Final = 0.05
_LEAST_USUAL: Final = 0.002
"""Of the full scale: half a grey level. Pictures of a still scene differ by less."""

_FARTHEST: Final = 2.0
"""Beyond every distance on the full scale."""


class _Ring:
    """The last vectors that were added, of one length; another length begins anew."""

    def __init__(self) -> None:
        self.added = 0
        self._rows = np.zeros((REMEMBERED, 0), np.float32)
        self._squares = np.zeros(REMEMBERED, np.float32)

    def __len__(self) -> int:
        return min(self.added, REMEMBERED)

    def add(self, vector: Vector) -> int:
        """Keep a vector in the place of the oldest; its place."""
        if self._rows.shape[1] != len(vector):
            self._rows, self.added = np.zeros((REMEMBERED, len(vector)), np.float32), 0
        place = self.added % REMEMBERED
        self._rows[place], self._squares[place] = vector, vector @ vector
        self.added += 1
        return place

    def nearest(self, vector: Vector) -> float:
        """Root mean square difference to the nearest one; ``_FARTHEST`` where there is none."""
        squares = self.squares(vector)
        return sqrt(max(0.0, float(squares.min())) / len(vector)) if len(squares) else _FARTHEST

    def squares(self, vector: Vector) -> Vector:
        """Squared distances to the kept ones; by products, which cost a fifth of differences."""
        if self._rows.shape[1] != len(vector):
            return np.zeros(0, np.float32)
        squares: Vector = self._rows[: len(self)].dot(vector)
        squares *= -2
        squares += self._squares[: len(self)]
        squares += vector.dot(vector)
        return squares


class Seen:
    """Vectors of the last frames.

    Attributes:
        usual: distance to the nearest remembered one that nineteen of twenty frames keep (Robbins and Monro,
            "A stochastic approximation method", 1951, on the logarithm).
    """

    def __init__(self) -> None:
        self._ring = _Ring()
        self._frames = 0
        self.usual = _LEAST_USUAL

    def novel(self, vector: Vector) -> bool:
        """Whether this frame resembles none of those before it; it is one of them from now on."""
        self._frames += 1
        distance = self._ring.nearest(vector)
        novel = self._frames > LEARNING_FRAMES and NOVEL_TIMES * self.usual < distance < _FARTHEST
        if distance > self.usual:
            self.usual = min(_FARTHEST, self.usual * (1 + _STEP * USUAL_SHARE))
        else:
            self.usual = max(_LEAST_USUAL, self.usual * (1 - _STEP * (1 - USUAL_SHARE)))
        if novel or self._frames % EVERY == 0 or self._frames < REMEMBERED:
            self._ring.add(vector)
        return novel


class Captured:
    """Vectors of the hard cases that were captured last, with their labels.

    Args:
        difference: root mean square up to which two vectors are nearly the same, of the full scale.
    """

    def __init__(self, difference: float) -> None:
        self._difference = difference
        self._ring = _Ring()
        self._labels = [""] * REMEMBERED

    def knows(self, label: str, vector: Vector) -> bool:
        """Whether its like was captured."""
        if self._difference < 0:
            return False
        near = np.flatnonzero(self._ring.squares(vector) <= self._difference**2 * len(vector))
        return any(self._labels[place] == label for place in near)

    def add(self, label: str, vector: Vector) -> None:
        """It was captured."""
        self._labels[self._ring.add(vector)] = label
