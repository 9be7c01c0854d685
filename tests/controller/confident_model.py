"""A model whose chance of being right is known for each confidence: the truth of the evidence's tests."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgewright.wire.histograms import BINS, SCHEMAS, Histogram

EDGES = np.array(SCHEMAS["confidence"].edges)
OVERCONFIDENCE = 1.8


class Decisions(NamedTuple):
    """Of each decision the confidence, the true chance of being right, and whether it was."""

    confidence: NDArray[np.float64]
    chance: NDArray[np.float64]
    right: NDArray[np.bool_]


def decisions(
    rng: np.random.Generator,
    count: int,
    *,
    spread: float = 3.0,
    overconfidence: float = OVERCONFIDENCE,
    flips: float = 0.0,
) -> Decisions:
    """Decisions of a binary model whose log odds are ``overconfidence`` times the true ones.

    ``spread`` moves the inputs: smaller is nearer to the border. ``flips`` is the share of labels that mean
    the other class now.
    """
    odds = np.abs(rng.normal(0.0, spread, count))
    chance = 1.0 / (1.0 + np.exp(-odds))
    chance = chance * (1.0 - flips) + (1.0 - chance) * flips
    confidence = 1.0 / (1.0 + np.exp(-overconfidence * odds))
    return Decisions(confidence, chance, rng.random(count) < chance)


def histogram(confidence: NDArray[np.float64]) -> Histogram:
    """As a device counts it, and through the wire's packed form."""
    counts = np.bincount(np.searchsorted(EDGES, confidence, side="right"), minlength=BINS)
    return Histogram.unpack(Histogram("confidence", counts.tolist()).pack())
