"""Who is drawn, with what chance, and what a budget makes of it."""

from collections import Counter
from pathlib import Path
from random import Random

import numpy as np
import pytest

from edgewright.agent.line.allowance import FILE_NAME, SAVED_S, Allowance, Factors
from edgewright.agent.line.familiar import LEARNING_FRAMES, REMEMBERED, Captured, Seen
from edgewright.agent.line.sampler import Draw, Sampler, Shares
from edgewright.wire.messages import MAX_IMAGE_BYTES

OPEN = Factors(1.0, 1.0)
SHARES = Shares(audit=0.1, undecided=0.05, novel=0.3, uncertain=0.2)
FLAT = np.zeros(8, np.float32)


def _sampler(seed: int, shares: Shares = SHARES, difference: float = -1.0) -> Sampler:
    """A sampler that takes no two pictures for the same, unless told so."""
    return Sampler(shares, difference, Random(seed))


@pytest.mark.parametrize(
    ("confidence", "reason", "p"),
    [(0.99, "random", 0.1), (0.3, "uncertain", 0.9 * 0.2), (None, "undecided", 0.9 * 0.05)],
)
def test_frames_are_drawn_as_often_as_their_probability_says(
    confidence: float | None, reason: str, p: float
) -> None:
    """Over 20,000 seeded frames the rate of each reason is within five deviations of its probability."""
    sampler, n = _sampler(11, Shares(0.1, 0.05, 0.0, 0.2)), 20_000
    drawn = [sampler.draw(OPEN, lambda: FLAT, "bag", confidence) for _ in range(n)]
    hits = [d for d in drawn if d is not None and d.reason == reason]
    assert [d.probability for d in hits] == pytest.approx([p] * len(hits))
    assert len(hits) / n == pytest.approx(p, abs=5 * (p * (1 - p) / n) ** 0.5)


def test_without_an_audit_nothing_is_captured() -> None:
    """A share of 0 captures no hard case either, and a spent budget is counted as closed."""
    nothing = _sampler(12, Shares(0.0, 0.0, 0.0, 0.0))
    assert not any(nothing.draw(OPEN, lambda: FLAT, "bag", c) for c in (0.1, None) for _ in range(500))
    closed = _sampler(12)
    assert not any(closed.draw(Factors(0.0, 0.0), lambda: FLAT, "bag", 0.1) for _ in range(500))
    assert closed.closed == 500


def _world(n: int, seed: int) -> tuple[list[bool], list[float], list[int]]:
    """Wrong or right, confidence and bytes of frames: errors come in runs, unsure, with large PNGs."""
    random = Random(seed)
    wrong, confidences, sizes, bad = [], [], [], False
    for _ in range(n):
        bad = random.random() < (0.98 if bad else 0.004)
        wrong.append(bad and random.random() < 0.5)
        confidences.append(random.uniform(0.3, 0.7) if wrong[-1] else random.uniform(0.5, 1.0))
        sizes.append(random.randint(60_000, 160_000) if bad else random.randint(10_000, 40_000))
    return wrong, confidences, sizes


def _estimates(seed: int, bytes_per_s: float) -> tuple[float, float, int, float]:
    """Horvitz-Thompson totals of wrong frames (random) and of unsure ones (uncertain), bytes, true wrong."""
    wrong, confidences, sizes = _world(2_500, seed)
    sampler = _sampler(seed, Shares(0.2, 0.0, 0.0, 0.3))
    allowance = Allowance(bytes_per_s, 0, None, 0.0)
    total = {"random": 0.0, "uncertain": 0.0}
    taken = open_wrong = open_unsure = 0
    for frame, (bad, confidence, size) in enumerate(zip(wrong, confidences, sizes, strict=True)):
        now = frame / 20
        factors = allowance.factors(now)
        open_wrong += bad and factors.audit > 0
        open_unsure += confidence < 0.6 and factors.hard > 0
        drawn = sampler.draw(factors, lambda: FLAT, "bag", confidence)
        if drawn is None:
            continue
        total[drawn.reason] += (bad if drawn.reason == "random" else 1) / drawn.probability
        taken += size
        assert allowance.take("audit" if drawn.reason == "random" else "hard", size, now)
    return total["random"] - open_wrong, total["uncertain"] - open_unsure, taken, sum(wrong)


def test_estimates_from_samples_are_unbiased_whatever_the_budget_does() -> None:
    """Over 60 seeded days of errors in runs with large pictures, a budget of less than a quarter of what
    would be taken leaves the weighted sums of samples right: their mean error is within four standard errors.
    """
    rate = 15_000.0
    runs = [_estimates(seed, rate) for seed in range(60)]
    for which in (0, 1):
        errors = np.array([run[which] for run in runs])
        assert abs(errors.mean()) < 4 * errors.std() / len(errors) ** 0.5
    most = rate * (125 + SAVED_S / 2) + 2 * 160_000
    assert max(run[2] for run in runs) <= most
    assert np.mean([run[2] for run in runs]) > 0.7 * rate * 125
    free = [_estimates(seed, 1e9) for seed in range(5)]
    assert np.mean([run[2] for run in free]) > 4 * rate * 125


