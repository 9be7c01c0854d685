"""Whether a candidate may ship, decided over measurements; nothing is measured here.

Every candidate is compared with fp32 on the same calls and the same runtime:

- the share of calls with the same decision (accuracy alone hides changes that cancel out);
- the relative error of the logits: root mean square of the difference over that of fp32's logits, each
  call's logits taken relative to their mean, because a softmax does not see a common offset. Outputs that
  are no logits are compared as they are, whole numbers by the share that differs; the worst output counts;
- for each class, the loss of accuracy, paired by frame, by its upper 95 % confidence bound: few frames of a
  class therefore weigh against a candidate. The bound is Agresti and Min's (2005, "Simple improved confidence
  intervals for comparing matched proportions", Statistics in Medicine 24): Wald's after adding half a frame
  to each of the four cells. Classes with fewer than 30 frames prove nothing alone, so the smallest classes
  are judged together until there are as many (a rebuild knows a new class by a handful of frames);
- the median latency, where the compiling machine is of the target's architecture. Where it is near the limit
  the race was run again, and a candidate is slower if it is so beyond the spread of the races and beyond
  what two runs of one and the same artifact differ by;
- the limits of the model and of the target on latency and memory, which hold for fp32 too;
- the size: what is not smaller than fp32 has nothing to offer.

Candidates are made in the order in which they are preferred, until one passes (see ``candidates``). fp32 is
the reference: it passes if its outputs are finite and it keeps the limits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import sqrt
from typing import Final, NamedTuple

from edgewright.controller.compiler.candidate import AS_IT_CAME
from edgewright.controller.errors import GateFailedError
from edgewright.controller.model_toml import GatesPart, Precision

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
class Comparison:
    """A candidate's outputs beside fp32's, on the same calls.

    Attributes:
        finite: whether all of the candidate's numbers are.
        agreement: share of decisions that are the same; None where no output decides.
        errors: relative error by output; see the module's text.
        classes: correctness by label; empty where no truths are known.
    """

    finite: bool
    agreement: float | None
    errors: Mapping[str, float]
    classes: Mapping[str, PairedClass] = field(default_factory=dict)


@dataclass(frozen=True)
class Race:
    """A candidate beside fp32 on the target's runtime.

    Attributes:
        latency_us, fp32_latency_us: median CPU time of one inference on one thread, microseconds.
        ratio: of the two, the median of all races.
        spread: half the distance between the ratio's quartiles over the races; 0 where one was enough.
        memory_mb: resident memory that loading and running the candidate took, MiB.
    """

    latency_us: float
    fp32_latency_us: float
    ratio: float
    spread: float
    memory_mb: float


@dataclass(frozen=True)
class Measurement:
    """What was measured of a candidate.

    Attributes:
        name: precision, with a remark where there are two of one.
        precision: of the candidate.
        length, fp32_length: bytes of the artifact and of fp32's.
        comparison: with fp32's outputs.
        race: with fp32; None where this machine is not of the target's architecture.
        latency_limit_us, memory_limit_mb: the tightest of the model's and the target's limits, 0 for none.
        is_reference: whether this is fp32 itself, or the model as it came where it is quantised already.
    """

    name: str
    precision: Precision
    length: int
    fp32_length: int
    comparison: Comparison
    race: Race | None = None
    latency_limit_us: float = 0.0
    memory_limit_mb: float = 0.0
    is_reference: bool = False


@dataclass(frozen=True)
class Verdict:
    """One candidate's verdict: a sentence for each gate, and those that failed again by themselves.

    The gates by name are what is signed: they hold no measured latency, which differs from run to run.

    Attributes:
        numbers: what was measured, by name; see ``judge``.
        broken_at: which layer broke, as a sentence's part; empty where none did or nobody looked.
    """

    name: str
    passed: bool
    length: int
    sentences: tuple[str, ...]
    failures: tuple[str, ...]
    passed_gates: tuple[str, ...] = ()
    failed_gates: tuple[str, ...] = ()
    unjudged_gates: tuple[str, ...] = ()
    precision: str = ""
    numbers: dict[str, float] = field(default_factory=dict)
    broken_at: str = ""


class _Check(NamedTuple):
    """One gate's outcome; ``judged`` is False where this machine cannot tell."""

    gate: str
    ok: bool
    text: str
    judged: bool = True


