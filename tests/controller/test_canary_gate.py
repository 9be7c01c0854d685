"""The quality gate between two waves; all streams are seeded."""

import numpy as np

from edgewright.controller.canary_gate import Counts, GateVerdict, judge


def ask(canary: Counts, control: Counts, minimum: int = 20) -> GateVerdict:
    """The gate as the rollouts ask it."""
    return judge(canary, control, tolerance=0.02, alpha=0.05, minimum=minimum)


def decide(seed: int, canary_rate: float, control_rate: float, most: int = 3000) -> tuple[str, int]:
    """Look after every four canary items, with three times as many on the other robots."""
    rng = np.random.default_rng(seed)
    canary = rng.random(most) < canary_rate
    control = rng.random(3 * most) < control_rate
    for n in range(4, most, 4):
        verdict = ask(Counts(n, int(canary[:n].sum())), Counts(3 * n, int(control[: 3 * n].sum())))
        if verdict.verdict != "wait":
            return verdict.verdict, n
    return "wait", most


def test_a_rebuild_that_helps_goes_on_after_some_fifty_items() -> None:
    """With 35 % wrong before and 10 % after, half of the rollouts go on within 60 items, all within 160."""
    decided = [decide(seed, 0.10, 0.35) for seed in range(40)]
    assert {verdict for verdict, _ in decided} == {"proceed"}
    assert np.median([n for _, n in decided]) <= 60
    assert max(n for _, n in decided) <= 160


def test_a_harmful_version_is_stopped() -> None:
    """A version that is wrong on 40 % instead of 10 % is stopped: half within 60 items, all within 160."""
    decided = [decide(seed, 0.40, 0.10) for seed in range(20)]
    assert {verdict for verdict, _ in decided} == {"stop"}
    assert np.median([n for _, n in decided]) <= 60
    assert max(n for _, n in decided) <= 160


def test_it_waits_for_the_minimum_but_not_to_stop() -> None:
    """Good numbers wait for the minimum; harm does not."""
    assert ask(Counts(40, 2), Counts(200, 90), minimum=50).verdict == "wait"
    assert ask(Counts(40, 2), Counts(200, 90), minimum=40).verdict == "proceed"
    assert ask(Counts(30, 28), Counts(200, 20), minimum=50).verdict == "stop"


def test_it_waits_without_labels() -> None:
    """Before the first label the answer is to wait, in a sentence that says so."""
    verdict = ask(Counts(0, 0), Counts(0, 0), minimum=0)
    assert verdict.verdict == "wait"
    assert "none labelled" in verdict.sentence


def test_the_sentence_has_the_numbers() -> None:
    """A verdict names counts and rates of both sides, and its numbers carry the evidence."""
    verdict = ask(Counts(60, 5), Counts(180, 62))
    assert verdict.sentence == (
        "The new version holds: 5 of 60 (8%) wrong on the first robots, 62 of 180 (34%) on the others."
    )
    assert verdict.numbers["evidence_fit"] >= verdict.numbers["needed"] == 20.0
