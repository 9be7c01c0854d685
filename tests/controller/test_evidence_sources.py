"""Sources of labels are judged by audits, and their labels weighted; all streams are seeded."""

import numpy as np
import pytest

from edgewright.controller.evidence.sources import judge_source, weighted_error_rate


def test_an_honest_source_is_kept_for_ever() -> None:
    """Asked after every 20 of 400 audits, at most 3 of 30 sources at the tolerated share are set aside."""
    aside = 0
    for seed in range(30):
        agree = np.cumsum(np.random.default_rng(seed).random(400) >= 0.05)
        aside += any(not judge_source(int(agree[n - 1]), n).trusted for n in range(20, 401, 20))
    assert aside <= 3


def test_a_poisoned_source_is_set_aside_soon() -> None:
    """A source that lies on 30 % is set aside within 60 audits on 18 of 20 streams."""
    found = 0
    for seed in range(20):
        agree = np.cumsum(np.random.default_rng(seed).random(60) >= 0.3)
        found += any(not judge_source(int(agree[n - 1]), n).trusted for n in range(5, 61, 5))
    assert found >= 18


def test_trust_is_not_proof() -> None:
    """Before a comparison a source is trusted and not proven; 300 agreements prove it."""
    new = judge_source(0, 0)
    assert (new.trusted, new.proven) == (True, False)
    assert "No item" in new.sentence
    assert judge_source(300, 300).proven


def test_weights_undo_a_selection_of_labels() -> None:
    """Labels of which wrong ones are told three times as often give the true rate, with fewer effective."""
    held, plain = 0, []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        hard = rng.random(3000) < 0.3
        wrong = rng.random(3000) < np.where(hard, 0.3, 0.04)
        chance = np.where(hard, 0.3, 0.1)
        told = rng.random(3000) < chance
        weight = 1.0 / chance[told]
        sums = weight.sum(), weight[wrong[told]].sum(), (weight**2).sum()
        found = weighted_error_rate(int(told.sum()), int(wrong[told].sum()), *sums)
        held += found.rate.low <= 0.118 <= found.rate.high
        plain.append(wrong[told].mean())
        assert found.effective < told.sum()
    assert held >= 184
    assert np.mean(plain) > 0.15


def test_an_agent_without_weights_is_taken_as_even() -> None:
    """Zeros for the sums give the plain rate and as many effective labels as there are."""
    found = weighted_error_rate(50, 5)
    assert found.rate.estimate == pytest.approx(0.1)
    assert found.effective == 50
    assert (weighted_error_rate(0, 0).rate.low, weighted_error_rate(0, 0).rate.high) == (0.0, 1.0)


def test_nonsense_is_refused() -> None:
    """Counts and sums that cannot be are refused, each with a sentence."""
    with pytest.raises(ValueError, match="compared"):
        judge_source(5, 4)
    with pytest.raises(ValueError, match="tolerated"):
        judge_source(1, 1, tolerance=1.0)
    with pytest.raises(ValueError, match="wrong"):
        weighted_error_rate(3, 4)
    for sums in ((10.0, 20.0, 10.0), (float("nan"), 1.0, 1.0), (-1.0, 0.0, 1.0)):
        with pytest.raises(ValueError, match="sums"):
            weighted_error_rate(5, 1, *sums)
    with pytest.raises(ValueError, match="squares"):
        weighted_error_rate(5, 1, 10.0, 2.0, 0.0)
