"""Causes from facts, e-BH over robots, and the banks of small detectors beneath."""

from math import log
from typing import Any

import msgspec
import numpy as np
import pytest

from edgewright.controller.evidence.bank import CAP_LOG, Bank, rate_steps
from edgewright.controller.evidence.confidence_sequence import Interval
from edgewright.controller.evidence.edetector import ErrorRateDetector
from edgewright.controller.evidence.forgetting import Forgetting
from edgewright.controller.evidence.signals import Baseline, Seen, ranks_of
from edgewright.controller.evidence.verdict import (
    PATIENCE_S,
    REMEDIES,
    Cause,
    Facts,
    Moved,
    Part,
    apart_by_e_bh,
    judge,
)
from edgewright.wire.histograms import Histogram

HARM = Part(labelled=100, wrong=40, harmed=True, since=1000.0, until=1100.0)
DARK = Moved("brightness", -0.7, 0.5, 0.3)
DOUBT = Moved("confidence", -0.4, 0.9, 0.6)


BASIS = Facts(model="m", version=3, reference_rate=0.09, harm_rate=0.13, run_length=1e5, devices=4)


def facts(fleet: Part, **more: Any) -> Facts:
    """Facts of four robots."""
    return msgspec.structs.replace(BASIS, fleet=fleet, **more)


def with_moved(*moved: Moved, part: Part = HARM, **more: Any) -> Part:
    """A part with signals that moved."""
    return msgspec.structs.replace(part, moved=moved, **more)


@pytest.mark.parametrize(
    ("part", "cause"),
    [
        (HARM, Cause.CONCEPT),
        (with_moved(DARK), Cause.OPTICS),
        (with_moved(DARK, DOUBT, mix=0.3), Cause.OPTICS),
        (with_moved(DOUBT), Cause.PRODUCT),
        (with_moved(mix=0.3, gained="bag"), Cause.PRODUCT),
        (with_moved(embedding=2.0), Cause.PRODUCT),
        (with_moved(strange=1.0), Cause.PRODUCT),
        (with_moved(DARK, part=Part()), Cause.BENIGN),
        (Part(estimate_harmed=True, estimated=Interval(0.2, 0.3, 0.4), moved=(DOUBT,)), Cause.PRODUCT),
        (Part(faulty=0.4, frames=100), Cause.MODEL_FAULT),
        (Part(latency_us=2000.0), Cause.MODEL_FAULT),
    ],
)
def test_the_cause_follows_from_the_facts(part: Part, cause: Cause) -> None:
    """Each pattern of facts has its cause, a sentence with its numbers and the cause's remedy."""
    (verdict,) = judge(facts(part))
    assert (verdict.cause, verdict.remedy) == (cause, REMEDIES[cause])
    assert verdict.harm == (cause is not Cause.BENIGN)
    assert verdict.sentence.startswith("m v3 ")
    assert verdict.sentence.endswith(".")


def test_nothing_the_matter_says_nothing() -> None:
    """Facts without harm and without movement make no verdict."""
    assert judge(facts(Part(labelled=1000, wrong=90))) == ()


def test_a_new_version_worse_on_the_same_inputs_is_at_fault() -> None:
    """Harm right after a rollout is the version's, unless other goods or other light came with it."""
    for part, cause in (
        (HARM, Cause.MODEL_FAULT),
        (with_moved(DARK), Cause.OPTICS),
        (with_moved(mix=0.3), Cause.PRODUCT),
    ):
        assert judge(facts(part, worse_than_before=True))[0].cause is cause


def test_harm_and_a_fault_are_two_verdicts() -> None:
    """A version that does harm and loses frames gets both, so that neither remedy is lost."""
    both = msgspec.structs.replace(HARM, faulty=0.3)
    assert [verdict.cause for verdict in judge(facts(both))] == [Cause.CONCEPT, Cause.MODEL_FAULT]


def test_robots_apart_are_named_and_the_fleet_is_not() -> None:
    """A robot that does harm alone is one verdict, with what its siblings have wrong."""
    siblings = Part(labelled=300, wrong=27)
    said = facts(Part(), without_apart=siblings, apart=(("r2", HARM),))
    (verdict,) = judge(said)
    assert (verdict.cause, verdict.device, verdict.patience_s) == (Cause.ONE_ROBOT, "r2", None)
    assert "the 3 robots beside have 9.0% wrong" in verdict.sentence


def test_only_harm_on_all_robots_opens_a_rebuild_and_optics_waits() -> None:
    """The table of patience names every cause, and only concept, product and lasting optics rebuild."""
    assert set(PATIENCE_S) == set(REMEDIES) == set(Cause)
    assert {cause for cause, wait in PATIENCE_S.items() if wait is not None} == {
        Cause.CONCEPT,
        Cause.PRODUCT,
        Cause.OPTICS,
    }
    (dark,) = judge(facts(with_moved(DARK)))
    assert [dark.opens_rebuild(1000.0 + wait) for wait in (0.0, 899.0, 900.0)] == [False, False, True]
    (benign,) = judge(facts(with_moved(DARK, part=Part())))
    assert not benign.opens_rebuild(1e12)


