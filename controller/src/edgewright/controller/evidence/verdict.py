"""The verdict: what is the matter with a version, decided from facts alone.

``judge`` gets plain numbers (what the fleet, single robots and single tags show) and answers with causes,
each with a sentence and a remedy. It asks no clock and no database: the same facts give the same verdicts.

=============  ==========================================  =========================================
cause          shown by                                    remedy
=============  ==========================================  =========================================
none           nothing                                     nothing
benign         signals moved, and no harm                  nothing; it is logged
optics         harm, and the picture itself moved          clean the lens, check lamp and focus
product        harm, and other goods come                  rebuild with labels of the new goods
concept        harm on inputs as before                    check the labels' source, then rebuild
model-fault    a new version worse than the one before     roll back
               on the same inputs; NaN, errors, latency
one-robot      some robots apart from their siblings       look at those robots
=============  ==========================================  =========================================

Rules:

- **Only harm opens a rebuild**, and ``PATIENCE_S`` says for which causes and how long harm must last.
- Harm is shown by labels, by audits, or, where labels are too few to say, by an estimate whose calibration is
  trusted. Labels outrank estimates.
- Which robots stand apart is decided with control of the false discovery rate over the whole fleet: e-BH
  (Wang, Ramdas, "False discovery rate control with e-values", JRSS-B 2022). It is given e-detectors instead
  of e-values, which bounds the false discovery rate at any stopping time by its expectation over the run
  length that was asked for: with ``k`` robots named, each needs evidence of run length over ``k``.
- A minority of robots cannot make a verdict on all: ``apart`` are taken away first.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from math import log
from typing import Any, Final

import msgspec

from edgewright.controller.evidence.confidence_sequence import Interval


class Cause(StrEnum):
    """Why a version does what it does; see the module's table."""

    NONE = "none"
    BENIGN = "benign"
    OPTICS = "optics"
    PRODUCT = "product"
    CONCEPT = "concept"
    MODEL_FAULT = "model-fault"
    ONE_ROBOT = "one-robot"


PATIENCE_S: Final[Mapping[Cause, float | None]] = {
    Cause.NONE: None,
    Cause.BENIGN: None,
    Cause.OPTICS: 900.0,
    Cause.PRODUCT: 0.0,
    Cause.CONCEPT: 0.0,
    Cause.MODEL_FAULT: None,
    Cause.ONE_ROBOT: None,
}
"""How long harm must last before it opens a rebuild, seconds; None never does. A quarter of an hour is time
to wipe a lens; light that stays otherwise for longer is the new light."""

REMEDIES: Final[Mapping[Cause, str]] = {
    Cause.NONE: "Nothing is to be done.",
    Cause.BENIGN: "Nothing is to be done; it is logged.",
    Cause.OPTICS: "Clean the lens and check lamp and focus; if the light shall stay so, rebuild.",
    Cause.PRODUCT: "Rebuild with labelled frames of the new goods.",
    Cause.CONCEPT: "Label some frames by hand to check what the line's labels say, then rebuild.",
    Cause.MODEL_FAULT: "Roll back to the version before.",
    Cause.ONE_ROBOT: "Look at this robot: its lens, its lamp, its camera's mount and its label source.",
}
"""What to do about each cause, in a sentence."""

PICTURE: Final = ("brightness", "contrast", "sharpness", "saturation")
"""Signals of the picture itself, before any model."""

OPTICS_SIZE: Final = 0.45
"""``Moved.size`` of a picture signal from which on optics is the cause: new goods move them by less."""

MIX_SIZE: Final = 0.15
"""Share of decisions that changed class, from which on the goods are taken to be others."""

CONFIDENCE_SIZE: Final = 0.15
"""How far confidence, margin or entropy moved where the model sees what it does not know."""

EMBEDDING_SIZE: Final = 1.0
"""Standard deviations that the embedding's mean moved where the pictures show something else."""

STRANGE_SHARE: Final = 0.5
"""Share of windows with a new tag, from which on the goods are others."""

