"""Sources of labels are judged by audits, and their rates corrected; all streams are seeded."""

import numpy as np
import pytest

from edgewright.controller.evidence.sources import (
    Cohort,
    SourceErrors,
    corrected_error_rate,
    delayed_error_rate,
    judge_source,
    weighted_error_rate,
)


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


def test_late_labels_count_by_their_decisions() -> None:
    """An hour of which half the labels came counts in full; one of which 5 % came does not count yet."""
    old, new = Cohort(100, 100, 4), Cohort(100, 50, 20)
    assert delayed_error_rate([old, new]).rate.estimate == pytest.approx(0.22)
    assert delayed_error_rate([old, new, Cohort(100, 5, 5)]).rate.estimate == pytest.approx(0.22)
    assert delayed_error_rate([old, Cohort(100, 5, 5)], usual_share=0.2).rate.estimate > 0.5


@pytest.mark.parametrize(
    ("rate", "hits", "passes", "labels", "audits"),
    [(0.1, 0.9, 0.97, 300, 60), (0.3, 0.8, 0.9, 100, 50), (0.02, 0.9, 0.99, 500, 200)],
)
def test_a_corrected_rate_holds_the_truth(
    rate: float, hits: float, passes: float, labels: int, audits: int
) -> None:
    """95 % intervals of the corrected rate hold the true one where the apparent rate is off."""
    rng, held = np.random.default_rng(0), 0
    for _ in range(400):
        apparent = rng.binomial(labels, rate * hits + (1 - rate) * (1 - passes)) / labels
        wrong = int(rng.binomial(audits, rate))
        errors = SourceErrors(
            wrong, int(rng.binomial(wrong, hits)), audits - wrong, int(rng.binomial(audits - wrong, passes))
        )
        found = corrected_error_rate(apparent, labels, errors)
        held += found.low <= rate <= found.high
    assert held >= 368


def test_the_correction_moves_the_rate() -> None:
    """A source that calls one right item in ten wrong and misses none shows 19 % where 10 % are wrong."""
    found = corrected_error_rate(0.19, 10_000, SourceErrors(1000, 1000, 1000, 900))
    assert found.estimate == pytest.approx(0.1, abs=0.01)
    assert found.high < 0.16


def test_a_source_no_better_than_chance_says_nothing() -> None:
    """Where a source tells wrong of right and wrong items alike, or has no labels, all rates are possible."""
    coin = corrected_error_rate(0.5, 100, SourceErrors(20, 9, 20, 9))
    assert (coin.low, coin.high) == (0.0, 1.0)
    silent = corrected_error_rate(0.0, 0, SourceErrors(20, 20, 20, 20))
    assert (silent.low, silent.high) == (0.0, 1.0)


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
    with pytest.raises(ValueError, match="cohort"):
        delayed_error_rate([Cohort(5, 6, 0)])
    with pytest.raises(ValueError, match="share"):
        delayed_error_rate([], usual_share=0.0)
    with pytest.raises(ValueError, match="error rate"):
        corrected_error_rate(1.1, 10, SourceErrors(1, 1, 1, 1))
    with pytest.raises(ValueError, match="truth"):
        corrected_error_rate(0.1, 10, SourceErrors(1, 2, 1, 1))