def test_a_tag_is_judged_where_the_fleet_is_not() -> None:
    """Harm of one SKU is a verdict on that SKU, and none where all of them do harm."""
    tags = (("sku-1", HARM),)
    (verdict,) = judge(facts(Part(), tags=tags))
    assert (verdict.cause, verdict.tag, verdict.opens_rebuild(1000.0)) == (Cause.CONCEPT, "sku-1", True)
    assert [verdict.tag for verdict in judge(facts(HARM, tags=tags))] == [""]


def test_e_bh_needs_less_of_each_the_more_robots_it_names() -> None:
    """The k-th robot needs the run length over k."""
    level = log(1e5)
    assert apart_by_e_bh({"a": level - 0.1}, 1e5) == ()
    assert apart_by_e_bh({"a": level - 0.1, "b": level - 0.2}, 1e5) == ("a", "b")
    assert apart_by_e_bh({}, 1e5) == ()


def test_a_bank_says_what_a_detector_says() -> None:
    """A row's evidence is that of the detector with the same bets, block by block and all at once."""
    rng, rate = np.random.default_rng(3), 0.1
    wrong = rng.binomial(10, 0.12, 60).astype(float)
    at, labelled = np.arange(60.0), np.full(60, 10.0)
    detector = ErrorRateDetector(rate, 1e6)
    detector.observe(labelled.tolist(), wrong.tolist(), at.tolist())
    steps = rate_steps(labelled, wrong, rate, rate + (1.0 - rate) * np.geomspace(0.02, 0.7, 8))
    single, joined = Bank(8, 1e6), Bank(8, 1e6)
    for number in range(60):
        single.observe(["r"], steps[[number]], at[[number]])
    joined.observe(["r"] * 60, steps, at)
    for bank in (single, joined):
        assert bank.log_evidence("r") == pytest.approx(detector.log_evidence)
        assert bank.onset_at("r") == detector.onset_at


def test_a_bank_keeps_its_run_length() -> None:
    """Of 400 rows that see only chance for 100 blocks each, fewer open than the run length allows."""
    rng, rate, run_length = np.random.default_rng(4), 0.1, 1000.0
    bets = rate + (1.0 - rate) * np.geomspace(0.02, 0.7, 8)
    bank, names = Bank(8, run_length), [f"r{number}" for number in range(400)]
    ever: set[str] = set()
    for at in range(100):
        wrong = rng.binomial(6, rate, 400).astype(float)
        bank.observe(names, rate_steps(np.full(400, 6.0), wrong, rate, bets), np.full(400, float(at)))
        ever |= bank.open
    # Each block of each row opens one with a chance of at most 1/1000: 40 rows are expected at most.
    assert len(ever) <= 40


def test_a_row_closes_when_its_reason_ends() -> None:
    """Evidence is capped, so thirty good blocks close a row that two hundred bad ones had opened."""
    bank = Bank(1, 1000.0)
    bank.observe(["r"] * 200, np.full((200, 1), 0.5), np.arange(200.0))
    assert bank.log_evidence("r") == pytest.approx(log(1000.0) + CAP_LOG)
    bank.observe(["r"] * 30, np.full((30, 1), -0.25), np.arange(200.0, 230.0))
    assert not bank.is_open("r")


def test_forgetting_means_do_not_depend_on_how_values_come() -> None:
    """Values one by one and in one call make the same means, missing ones among them."""
    rng = np.random.default_rng(5)
    values = rng.random((40, 3))
    values[rng.random((40, 3)) < 0.3] = np.nan
    single, joined = Forgetting(3, 8.0), Forgetting(3, 8.0)
    for value in values:
        single.observe(["a"], value[None, :])
    joined.observe(["a"] * 40, values)
    assert single.of("a") == pytest.approx(joined.of("a"))


def test_a_mean_rank_is_one_half_of_the_same_and_off_it_of_others() -> None:
    """Ranks of a sample in its own distribution average to one half; of one deviation above, to 0.76."""
    rng = np.random.default_rng(6)

    def histogram(mean: float, n: int) -> Histogram:
        made = Histogram("unit")
        for value in rng.normal(mean, 0.1, n).tolist():
            made.add(value)
        return made

    baseline = Baseline({"brightness": histogram(0.5, 2000)}, {}, None)
    seen = [Seen({"brightness": histogram(mean, 2000)}, 0, None, ()) for mean in (0.5, 0.6)]
    ranks, _ = ranks_of([(one, baseline) for one in seen])
    column = ranks[:, np.isfinite(ranks[0])][:, 0]
    assert column[0] == pytest.approx(0.5, abs=0.02)
    assert column[1] == pytest.approx(0.76, abs=0.02)
