"""Whether a new version is another network under an old name: its decisions beside the older version's.

A folder that was copied and renamed by half, a file exported from the wrong run: the name, the labels and the
shapes fit, every gate holds the new network against itself, and it may even be right about its own holdout.
Only the version before it gives it away, with which it has nothing to do. Both decide the same holdout calls;
Cohen's kappa (1960, Educational and Psychological Measurement 20) says how far they agree beyond what their
habits alone would give. Up to 0.2 it is called slight (Landis and Koch 1977, Biometrics 33).

Slight agreement is said, loudly, and nothing is refused: a version that was rebuilt because the old one had
become useless agrees with it as little. The person who pushes knows which of the two it is.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

SLIGHT: Final = 0.2
"""Kappa up to which two networks have hardly anything in common."""

FEWEST_CALLS: Final = 30
"""Calls below which nothing is said."""


def kappa(one: NDArray[np.intp], other: NDArray[np.intp]) -> float:
    """Agreement beyond chance of two series of decisions; 1 where both always say the same one thing.

    >>> kappa(np.array([0, 1, 0, 1]), np.array([0, 1, 1, 0]))
    0.0
    """
    labels = np.union1d(one, other)
    by_habit = float(sum(np.mean(one == label) * np.mean(other == label) for label in labels))
    agreed = float(np.mean(one == other))
    return 1.0 if by_habit >= 1 else (agreed - by_habit) / (1 - by_habit)


def tell_twin(
    older: tuple[int, Sequence[str], NDArray[np.intp]], labels: Sequence[str], decided: NDArray[np.intp]
) -> str:
    """A sentence where a new network hardly agrees with an older version; empty otherwise.

    Args:
        older: the older version's number, its labels, and for each call the number of the one it decides for.
        labels: of the new network.
        decided: the number of the label that it decides for each call, in the same order.
    """
    version, old_labels, old_decided = older
    shared = [label for label in old_labels if label in labels]
    if not shared:
        return f"It shares no label with version {version}: it may be another network of the same name."
    numbers = np.array([labels.index(label) if label in labels else -1 for label in old_labels], np.intp)
    # A call that the new network decides for a label that the older did not know tells nothing of the two.
    known = np.isin(decided, [labels.index(label) for label in shared])
    one, other = numbers[old_decided[known]], decided[known]
    if len(one) < FEWEST_CALLS or kappa(one, other) > SLIGHT:
        return ""
    return (
        f"It decides {np.mean(one == other):.0%} of the holdout like version {version}, about what chance "
        f"gives: it may be another network of the same name."
    )