def test_weighting_without_thinning_would_be_wrong() -> None:
    """The same days weighted with the share of the configuration are far off: the simulation can fail."""
    errors = []
    for seed in range(30):
        wrong, confidences, sizes = _world(2_500, seed)
        sampler, allowance = _sampler(seed, Shares(0.2, 0, 0, 0)), Allowance(15_000.0, 0, None, 0.0)
        total = 0.0
        for frame, (bad, confidence, size) in enumerate(zip(wrong, confidences, sizes, strict=True)):
            if sampler.draw(allowance.factors(frame / 20), lambda: FLAT, "bag", confidence):
                allowance.take("audit", size, frame / 20)
                total += bad / 0.2
        errors.append(total - sum(wrong))
    assert abs(np.mean(errors)) > 8 * np.std(errors) / len(errors) ** 0.5


def test_a_day_is_kept_over_restarts_and_thins_before_it_ends(tmp_path: Path) -> None:
    """What was taken counts after a restart; below a quarter chances fall, and hard cases end at half."""
    day = 100 * 1024 * 1024
    first = Allowance(1e9, day, tmp_path, 0.0)
    assert (first.factors(0.0).audit, first.factors(0.0).hard) == (1.0, 1.0)
    for _ in range(17):
        assert first.take("audit", 5 * 1024 * 1024, 0.0)
    again = Allowance(1e9, day, tmp_path, 0.0)
    thinned = again.factors(0.0)
    assert 0.4 < thinned.audit < 0.61
    assert thinned.hard == 0.0
    for _ in range(2):
        again.take("audit", MAX_IMAGE_BYTES, 0.0)
    assert Allowance(1e9, day, tmp_path, 0.0).factors(0.0).audit == 0.0


def test_a_day_that_cannot_be_read_or_written_is_spent(tmp_path: Path) -> None:
    """A damaged record closes the budget, and so does a folder that takes no file: it fails closed."""
    (tmp_path / FILE_NAME).write_bytes(b"no record")
    assert Allowance(1e9, 2**30, tmp_path, 0.0).factors(0.0).audit == 0.0
    assert Allowance(1e9, 2**30, tmp_path / "missing", 0.0).factors(0.0).audit == 0.0


def test_a_picture_larger_than_what_is_left_is_a_debt() -> None:
    """It is captured, nothing is while the debt lasts, and it is paid back at the rate."""
    allowance = Allowance(1000.0, 0, None, 0.0)
    allowance.take("audit", 90_000, 0.0)
    assert allowance.factors(59.0).audit == 0.0
    assert allowance.factors(62.0).audit > 0.0
    assert Allowance(0.0, 0, None, 0.0).factors(1.0).audit == 0.0


def test_a_new_kind_of_picture_is_novel_and_soon_no_more() -> None:
    """Among 3,000 varying frames at most three are novel; the first of another kind is, and its followers
    are not for long.
    """
    rng = np.random.default_rng(5)
    seen = Seen()
    usual = rng.normal(0.5, 0.05, (3000, 24)).astype(np.float32)
    assert sum(seen.novel(row) for row in usual) <= 3
    others = rng.normal(0.9, 0.05, (200, 24)).astype(np.float32)
    novel = [seen.novel(row) for row in others]
    assert novel[0]
    assert sum(novel[:20]) >= 1
    assert not any(novel[REMEMBERED // 4 :])
    assert not any(Seen().novel(row) for row in usual[:LEARNING_FRAMES])


def test_novel_frames_are_drawn_with_their_share() -> None:
    """Each of many lines that sees one new kind draws it as novel with the recorded probability."""
    rng = np.random.default_rng(6)
    rows = rng.normal(0.5, 0.02, (LEARNING_FRAMES + 50, 8)).astype(np.float32)
    hits: list[Draw] = []
    for seed in range(100):
        sampler = _sampler(seed, Shares(0.1, 0.0, 0.5, 0.0))
        for row in rows:
            sampler.draw(Factors(0.0, 0.0), lambda row=row: row, "bag", 0.9)  # type: ignore[misc]  # a default binds it
        drawn = sampler.draw(OPEN, lambda: np.ones(8, np.float32), "bag", 0.9)
        hits += [drawn] if drawn is not None and drawn.reason == "novel" else []
    assert [hit.probability for hit in hits] == pytest.approx([0.45] * len(hits))
    assert 27 <= len(hits) <= 63


def test_hard_cases_alike_are_captured_once_and_random_draws_never_left_out() -> None:
    """Of 500 equal unsure pictures one goes as uncertain a label; as random draws they all may."""
    sampler = _sampler(9, difference=0.01)
    reasons = Counter(
        d.reason for i in range(500) if (d := sampler.draw(OPEN, lambda: FLAT, f"l{i % 2}", 0.3)) is not None
    )
    assert reasons["uncertain"] == 2
    assert reasons["random"] > 25
    assert sampler.alike > 50
    known = Captured(0.01)
    known.add("bag", FLAT)
    assert (known.knows("bag", FLAT + 0.009), known.knows("bag", FLAT + 0.02)) == (True, False)
    assert not known.knows("boot", FLAT)


def test_hard_cases_leave_the_audit_its_half() -> None:
    """Hard cases that take all they may leave the audit half of the rate; without them it may take all."""
    for hard_bytes, least in ((10_000, 0.4), (0, 0.9)):
        allowance, taken = Allowance(1000.0, 0, None, 0.0), 0
        for second in range(2000):
            factors = allowance.factors(float(second))
            allowance.take("hard", int(hard_bytes * factors.hard), float(second))
            audit = int(10_000 * factors.audit)
            allowance.take("audit", audit, float(second))
            taken += audit
        assert taken >= least * 1000 * 2000