TIMER_RESOLUTION: Final = 0.02
"""Part of a latency ratio that says nothing: two sessions of the same bytes differed by up to 1.5 %."""

ACCURACY_GATES: Final = frozenset({"finite outputs", "top-1 agreement", "logit error", "loss by class"})
"""Gates over what a candidate says, as opposed to how fast and how large it is."""


def loss_bound(pair: PairedClass, quantile: float = Z_95) -> float:
    """Upper confidence bound of the loss of accuracy, between -1 and 1; 95 % where nothing else is asked for.

    >>> round(loss_bound(PairedClass(50, 0, 0)), 3)
    0.032
    """
    lost, won = pair.only_fp32_right + 0.5, pair.only_candidate_right + 0.5
    frames = pair.frames + 2
    loss = (lost - won) / frames
    return min(1.0, loss + quantile * sqrt((lost + won) / frames - loss**2) / sqrt(frames))


def judge(measured: Measurement, gates: GatesPart) -> Verdict:
    """The verdict on one candidate.

    Its numbers are, where they were measured: ``length`` (bytes), ``size_ratio``, ``agreement``,
    ``logit_error``, ``worst_class_bound``, ``latency_us``, ``fp32_latency_us``, ``latency_ratio``,
    ``latency_spread`` and ``memory_mb``.
    """
    checks = _check_reference(measured, gates) if measured.is_reference else _check_candidate(measured, gates)
    checks += _check_limits(measured)
    return Verdict(
        name=measured.name,
        passed=all(check.ok for check in checks),
        length=measured.length,
        sentences=tuple(f"{'pass' if check.ok else 'FAIL'}: {check.text}" for check in checks),
        failures=tuple(check.text for check in checks if not check.ok),
        passed_gates=tuple(check.gate for check in checks if check.ok and check.judged),
        failed_gates=tuple(check.gate for check in checks if not check.ok),
        unjudged_gates=tuple(check.gate for check in checks if check.ok and not check.judged),
        precision=measured.precision,
        numbers=_numbers(measured),
    )


def left_out(name: str, precision: Precision, reason: str) -> Verdict:
    """The verdict on a candidate that could not be made."""
    return _refused(name, precision, "made", f"could not be made: {reason}")


def came_quantised(target: str, allowed: Sequence[Precision]) -> Verdict:
    """The verdict on a model that came quantised, for a target that is to have other precisions alone."""
    takes = ", ".join(allowed) or "none of the precisions that model.toml allows"
    return left_out(AS_IT_CAME, "int8", f"the model came quantised, and {target} takes {takes}")


def broken(name: str, precision: Precision, reason: str) -> Verdict:
    """The verdict on a candidate that the target's runtime cannot load or run."""
    return _refused(name, precision, "runs", f"does not run on the target's runtime: {reason}")


def _refused(name: str, precision: Precision, gate: str, text: str) -> Verdict:
    return Verdict(
        name=name,
        passed=False,
        length=0,
        sentences=(f"FAIL: {text}",),
        failures=(text,),
        failed_gates=(gate,),
        precision=precision,
    )


def blame(verdict: Verdict, broken_at: str) -> Verdict:
    """The verdict with the layer that broke, as a sentence of its own."""
    return replace(verdict, broken_at=broken_at, sentences=(*verdict.sentences, f"look at: {broken_at}"))


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


def worst_class(classes: Mapping[str, PairedClass]) -> tuple[str, float, int]:
    """The group of classes with the largest bound: its name, the bound, its frames."""
    groups = group_classes(classes)
    bounds = {label: loss_bound(pair) for label, pair in groups.items()}
    worst = max(bounds, key=lambda label: bounds[label])
    return worst, bounds[worst], groups[worst].frames


