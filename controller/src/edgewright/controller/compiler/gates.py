"""Whether a candidate may ship, decided over measurements; nothing is measured here.

Every candidate is compared with fp32 on the same frames and the same runtime:

- the share of frames with the same decision (accuracy alone hides changes that cancel out);
- the relative error of the logits: root mean square of the difference over that of fp32's logits, each
  frame's logits taken relative to their mean, because a softmax does not see a common offset;
- for each class, the loss of accuracy, paired by frame, by its upper 95 % confidence bound: few frames of a
  class therefore weigh against a candidate. The bound is Agresti and Min's (2005, "Simple improved confidence
  intervals for comparing matched proportions", Statistics in Medicine 24): Wald's after adding half a frame
  to each of the four cells. Classes with fewer than 30 frames prove nothing alone, so the smallest classes
  are judged together until there are as many (a rebuild knows a new class by a handful of frames);
- the median latency, where the compiling machine is of the target's architecture.

The smallest candidate that passes ships. fp32 is the reference, so it passes if its logits are finite.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Final, NamedTuple

from edgewright.controller.errors import GateFailedError
from edgewright.controller.model_toml import GatesPart

Z_95: Final = 1.6449
"""One-sided 95 % quantile of the normal distribution."""

SMALLEST_GROUP: Final = 30
"""Frames below which a class is judged together with others; without any loss the bound is then 5 %."""


@dataclass(frozen=True)
class PairedClass:
    """One class on the holdout frames: how many, and in how many only one of the two was right."""

    frames: int
    only_fp32_right: int
    only_candidate_right: int


@dataclass(frozen=True)
class Measurement:
    """What was measured of a candidate.

    Attributes:
        name: precision, with a remark where there are two of one.
        length: bytes of the artifact.
        finite: whether all logits are.
        top1_agreement: share of frames with fp32's decision.
        logit_error: see the module's text.
        classes: by label.
        latency_us, fp32_latency_us: median thread CPU time of one inference; None where not comparable.
        is_reference: whether this is fp32 itself.
    """

    name: str
    length: int
    finite: bool
    top1_agreement: float
    logit_error: float
    classes: Mapping[str, PairedClass]
    latency_us: float | None
    fp32_latency_us: float | None
    is_reference: bool = False


@dataclass(frozen=True)
class Verdict:
    """One candidate's verdict: a sentence for each gate, and those that failed again by themselves.

    The gates by name are what is signed: they hold no measured latency, which differs from run to run.
    """

    name: str
    passed: bool
    length: int
    sentences: tuple[str, ...]
    failures: tuple[str, ...]
    passed_gates: tuple[str, ...] = ()
    failed_gates: tuple[str, ...] = ()
    unjudged_gates: tuple[str, ...] = ()


class _Check(NamedTuple):
    """One gate's outcome; ``judged`` is False where this machine cannot tell."""

    gate: str
    ok: bool
    text: str
    judged: bool = True


def loss_bound(pair: PairedClass) -> float:
    """Upper 95 % confidence bound of the loss of accuracy, between -1 and 1.

    >>> round(loss_bound(PairedClass(50, 0, 0)), 3)
    0.032
    """
    lost, won = pair.only_fp32_right + 0.5, pair.only_candidate_right + 0.5
    frames = pair.frames + 2
    loss = (lost - won) / frames
    return min(1.0, loss + Z_95 * sqrt((lost + won) / frames - loss**2) / sqrt(frames))


def judge(measured: Measurement, gates: GatesPart) -> Verdict:
    """The verdict on one candidate."""
    if measured.is_reference:
        checks = [_Check("finite logits", measured.finite, "fp32 is the reference; its logits are finite")]
    else:
        agreement, error = measured.top1_agreement, measured.logit_error
        agreement_text = (
            f"agrees with fp32 on {agreement:.2%} of the frames (at least {gates.top1_agreement:.2%})"
        )
        error_text = f"relative logit error {error:.4f} (at most {gates.logit_error:g})"
        checks = [
            _Check("finite logits", measured.finite, "all logits are finite"),
            _Check("top-1 agreement", agreement >= gates.top1_agreement, agreement_text),
            _Check("logit error", error <= gates.logit_error, error_text),
            _judge_classes(measured.classes, gates.per_class_loss),
            _judge_latency(measured, gates.latency_ratio),
        ]
    return Verdict(
        name=measured.name,
        passed=all(check.ok for check in checks),
        length=measured.length,
        sentences=tuple(f"{'pass' if check.ok else 'FAIL'}: {check.text}" for check in checks),
        failures=tuple(check.text for check in checks if not check.ok),
        passed_gates=tuple(check.gate for check in checks if check.ok and check.judged),
        failed_gates=tuple(check.gate for check in checks if not check.ok),
        unjudged_gates=tuple(check.gate for check in checks if check.ok and not check.judged),
    )


def choose(verdicts: Sequence[Verdict], target: str) -> Verdict:
    """The smallest candidate that passed; of equal ones the first.

    Raises:
        GateFailedError: none passed; the sentence says why each did not.
    """
    passed = [verdict for verdict in verdicts if verdict.passed]
    if passed:
        return min(passed, key=lambda verdict: verdict.length)
    reasons = "; ".join(f"{verdict.name}: {', '.join(verdict.failures)}" for verdict in verdicts)
    raise GateFailedError(f"No candidate for {target} passed: {reasons}.")


def group_classes(classes: Mapping[str, PairedClass]) -> dict[str, PairedClass]:
    """Classes by name, the smallest ones joined until each group has ``SMALLEST_GROUP`` frames.

    >>> sorted(group_classes({"a": PairedClass(10, 0, 0), "b": PairedClass(50, 1, 0)}))
    ['a and b']
    """
    groups: dict[str, PairedClass] = {}
    names: list[str] = []
    joined = PairedClass(0, 0, 0)
    for label, pair in sorted(classes.items(), key=lambda item: (item[1].frames, item[0])):
        names.append(label)
        joined = PairedClass(
            joined.frames + pair.frames,
            joined.only_fp32_right + pair.only_fp32_right,
            joined.only_candidate_right + pair.only_candidate_right,
        )
        if joined.frames >= SMALLEST_GROUP:
            groups[" and ".join(names)] = joined
            names, joined = [], PairedClass(0, 0, 0)
    if names:
        groups[" and ".join(names)] = joined
    return groups


def _judge_classes(classes: Mapping[str, PairedClass], limit: float) -> _Check:
    groups = group_classes(classes)
    bounds = {label: loss_bound(pair) for label, pair in groups.items()}
    worst = max(bounds, key=lambda label: bounds[label])
    text = (
        f"loses at most {bounds[worst]:.2%} in the worst class, {worst}, "
        f"by {groups[worst].frames} frames (at most {limit:.2%})"
    )
    return _Check("loss by class", bounds[worst] <= limit, text)


def _judge_latency(measured: Measurement, limit: float) -> _Check:
    if measured.latency_us is None or not measured.fp32_latency_us:
        text = "latency not judged: this machine is not of the target's architecture"
        return _Check("latency", ok=True, text=text, judged=False)
    ratio = measured.latency_us / measured.fp32_latency_us
    return _Check("latency", ratio <= limit, f"takes {ratio:.2f} of fp32's time (at most {limit:g})")
