"""Whether a new version is recognised as another network of the same name."""

import numpy as np
import pytest

from edgewright.controller.compiler.twin import kappa, tell_twin

LABELS = ("ok", "crushed", "open")
DECIDED = np.random.default_rng(5).integers(0, 3, 90).astype(np.intp)


def _noisy(share: float) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """The decisions with a share of them drawn anew."""
    rng = np.random.default_rng(6)
    return np.where(rng.random(90) < share, rng.integers(0, 3, 90), DECIDED).astype(np.intp)


@pytest.mark.parametrize(("redrawn", "is_told"), [(0.0, False), (0.3, False), (1.0, True)])
def test_only_a_network_that_agrees_by_chance_is_told(redrawn: float, is_told: bool) -> None:
    """A retrained version passes in silence; one that decides without any relation to the older is named."""
    said = tell_twin((4, LABELS, DECIDED), LABELS, _noisy(redrawn))
    assert ("like version 4" in said) == is_told


def test_labels_are_compared_by_name() -> None:
    """The same decisions under reordered labels agree, and a new label changes nothing."""
    labels = ("open", "ok", "crushed", "wet")
    assert tell_twin((4, LABELS, DECIDED), labels, np.array([1, 2, 0])[DECIDED]) == ""


def test_other_labels_are_told() -> None:
    """A network for other things is named whatever it decides."""
    assert "shares no label" in tell_twin((2, LABELS, DECIDED), ("red", "blue"), DECIDED % 2)


def test_few_calls_accuse_nobody() -> None:
    """Below thirty calls nothing is said."""
    assert tell_twin((4, LABELS, DECIDED[:20]), LABELS, _noisy(1.0)[:20]) == ""


def test_one_word_is_full_agreement() -> None:
    """Two networks that always say the same one thing agree."""
    assert kappa(np.zeros(9, np.intp), np.zeros(9, np.intp)) == 1.0