def _check_reference(measured: Measurement, gates: GatesPart) -> list[_Check]:
    """fp32 in the form of the target's runtime: it need not be smaller or faster, and has to be right."""
    text = f"{measured.name} is the reference; its outputs are finite"
    found = measured.comparison
    return [_Check("finite outputs", found.finite, text), *_check_outputs(found, gates)]


def _check_candidate(measured: Measurement, gates: GatesPart) -> list[_Check]:
    found = measured.comparison
    checks = [_Check("finite outputs", found.finite, "all outputs are finite"), *_check_outputs(found, gates)]
    if found.classes:
        checks.append(_check_classes(found.classes, gates.per_class_loss))
    size = measured.length / measured.fp32_length
    text = f"has {size:.2f} of fp32's size (at most {gates.size_ratio:g})"
    checks.append(_Check("size", size <= gates.size_ratio, text))
    checks.append(_check_latency(measured.race, gates.latency_ratio))
    return checks


def _check_outputs(found: Comparison, gates: GatesPart) -> list[_Check]:
    checks: list[_Check] = []
    if found.agreement is not None:
        least = gates.top1_agreement
        text = f"agrees with fp32 on {found.agreement:.2%} of the decisions (at least {least:.2%})"
        checks.append(_Check("top-1 agreement", found.agreement >= gates.top1_agreement, text))
    if found.errors:
        # A NaN is larger than anything here, so it is the worst and fails.
        name, error = max(found.errors.items(), key=lambda item: (item[1] != item[1], item[1]))
        where = f" in {name}" if len(found.errors) > 1 else ""
        text = f"relative logit error {error:.4f}{where} (at most {gates.logit_error:g})"
        checks.append(_Check("logit error", error <= gates.logit_error, text))
    return checks


def _check_classes(classes: Mapping[str, PairedClass], limit: float) -> _Check:
    worst, bound, frames = worst_class(classes)
    text = f"loses at most {bound:.2%} in the worst class, {worst}, by {frames} frames (at most {limit:.2%})"
    return _Check("loss by class", bound <= limit, text)


def _check_latency(race: Race | None, limit: float) -> _Check:
    if race is None:
        text = "latency not judged: this machine is not of the target's architecture"
        return _Check("latency", ok=True, text=text, judged=False)
    spread = f", give or take {race.spread:.2f}" if race.spread else ""
    text = f"takes {race.ratio:.2f} of fp32's time{spread} (at most {limit:g})"
    return _Check("latency", race.ratio - max(race.spread, TIMER_RESOLUTION) <= limit, text)


def _check_limits(measured: Measurement) -> list[_Check]:
    checks: list[_Check] = []
    race, latency, memory = measured.race, measured.latency_limit_us, measured.memory_limit_mb
    if race is not None and latency:
        text = f"takes {race.latency_us:.0f} us (the limit is {latency:.0f} us)"
        checks.append(_Check("latency limit", race.latency_us <= latency, text))
    if race is not None and memory:
        text = f"takes {race.memory_mb:.0f} MiB of memory (the limit is {memory:.0f} MiB)"
        checks.append(_Check("memory", race.memory_mb <= memory, text))
    return checks


def _numbers(measured: Measurement) -> dict[str, float]:
    found, race = measured.comparison, measured.race
    numbers = {
        "length": float(measured.length),
        "size_ratio": measured.length / measured.fp32_length,
    }
    if found.agreement is not None:
        numbers["agreement"] = found.agreement
    if found.errors:
        numbers["logit_error"] = max(found.errors.values(), key=lambda error: (error != error, error))
    if found.classes:
        numbers["worst_class_bound"] = worst_class(found.classes)[1]
    if race is not None:
        numbers["latency_us"], numbers["fp32_latency_us"] = race.latency_us, race.fp32_latency_us
        numbers["latency_ratio"], numbers["latency_spread"] = race.ratio, race.spread
        numbers["memory_mb"] = race.memory_mb
    # JSON has no infinity and no NaN; the sentences say them.
    return {name: number for name, number in numbers.items() if abs(number) < float("inf")}