FAULTY_SHARE: Final = 0.05
"""Of the frames: without a decision of the model, or with one that is no number."""


class Moved(msgspec.Struct, frozen=True):
    """One signal that is otherwise than in the reference.

    Attributes:
        signal: its name.
        size: twice the chance that a value of now lies above one of the reference, less one: -1 to 1.
        then, now: means.
        since: when it most likely began, seconds since the epoch.
    """

    signal: str
    size: float
    then: float
    now: float
    since: float = 0.0


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What one part (the fleet, one robot, one tag) shows since the onset.

    Attributes:
        labelled, wrong: outcomes since the onset; effective numbers where labels are weighted.
        harmed: whether labels or audits show harm.
        log_evidence: natural logarithm of that evidence.
        since: the onset, seconds since the epoch; 0 without one.
        estimated: error rate without labels, where its calibration is trusted.
        estimate_harmed: whether that one shows harm.
        moved: signals that moved, the largest first.
        mix: total variation between the decided classes and the reference's, 0 to 1.
        gained: the class that grew the most, empty where ``mix`` is small.
        embedding: standard deviations by which the embedding's mean moved; None where nobody can say.
        faulty: share of frames that the model did not decide although it should have, or decided with NaN.
        latency_us: the limit, where more decisions than it allows are slower, else 0.
        strange: share of the last windows with a tag of which nothing is known yet.
        impossible: windows that were set aside, because no honest device sends such.
        frames: that came in.
        until: end of the newest window, seconds since the epoch.
    """

    labelled: int = 0
    wrong: int = 0
    harmed: bool = False
    log_evidence: float = 0.0
    since: float = 0.0
    estimated: Interval | None = None
    estimate_harmed: bool = False
    moved: tuple[Moved, ...] = ()
    mix: float = 0.0
    gained: str = ""
    embedding: float | None = None
    faulty: float = 0.0
    latency_us: float = 0.0
    strange: float = 0.0
    impossible: int = 0
    frames: int = 0
    until: float = 0.0


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a verdict on one version is made of.

    Attributes:
        reference_rate, harm_rate: error rate that testing promised, and from where on it is harm.
        run_length: windows between two false alarms that the operator asked for.
        devices: robots that tell of this version.
        fleet: all of them together.
        without_apart: the fleet without the robots in ``apart``; the fleet itself where there are none.
        apart: robots that differ from the reference, by e-BH; at most a few are listed.
        tags: tags with evidence of their own.
        worse_than_before: whether, since its rollout, it is shown to be worse than the version before it was.
    """

    model: str
    version: int
    reference_rate: float
    harm_rate: float
    run_length: float
    devices: int = 1
    fleet: Part = Part()
    without_apart: Part = Part()
    apart: tuple[tuple[str, Part], ...] = ()
    tags: tuple[tuple[str, Part], ...] = ()
    worse_than_before: bool = False


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What is the matter, with whom, how it shows and what to do.

    Attributes:
        device, tag: the one that it is about; both empty where it is about all.
        evidence: the numbers behind the sentence.
        since: when it most likely began, seconds since the epoch.
    """

    cause: Cause
    harm: bool
    sentence: str
    remedy: str
    device: str = ""
    tag: str = ""
    evidence: dict[str, Any] = {}
    since: float = 0.0

    @property
    def patience_s(self) -> float | None:
        """How long it must last before it opens a rebuild; None where it never does."""
        return PATIENCE_S[self.cause] if self.harm else None

    def opens_rebuild(self, now: float) -> bool:
        """Whether it opens a rebuild at ``now``, the time of the newest window."""
        patience = self.patience_s
        return patience is not None and not self.device and now - self.since >= patience


def apart_by_e_bh(log_evidence: Mapping[str, float], run_length: float) -> tuple[str, ...]:
    """The robots whose evidence stands out, most of it first: the e-BH procedure.

    Of evidences in descending order the first ``k`` are taken for the largest ``k`` with ``k`` times the
    ``k``-th at least the run length.

    >>> apart_by_e_bh({"r1": 11.6, "r2": 11.0, "r3": 2.0}, run_length=100_000)
    ('r1', 'r2')
    """
    ordered = sorted(log_evidence, key=lambda device: (-log_evidence[device], device))
    needed = log(run_length)
    ranks = [k for k, device in enumerate(ordered, start=1) if log_evidence[device] + log(k) >= needed]
    return tuple(ordered[: max(ranks, default=0)])


def judge(facts: Facts) -> tuple[Verdict, ...]:
    """The verdicts on a version; none where nothing is the matter. The one on all comes first."""
    part = facts.without_apart if facts.apart else facts.fleet
    verdicts = _of_fleet(facts, part)
    verdicts += [_of_robot(facts, device, own) for device, own in facts.apart]
    said = bool(verdicts)
    harm = any(verdict.harm and not verdict.device for verdict in verdicts)
    for tag, own in facts.tags:
        verdicts += _of_tag(facts, tag, own, said=said, harm=harm)
    return tuple(verdicts)


def _of_fleet(facts: Facts, part: Part) -> list[Verdict]:
    """On all robots; a fault stands beside what labels say, because it has another remedy."""
    verdicts = []
    if part.harmed or part.estimate_harmed:
        cause = _cause_of_harm(facts, part)
        verdicts = [_verdict(facts, cause, part, _harm_sentence(facts, cause, part), harm=True)]
    if _is_faulty(part) and not any(verdict.cause is Cause.MODEL_FAULT for verdict in verdicts):
        verdicts.append(_verdict(facts, Cause.MODEL_FAULT, part, _fault_sentence(facts, part), harm=True))
    if not verdicts and part.moved:
        sentence = _moved_sentence(_name(facts), part)
        verdicts = [_verdict(facts, Cause.BENIGN, part, sentence, harm=False)]
    return verdicts


def _of_robot(facts: Facts, device: str, part: Part) -> Verdict:
    who = f"{device} ({_name(facts)})"
    if part.harmed:
        sentence = f"{who} alone does harm: {_counts(facts, part)}; {_how_siblings(facts)}"
    elif _is_faulty(part):
        sentence = _fault_sentence(facts, part, who)
    elif part.impossible:
        sentence = f"{who} tells what cannot be: {part.impossible} of its windows were set aside."
    else:
        return _verdict(facts, Cause.BENIGN, part, _moved_sentence(who, part), harm=False, device=device)
    harm = part.harmed or _is_faulty(part)
    return _verdict(facts, Cause.ONE_ROBOT, part, sentence, harm=harm, device=device)


def _of_tag(facts: Facts, tag: str, part: Part, *, said: bool, harm: bool) -> list[Verdict]:
    """On one tag, where what is said of all robots does not say it already."""
    who = f"{_name(facts)} with {tag}"
    if part.harmed and not harm:
        cause = _cause_of_harm(facts, part)
        return [_verdict(facts, cause, part, _harm_sentence(facts, cause, part, who), harm=True, tag=tag)]
    if part.moved and not part.harmed and not said:
        return [_verdict(facts, Cause.BENIGN, part, _moved_sentence(who, part), harm=False, tag=tag)]
    return []


def is_optics(part: Part) -> bool:
    """Whether the pictures are otherwise than in testing by more than new goods make them."""
    return any(abs(moved.size) >= OPTICS_SIZE for moved in part.moved if moved.signal in PICTURE)


def alarming(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Verdicts that are worth an alarm: harm of more than single robots, shown by wrong decisions.

    Frames that get no decision are a finding: a machine that is busy for a minute loses some.
    """
    harm = [
        verdict
        for verdict in verdicts
        if verdict.harm
        and not verdict.device
        and (verdict.evidence.get("harmed") or verdict.evidence.get("estimate_harmed"))
    ]
    answered = [verdict for verdict in harm if verdict.patience_s is not None]
    return answered or harm


