"""The gates, over measurements that are written down."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgewright.controller.compiler.gates import (
    Measurement,
    PairedClass,
    Verdict,
    choose,
    group_classes,
    judge,
    loss_bound,
)
from edgewright.controller.compiler.golden import choose_rows
from edgewright.controller.compiler.measure import compare_logits
from edgewright.controller.compiler.targets import TARGETS
from edgewright.controller.errors import GateFailedError
from edgewright.controller.model_toml import GatesPart

GATES = GatesPart(top1_agreement=0.98, logit_error=0.1, per_class_loss=0.1, latency_ratio=1.0)
GOOD = {
    "name": "int8",
    "length": 1000,
    "finite": True,
    "top1_agreement": 0.995,
    "logit_error": 0.02,
    "classes": {"a": PairedClass(50, 0, 0), "b": PairedClass(50, 1, 1)},
    "latency_us": 50.0,
    "fp32_latency_us": 100.0,
}


def _judged(**changes: object) -> Verdict:
    return judge(Measurement(**{**GOOD, **changes}), GATES)  # type: ignore[arg-type]  # any field, any value


def test_a_good_candidate_passes() -> None:
    """A candidate that holds every gate passes and has no failure."""
    verdict = _judged()
    assert verdict.passed
    assert not verdict.failures
    assert len(verdict.sentences) == 5


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"finite": False}, "finite"),
        ({"top1_agreement": 0.97}, "agrees"),
        ({"logit_error": 0.11}, "logit error"),
        ({"logit_error": float("nan")}, "logit error"),
        ({"classes": {"a": PairedClass(50, 5, 0), "b": PairedClass(50, 0, 0)}}, "worst class, a"),
        ({"latency_us": 101.0}, "1.01 of fp32's time"),
    ],
)
def test_each_gate_refuses_alone(changes: dict[str, object], word: str) -> None:
    """Whatever one measurement is out of bounds, the candidate fails for exactly that reason."""
    verdict = _judged(**changes)
    assert not verdict.passed
    assert len(verdict.failures) == 1
    assert word in verdict.failures[0]


def test_latency_is_not_judged_on_another_architecture() -> None:
    """Without a comparable latency the gate says so instead of passing silently."""
    verdict = _judged(latency_us=None, fp32_latency_us=None)
    assert verdict.passed
    assert "not judged" in verdict.sentences[-1]


def test_the_bound_covers_the_true_loss() -> None:
    """In 2,000 draws of 60 paired frames the bound lies below the true loss in about 5 % of them.

    Counts are whole, so no bound has exactly 5 %; this one has 7 % here, and less for more frames.
    """
    rng = np.random.default_rng(5)
    lost, won = 0.06, 0.02
    draws = rng.multinomial(60, [lost, won, 1 - lost - won], size=2000)
    missed = [loss_bound(PairedClass(60, int(a), int(b))) < lost - won for a, b, _ in draws]
    assert np.mean(missed) <= 0.08


def test_few_frames_weigh_against_a_candidate() -> None:
    """With nothing lost the bound shrinks as frames grow, and one lost frame costs more of few frames."""
    bounds = [loss_bound(PairedClass(frames, 0, 0)) for frames in (5, 50, 500)]
    assert bounds == sorted(bounds, reverse=True)
    assert loss_bound(PairedClass(20, 1, 0)) > loss_bound(PairedClass(200, 1, 0))


def test_small_classes_are_judged_together() -> None:
    """A class of five frames neither refuses a candidate by itself nor is left out."""
    classes = {"a": PairedClass(50, 0, 0), "new": PairedClass(5, 0, 0)}
    assert group_classes(classes) == {"new and a": PairedClass(55, 0, 0)}
    assert _judged(classes=classes).passed
    assert not _judged(classes={**classes, "new": PairedClass(5, 5, 0)}).passed


def test_the_reference_passes_if_it_is_finite() -> None:
    """fp32 is compared with nothing but must not give infinite logits."""
    assert _judged(is_reference=True, classes={}).passed
    assert not _judged(is_reference=True, classes={}, finite=False).passed


def test_the_smallest_passing_candidate_is_chosen() -> None:
    """Of those that passed the smallest ships; if none did, the error names target and reasons."""
    small = Verdict("int8", passed=False, length=10, sentences=(), failures=("agrees on 3 %",))
    middle = Verdict("int8, calibrated anew", passed=True, length=20, sentences=(), failures=())
    large = Verdict("fp32", passed=True, length=30, sentences=(), failures=())
    assert choose([small, middle, large], "t") is middle
    with pytest.raises(GateFailedError, match=r"for t passed: int8: agrees on 3 %"):
        choose([small], "t")


def test_logits_are_compared_without_their_common_offset() -> None:
    """Adding a constant to a frame's logits is no error; swapping decisions is counted by class."""
    fp32 = np.array([[3.0, 0.0], [0.0, 2.0], [1.0, 0.0]], np.float32)
    classes = np.array([0, 1, 1])
    agreement, error, by_class = compare_logits(fp32, fp32 + 7, classes, ["a", "b"])
    assert agreement == 1.0
    assert error == pytest.approx(0.0, abs=1e-6)
    agreement, error, by_class = compare_logits(fp32, fp32[:, ::-1], classes, ["a", "b"])
    assert agreement == 0.0
    assert error == pytest.approx(2.0)
    assert by_class == {"a": PairedClass(1, 1, 0), "b": PairedClass(2, 1, 1)}


def test_golden_rows_cover_classes_and_borders() -> None:
    """The narrowest decision of each class comes first, then the clearest, within the room there is."""
    logits = np.array([[5, 0], [0.1, 0], [0, 9], [0, 0.2], [2, 0]], np.float32)
    assert choose_rows(logits, vector_bytes=1024) == [1, 3, 0, 2]
    wide = np.eye(10, dtype=np.float32)
    assert len(choose_rows(wide, vector_bytes=10**6)) == 4


def test_every_target_is_documented() -> None:
    """The page of targets has a row for each target, with its precisions in their order."""
    page = (Path(__file__).parents[2] / "docs/reference/targets.md").read_text()
    for target in TARGETS.values():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{target.name}` |"))
        assert f"| {', '.join(target.precisions)} |" in row
        assert f"{target.runtime.name} {target.runtime.minimum} to below {target.runtime.below}" in row


def test_verdicts_are_plain_data() -> None:
    """A verdict goes to the database and over a process border without loss."""
    verdict = _judged(logit_error=0.2)
    assert msgspec.json.decode(msgspec.json.encode(verdict), type=Verdict) == verdict
