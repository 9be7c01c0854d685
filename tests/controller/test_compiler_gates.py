"""The gates, over measurements that are written down."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgewright.controller.compiler.benches.seam import Speed
from edgewright.controller.compiler.gates import (
    Comparison,
    Measurement,
    PairedClass,
    Race,
    Verdict,
    blame,
    choose,
    group_classes,
    judge,
    left_out,
    loss_bound,
)
from edgewright.controller.compiler.golden import choose_rows
from edgewright.controller.compiler.measure import combine_races, compare_outputs
from edgewright.controller.compiler.subject import Outputs, Port, Subject
from edgewright.controller.compiler.targets import TARGETS
from edgewright.controller.errors import GateFailedError
from edgewright.controller.model_toml import GatesPart

GATES = GatesPart(top1_agreement=0.98, logit_error=0.1, per_class_loss=0.1, latency_ratio=1.0)
CLASSES = {"a": PairedClass(50, 0, 0), "b": PairedClass(50, 1, 1)}
COMPARISON = {"finite": True, "agreement": 0.995, "errors": {"logits": 0.02}, "classes": CLASSES}
RACE = Race(latency_us=50.0, fp32_latency_us=100.0, ratio=0.5, spread=0.0, memory_mb=10.0)


def _compared(**changes: object) -> Comparison:
    return Comparison(**{**COMPARISON, **changes})  # type: ignore[arg-type]  # any field, any value


def _judged(comparison: Comparison | None = None, **changes: object) -> Verdict:
    good = {
        "name": "int8",
        "precision": "int8",
        "length": 1000,
        "fp32_length": 4000,
        "comparison": comparison or _compared(),
        "race": RACE,
    }
    return judge(Measurement(**{**good, **changes}), GATES)  # type: ignore[arg-type]  # any field, any value


def test_a_good_candidate_passes() -> None:
    """A candidate that holds every gate passes and has no failure."""
    verdict = _judged()
    assert verdict.passed
    assert not verdict.failures
    assert len(verdict.sentences) == 6
    assert verdict.precision == "int8"
    assert verdict.numbers["size_ratio"] == 0.25


@pytest.mark.parametrize(
    ("comparison", "changes", "word"),
    [
        (_compared(finite=False), {}, "finite"),
        (_compared(agreement=0.97), {}, "agrees"),
        (_compared(errors={"logits": 0.11}), {}, "logit error"),
        (_compared(errors={"logits": float("nan")}), {}, "logit error"),
        (_compared(errors={"logits": 0.01, "box": 0.2}), {}, "in box"),
        (_compared(classes={**CLASSES, "a": PairedClass(50, 5, 0)}), {}, "worst class, a"),
        (_compared(), {"race": Race(103.0, 100.0, 1.03, 0.0, 10.0)}, "1.03 of fp32's time"),
        (_compared(), {"race": Race(108.0, 100.0, 1.08, 0.05, 10.0)}, "give or take 0.05"),
        (_compared(), {"length": 4001}, "size"),
        (_compared(), {"latency_limit_us": 49.0}, "the limit is 49 us"),
        (_compared(), {"memory_limit_mb": 9.0}, "the limit is 9 MiB"),
    ],
)
def test_each_gate_refuses_alone(comparison: Comparison, changes: dict[str, object], word: str) -> None:
    """Whatever one measurement is out of bounds, the candidate fails for exactly that reason."""
    verdict = _judged(comparison, **changes)
    assert not verdict.passed
    assert len(verdict.failures) == 1
    assert word in verdict.failures[0]


@pytest.mark.parametrize(("ratio", "spread"), [(1.015, 0.0), (1.05, 0.06)])
def test_what_cannot_be_told_apart_is_not_slower(ratio: float, spread: float) -> None:
    """A ratio above the limit by less than races of one artifact differ is no reason to refuse."""
    assert _judged(race=Race(100 * ratio, 100.0, ratio, spread, 10.0)).passed


def test_races_are_combined_by_their_medians() -> None:
    """One disturbed race of five moves neither the ratio nor, by more than its quartile, the spread."""
    races = [(Speed(100.0, 1.0), Speed(ratio, 2.0)) for ratio in (98.0, 99.0, 100.0, 101.0, 300.0)]
    race = combine_races(races)
    assert race.ratio == pytest.approx(1.0)
    assert race.spread == pytest.approx(0.01)
    assert race.memory_mb == 2.0


def test_latency_is_not_judged_on_another_architecture() -> None:
    """Without a comparable latency the gate says so instead of passing silently."""
    verdict = _judged(race=None)
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
    assert _judged(_compared(classes=classes)).passed
    assert not _judged(_compared(classes={**classes, "new": PairedClass(5, 5, 0)})).passed


def test_the_reference_passes_if_it_is_finite() -> None:
    """fp32 is compared with nothing but must not give infinite outputs, and limits hold for it too."""
    same = _compared(agreement=1.0, errors={"logits": 0.0}, classes={})
    assert _judged(same, is_reference=True).passed
    assert not _judged(_compared(finite=False), is_reference=True).passed
    assert not _judged(same, is_reference=True, memory_limit_mb=5.0).passed


def test_the_smallest_passing_candidate_is_chosen() -> None:
    """Of those that passed the smallest ships; if none did, the error names target and reasons."""
    small = Verdict("int8", passed=False, length=10, sentences=(), failures=("agrees on 3 %",))
    middle = Verdict("int8, calibrated anew", passed=True, length=20, sentences=(), failures=())
    large = Verdict("fp32", passed=True, length=30, sentences=(), failures=())
    assert choose([small, middle, large], "t") is middle
    with pytest.raises(GateFailedError, match=r"for t passed: int8: agrees on 3 %"):
        choose([small], "t")


def _subject(outputs: tuple[Port, ...], decision: str = "", truths: tuple[int, ...] = ()) -> Subject:
    return Subject(
        name="two",
        model=b"",
        format="onnx",
        inputs=(),
        outputs=outputs,
        calibration={},
        holdout={},
        gates=GATES,
        decision=decision,
        labels=("a", "b"),
        truths=np.array(truths, np.intp),
    )


def test_logits_are_compared_without_their_common_offset() -> None:
    """Adding a constant to a frame's logits is no error; swapping decisions is counted by class."""
    fp32 = np.array([[[3.0, 0.0]], [[0.0, 2.0]], [[1.0, 0.0]]], np.float32)
    subject = _subject((Port("logits", "float32", (1, 2)),), "logits", (0, 1, 1))
    found = compare_outputs({"logits": fp32}, {"logits": fp32 + 7}, subject)
    assert found.agreement == 1.0
    assert found.errors["logits"] == pytest.approx(0.0, abs=1e-6)
    found = compare_outputs({"logits": fp32}, {"logits": fp32[..., ::-1]}, subject)
    assert found.agreement == 0.0
    assert found.errors["logits"] == pytest.approx(2.0)
    assert found.classes == {"a": PairedClass(1, 1, 0), "b": PairedClass(2, 1, 1)}