def _cause_of_harm(facts: Facts, part: Part) -> Cause:
    doubt = max((abs(moved.size) for moved in part.moved if moved.signal not in PICTURE), default=0.0)
    others = (
        part.mix >= MIX_SIZE or (part.embedding or 0.0) >= EMBEDDING_SIZE or part.strange >= STRANGE_SHARE
    )
    if is_optics(part):
        return Cause.OPTICS
    if facts.worse_than_before and not others:
        return Cause.MODEL_FAULT
    return Cause.PRODUCT if others or doubt >= CONFIDENCE_SIZE else Cause.CONCEPT


def _is_faulty(part: Part) -> bool:
    return part.faulty >= FAULTY_SHARE or part.latency_us > 0.0


def _verdict(
    facts: Facts, cause: Cause, part: Part, sentence: str, *, harm: bool, device: str = "", tag: str = ""
) -> Verdict:
    return Verdict(
        cause=cause,
        harm=harm,
        device=device,
        tag=tag,
        sentence=sentence,
        remedy=REMEDIES[cause],
        evidence={**msgspec.to_builtins(part), "harm_rate": facts.harm_rate, "devices": facts.devices},
        since=part.since,
    )


_HOW: Final[Mapping[Cause, str]] = {
    Cause.OPTICS: "The pictures themselves changed",
    Cause.PRODUCT: "Other goods come, or the known ones look otherwise",
    Cause.CONCEPT: "What comes in is as before, so what counts as right has changed",
    Cause.MODEL_FAULT: "It is worse than the version before it on the same inputs",
}


