"""Worlds in which the accuracy is estimated without labels: what a binary model says, and what is true.

In all of them the inputs shift and what is right given an input does not. The reference and the analysis have
20,000 rows each, read as 20 chunks of 1,000.

- ``none``, ``easy``, ``hard``: the true log odds are normal; the model, overconfident, says 1.8 times as
  much. The inputs stay, move away from the model's border, or towards it.
- ``overconfident``: a naive Bayes model of six correlated features, which takes them for independent and so
  says three times what is true; the inputs move towards the border and along one feature. Here the chance of
  being right depends on more than the confidence.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Truth = NDArray[np.bool_]

ROWS: Final = 20_000
CHUNK: Final = 1000
WORLDS: Final = ("none", "easy", "hard", "overconfident")

SPREADS: Final = {"none": 3.0, "easy": 4.5, "hard": 1.8}
OVERCONFIDENCE: Final = 1.8

FEATURES: Final = 6
CORRELATION: Final = 0.5
SEPARATION: Final = 0.7


class Rows(NamedTuple):
    """Chance of class 1 by the model, and whether it is class 1."""

    predicted: Floats
    truth: Truth

    @property
    def confidence(self) -> Floats:
        """Of the decision."""
        return np.maximum(self.predicted, 1.0 - self.predicted)

    @property
    def right(self) -> Truth:
        """Whether the decision is right."""
        right: Truth = (self.predicted >= 0.5) == self.truth
        return right


def reference(world: str, rng: np.random.Generator) -> Rows:
    """What testing saw."""
    if world in SPREADS:
        return _line(rng, SPREADS["none"])
    return _bayes(rng, shifted=False)


def analysis(world: str, rng: np.random.Generator) -> Rows:
    """What came later."""
    if world in SPREADS:
        return _line(rng, SPREADS[world])
    return _bayes(rng, shifted=True)


def flipped(rows: Rows, share: float, rng: np.random.Generator) -> Rows:
    """The same inputs, of which a share now means the other class: a concept drift."""
    return Rows(rows.predicted, rows.truth ^ (rng.random(rows.truth.size) < share))


def _line(rng: np.random.Generator, spread: float) -> Rows:
    odds = rng.normal(0.0, spread, ROWS)
    return Rows(_chance(OVERCONFIDENCE * odds), rng.random(ROWS) < _chance(odds))


def _bayes(rng: np.random.Generator, *, shifted: bool) -> Rows:
    covariance = np.full((FEATURES, FEATURES), CORRELATION) + (1.0 - CORRELATION) * np.eye(FEATURES)
    centres = np.where(rng.random(ROWS) < 0.5, SEPARATION, -SEPARATION)
    x = centres[:, None] + rng.normal(size=(ROWS, FEATURES)) @ np.linalg.cholesky(covariance).T
    if shifted:
        x *= 0.7
        x[:, 0] += 0.5
    true_odds = 2.0 * SEPARATION * x @ np.linalg.solve(covariance, np.ones(FEATURES))
    return Rows(_chance(2.0 * SEPARATION * x.sum(axis=1)), rng.random(ROWS) < _chance(true_odds))


def _chance(odds: Floats) -> Floats:
    chance: Floats = 1.0 / (1.0 + np.exp(-odds))
    return chance