def test_outputs_of_every_type_are_compared() -> None:
    """Whole numbers count by the share that differs, probabilities by decision too, others by their error."""
    ports = (Port("ids", "int64", (2,)), Port("odds", "float32", (1, 2)), Port("box", "float32", (1, 4)))
    fp32: Outputs = {
        "ids": np.array([[1, 2], [3, 4]]),
        "odds": np.array([[[0.9, 0.1]], [[0.4, 0.6]]], np.float32),
        "box": np.ones((2, 1, 4), np.float32),
    }
    ours = {**fp32, "ids": np.array([[1, 2], [3, 5]]), "box": 1.5 * fp32["box"]}
    found = compare_outputs(fp32, ours, _subject(ports))
    assert found.agreement == 0.75
    assert found.errors == {"odds": 0.0, "box": 0.5}
    assert found.classes == {}


def test_classes_without_a_call_judge_nothing() -> None:
    """A class that the holdout does not have is left out; without any true label no class is judged."""
    fp32 = {"logits": np.array([[[3.0, 0.0]], [[0.0, 2.0]]], np.float32)}
    ports = (Port("logits", "float32", (1, 2)),)
    found = compare_outputs(fp32, fp32, _subject(ports, "logits", (0, -1)))
    assert found.classes == {"a": PairedClass(1, 0, 0)}
    unknown = compare_outputs(fp32, fp32, _subject(ports, "logits", (-1, -1)))
    assert unknown.classes == {}
    assert _judged(unknown).passed


def test_single_numbers_are_no_probabilities() -> None:
    """An output of one number a call has no classes, even where the calls' numbers add up to one."""
    subject = _subject((Port("y", "float32", ()),))
    values = {"y": np.array([0.25, 0.5, 0.25], np.float32)}
    assert compare_outputs(values, values, subject).agreement is None


def test_an_output_of_another_shape_is_wrong() -> None:
    """A candidate whose output has another size fails whatever it holds."""
    subject = _subject((Port("box", "float32", (1, 4)),))
    found = compare_outputs({"box": np.ones((2, 1, 4))}, {"box": np.ones((2, 1, 3))}, subject)
    assert not _judged(found).passed


def test_a_form_that_cannot_be_made_is_in_the_report() -> None:
    """It has a verdict with its reason, and it never ships."""
    verdict = left_out("int8", "int8", "no range for 'x'")
    assert not verdict.passed
    assert "no range for 'x'" in verdict.failures[0]
    assert blame(verdict, "Conv 'c' broke").sentences[-1] == "look at: Conv 'c' broke"


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
    verdict = _judged(_compared(errors={"logits": 0.2}))
    assert msgspec.json.decode(msgspec.json.encode(verdict), type=Verdict) == verdict