def _harm_sentence(facts: Facts, cause: Cause, part: Part, who: str = "") -> str:
    signs = _signs(part)
    because = f"{_HOW[cause]}{f' ({signs})' if signs else ''}."
    return f"{who or _name(facts)} does harm: {_counts(facts, part)}. {because}"


def _counts(facts: Facts, part: Part) -> str:
    since = datetime.fromtimestamp(part.since, UTC).strftime("%H:%M:%S")
    if part.harmed or part.estimated is None:
        told = f"of {part.labelled} labelled items since {since} UTC {part.wrong} "
        told += f"({part.wrong / max(part.labelled, 1):.0%}) were wrong"
    else:
        told = (
            f"an error rate of {part.estimated.estimate:.1%} is estimated since {since} UTC, without labels"
        )
    return f"{told}, testing showed {facts.reference_rate:.1%}, and harm begins at {facts.harm_rate:.1%}"


def _signs(part: Part) -> str:
    signs = [f"{m.signal} {m.then:.3g} to {m.now:.3g}" for m in part.moved[:3]]
    if part.mix >= MIX_SIZE:
        grown = f", more of {part.gained}" if part.gained else ""
        signs.append(f"{part.mix:.0%} of the decisions changed class{grown}")
    if part.embedding is not None and part.embedding >= EMBEDDING_SIZE:
        signs.append(f"the pictures' embedding moved by {part.embedding:.1f} standard deviations")
    return ", ".join(signs)


def _moved_sentence(who: str, part: Part) -> str:
    return f"{who} sees other input than in testing ({_signs(part)}); no harm is shown."


def _fault_sentence(facts: Facts, part: Part, who: str = "") -> str:
    if part.latency_us:
        what = (
            f"more than {FAULTY_SHARE:.0%} of its decisions take longer than {part.latency_us / 1000:.1f} ms"
        )
    else:
        what = f"{part.faulty:.0%} of {part.frames} frames got no decision of the model, or no number"
    return f"{who or _name(facts)} is at fault: {what}."


def _how_siblings(facts: Facts) -> str:
    siblings: Part = facts.without_apart
    if not siblings.labelled:
        return "its siblings have no labels."
    others: Sequence[str] = [device for device, _ in facts.apart]
    rate = siblings.wrong / siblings.labelled
    return f"the {max(facts.devices - len(others), 0)} robots beside have {rate:.1%} wrong."


def _name(facts: Facts) -> str:
    return f"{facts.model} v{facts.version}"
