"""What the evidence says of one version: detectors and sums, fed by windows, frozen for readers.

Two questions are kept apart. *Harm*: has the error rate risen above what testing promised, by more than the
tolerance? It is asked of the labels of each source (``told``), of audits, which are one more source, and,
where labels are few, of the confidences (``estimated``). *Change*: do the inputs or the confidences lie
elsewhere (``shifts``)? That is worth a note, and benign until harm is shown (Podkopaev, Ramdas, "Tracking the
risk of a deployed model and detecting harmful distribution shifts", ICLR 2022).

The error rate in testing is itself an estimate, so the null is its upper confidence bound plus the tolerance.

Windows come one after another, by their time; the state depends on nothing else. ``facts`` puts together what
``verdict.judge`` decides on.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from math import isfinite, log
from typing import Final

import msgspec

from edgewright.controller.evidence.baselines import Baselines, StoredReference
from edgewright.controller.evidence.confidence_sequence import Interval, rate_interval
from edgewright.controller.evidence.edetector import MeanDetector
from edgewright.controller.evidence.estimated import ENOUGH_LABELS, Estimated, Sure
from edgewright.controller.evidence.seats import Seats
from edgewright.controller.evidence.shifts import ALL, ROBOT, TAG, Look, Shifts
from edgewright.controller.evidence.signals import Baseline, Seen
from edgewright.controller.evidence.targets import Targets
from edgewright.controller.evidence.told import Harm, Heard, Told, supported
from edgewright.controller.evidence.two_rates import Counts, log_evidence_worse
from edgewright.controller.evidence.verdict import Facts, Part, apart_by_e_bh, is_optics
from edgewright.wire.messages import Window

INTERVAL_ALPHA: Final = 0.05

MOST_NAMED: Final = 16
"""Robots and tags that facts list one by one."""

YOUNG_S: Final = 600.0
"""After a version's first window: harm that begins within this time may be the version's own fault."""

BEFORE_S: Final = 1800.0
"""Of the version before, as long before: what it did on these inputs."""

WORSE_LOG: Final = log(20.0)


class VersionHealth(msgspec.Struct, frozen=True, kw_only=True):
    """The evidence of one version at one moment.

    Attributes:
        labelled, wrong: outcomes of its decisions so far.
        error_rate: estimate and 95 % confidence sequence over all of them, each with its weight.
        reference_rate, harm_rate: promised by testing, and from where on it is harm.
        evidence, threshold: e-detector of harm, and the average run length at which it alarms, in windows.
        harmed: whether the threshold is reached.
        onset_at: when the rise most likely began, seconds since the epoch; None without evidence.
        since_onset: labelled and wrong items since then.
        confidence, reference_confidence: means; None without values.
        change_evidence: e-detector of fallen confidence, same threshold.
        changed: whether that one is reached.
    """

    model: str
    version: int
    labelled: int
    wrong: int
    error_rate: Interval
    reference_rate: float
    harm_rate: float
    evidence: float
    threshold: float
    harmed: bool
    onset_at: float | None
    since_onset: tuple[int, int]
    confidence: float | None
    reference_confidence: float | None
    change_evidence: float
    changed: bool

    @property
    def harm_sentence(self) -> str:
        """One sentence with the numbers that raise an alarm."""
        labelled, wrong = self.since_onset
        since = datetime.fromtimestamp(self.onset_at or 0.0, UTC).strftime("%H:%M:%S")
        return (
            f"{self.model} v{self.version} does harm: of {labelled} labelled items since {since} UTC {wrong} "
            f"({wrong / max(labelled, 1):.0%}) were wrong, testing showed {self.reference_rate:.1%}, and "
            f"harm begins at {self.harm_rate:.1%}; by chance once in {self.threshold:,.0f} windows."
        )

    @property
    def change_sentence(self) -> str:
        """One sentence with the numbers of a change."""
        now, then = self.confidence or 0.0, self.reference_confidence or 0.0
        return (
            f"The confidence of {self.model} v{self.version} has fallen ({now:.3f} on average, {then:.3f} in "
            f"testing); whether that does harm is for the labelled items to show."
        )


class VersionEvidence:
    """Detectors and sums of one version; see the module's text.

    Attributes:
        baselines: what its windows are held against, by tag.
        distrusted: sources of labels that audits have set aside.
        first_at: start of its first window, seconds since the epoch; infinite before it.
    """

    def __init__(
        self,
        model: str,
        version: int,
        targets: Targets,
        *,
        tolerance: float,
        run_length: float,
        latency_limit_us: float = 0.0,
        stored: Iterable[StoredReference] = (),
    ) -> None:
        self.baselines = Baselines(targets, stored)
        self.distrusted: frozenset[str] = frozenset()
        self.first_at = float("inf")
        self._of = (model, version)
        self._targets = targets
        self._reference = reference = targets.weakest
        self._tolerance = tolerance
        self._run_length = run_length
        self._harm_rate = reference.harm_rate(tolerance)
        self._change = MeanDetector(targets.doubt_bound, run_length)
        self._told: dict[str, Told] = {}
        self._seats = Seats()
        self._shifts = Shifts(run_length, latency_limit_us)
        self._estimated = Estimated.of(targets.references, self._harm_rate, run_length)
        self._impossible: dict[str, int] = {}
        self._confidence = (0.0, 0)

    def observe(self, windows: Sequence[tuple[Window, Seen]]) -> None:
        """Take windows with frames that this version decided, in order."""
        self.first_at = min(self.first_at, *(window.start for window, _ in windows))
        self._shifts.observe([self._look(window, seen) for window, seen in windows])
        sure = [
            Sure(window.start, window.device, self._targets.of(window.device), seen.histograms["confidence"])
            for window, seen in windows
            if "confidence" in seen.histograms
        ]
        if sure:
            self._observe_confidence(sure)
        harmed = any(told.detector.alarm for told in self._trusted().values())
        for window, seen in windows:
            if harmed:
                self.baselines.spoil(window.tag)
            else:
                self.baselines.learn(window, seen, len(self._shifts.robots))

    def _look(self, window: Window, seen: Seen) -> Look:
        tag, baseline = self.baselines.told_apart(window.tag), self.baselines.of(window)
        return Look(msgspec.structs.replace(window, tag=tag), seen, baseline)

    def _observe_confidence(self, sure: Sequence[Sure]) -> None:
        means = [one.confidence.mean() for one in sure]
        total, windows = self._confidence
        self._confidence = (total + sum(means), windows + len(means))
        doubts = [self._targets.doubt(one.target, 1.0 - mean) for one, mean in zip(sure, means, strict=True)]
        known = [number for number, doubt in enumerate(doubts) if isfinite(doubt)]
        self._change.observe([doubts[number] for number in known], [sure[number].at for number in known])
        if self._estimated is not None:
            self._estimated.observe(sure)

    def observe_outcomes(self, heard: Sequence[Heard]) -> None:
        """Take labels of this version's decisions, in the order of their windows."""
        by_source: dict[str, list[Heard]] = {}
        for one in heard:
            source = self._seats.of(one.told.source, one.device)
            if source not in self._told:
                self._told[source] = Told(self._harm_rate, self._run_length)
            told_apart = one._replace(tag=self.baselines.told_apart(one.tag))
            by_source.setdefault(source, []).append(told_apart)
        for source, some in by_source.items():
            self._told[source].observe(some)

    def forget_source(self, source: str) -> None:
        """Forget what a source told, before it is told anew."""
        self._told.pop(source, None)

    def set_aside(self, device: str) -> None:
        """Note that a window of a robot told what cannot be."""
        self._impossible[device] = self._impossible.get(device, 0) + 1

    @property
    def has_any(self) -> bool:
        """Whether a window or a label has come."""
        return isfinite(self.first_at) or bool(self._told)

    @property
    def changed(self) -> bool:
        """Whether the confidence has fallen."""
        return self._change.alarm

    @property
    def sources(self) -> set[str]:
        """Who told labels."""
        return set(self._told)

    @property
    def signature(self) -> tuple[object, ...]:
        """What has reached its threshold; verdicts can change at once where this does."""
        alarms = tuple(told.flagged for told in self._told.values())
        estimated = self._estimated is not None and self._estimated.harmed
        return (alarms, estimated, self._shifts.open_rows, len(self._impossible), self.distrusted)

    @property
    def flagged(self) -> bool:
        """Whether anything has reached its threshold."""
        labels = any(told.flagged for told in self._told.values())
        estimated = self._estimated is not None and self._estimated.harmed
        return bool(labels or estimated or self._shifts.open_rows or self._impossible)

    def shows_harm(self, since: float, tag: str) -> bool:
        """Whether the trusted labels from then on show harm by themselves: of one tag, or of all."""
        return supported(tuple(self._trusted().values()), since, tag)

    def lately(self, until: float) -> Counts:
        """What its trusted labels said in the last half hour before a time."""
        blocks = [
            block
            for told in self._trusted().values()
            for block in told.recent
            if until - BEFORE_S <= block.at < until
        ]
        return Counts(round(sum(b.labelled for b in blocks)), round(sum(b.wrong for b in blocks)))

    def health(self) -> VersionHealth:
        """The evidence now."""
        trusted, reference = self._trusted(), self._reference
        tested = self._targets.references[self._targets.of_most(self._shifts.robots)]
        leading, harm = self._leading()
        onset = harm.onset_at if isfinite(harm.onset_at) else None
        since = leading.since(onset) if leading is not None and onset is not None else None
        labelled = sum(told.labelled for told in trusted.values())
        wrong = sum(told.wrong for told in trusted.values())
        total, windows = self._confidence
        return VersionHealth(
            model=self._of[0],
            version=self._of[1],
            labelled=labelled,
            wrong=wrong,
            error_rate=_error_rate(tuple(trusted.values())),
            reference_rate=reference.error_rate,
            harm_rate=self._harm_rate,
            evidence=leading.evidence() if leading is not None else 0.0,
            threshold=self._run_length,
            harmed=harm.harmed,
            onset_at=onset,
            since_onset=(round(since.labelled), round(since.wrong)) if since else (0, 0),
            confidence=total / windows if windows else None,
            reference_confidence=1.0 - tested.doubt if tested.doubt_n else None,
            change_evidence=self._change.evidence,
            changed=self.changed,
        )

    def facts(self, before: Counts | None = None) -> Facts:
        """Everything that a verdict is made of; ``before`` is what the version before did lately."""
        leading, harm = self._leading()
        robots = len(self._shifts.robots)
        moved, faulty = self._struck(self._moved_robots()), self._struck(self._shifts.faulty_rows(ROBOT))
        apart = dict.fromkeys([*harm.apart, *faulty.robots, *sorted(self._impossible), *moved.robots])
        named = tuple(apart)[:MOST_NAMED]
        fleet = self._fleet(leading, harm, moved, faulty)
        tags = tuple(dict.fromkeys([*harm.tags, *self._shifts.moved_rows(TAG)]))[:MOST_NAMED]
        return Facts(
            model=self._of[0],
            version=self._of[1],
            reference_rate=self._reference.error_rate,
            harm_rate=self._harm_rate,
            run_length=self._run_length,
            devices=robots,
            fleet=fleet,
            without_apart=self._without(fleet, harm),
            apart=tuple((device, self._robot(device, leading, harm)) for device in named),
            tags=tuple((tag, self._tag(tag, leading, harm)) for tag in tags),
            worse_than_before=self._is_worse(fleet, before),
        )

    def _fleet(self, leading: Told | None, harm: Harm, moved: "_Struck", faulty: "_Struck") -> Part:
        estimated = self._estimated
        by_estimate = estimated is not None and estimated.harmed and not self._labels_decide()
        part = self._shifts.part(ALL, self._testing(), settled=harm.harmed or by_estimate)
        # In another light the same confidence need not be worth the same: then only labels can tell.
        by_estimate = by_estimate and not is_optics(part)
        harmed = harm.harmed or by_estimate
        since = harm.onset_at if harm.harmed else part.since
        if by_estimate and not harm.harmed and estimated is not None:
            since = estimated.onset_at
        part = msgspec.structs.replace(
            part,
            harmed=harm.harmed,
            log_evidence=harm.log_evidence,
            since=since if isfinite(since) else 0.0,
            estimated=estimated.error_rate if by_estimate and estimated is not None else None,
            estimate_harmed=by_estimate,
            moved=part.moved if harmed or moved.all_of_them else (),
            faulty=part.faulty if faulty.all_of_them else 0.0,
            latency_us=part.latency_us if faulty.all_of_them else 0.0,
        )
        return self._labels(part, leading, part.since)

    def _testing(self) -> Baseline:
        """What the fleet as one is compared with: the test of the target that most robots have."""
        return self._targets.baseline_of_most(self._shifts.robots)

    def _robot(self, device: str, leading: Told | None, harm: Harm) -> Part:
        harmed = device in harm.apart
        part = self._shifts.part(ROBOT + device, self._targets.baseline(device), settled=harmed)
        part = msgspec.structs.replace(part, harmed=harmed, impossible=self._impossible.get(device, 0))
        if harmed and leading is not None:
            onset = leading.onset_of(device=device)
            part = msgspec.structs.replace(part, since=onset, log_evidence=leading.log_evidence_of(device))
        return self._labels(part, leading, part.since, device=device)

    def _tag(self, tag: str, leading: Told | None, harm: Harm) -> Part:
        harmed = tag in harm.tags
        part = self._shifts.part(TAG + tag, self.baselines.of_tag(tag) or self._testing(), settled=harmed)
        if harmed and leading is not None:
            part = msgspec.structs.replace(part, harmed=True, since=leading.onset_of(tag=tag))
        return self._labels(part, leading, part.since, tag=tag)

    def _labels(
        self,
        part: Part,
        leading: Told | None,
        since: float,
        *,
        device: str = "",
        tag: str = "",
    ) -> Part:
        if leading is None:
            return part
        block = leading.since(since, device=device, tag=tag)
        return msgspec.structs.replace(part, labelled=round(block.labelled), wrong=round(block.wrong))

    def _without(self, fleet: Part, harm: Harm) -> Part:
        """The fleet with the labels of the others, whatever source told them."""
        others = [told.since(harm.onset_at, but=harm.apart) for told in self._trusted().values()]
        labelled, wrong = sum(block.labelled for block in others), sum(block.wrong for block in others)
        return msgspec.structs.replace(fleet, labelled=round(labelled), wrong=round(wrong))

    def _leading(self) -> tuple[Told | None, Harm]:
        """The trusted source that says most, and what it says."""
        trusted = tuple(self._trusted().values())
        if not trusted:
            return None, Harm()
        said = [(told, told.harm(trusted)) for told in trusted]
        return max(said, key=lambda pair: (pair[1].harmed, bool(pair[1].apart), pair[1].log_evidence))

    def _trusted(self) -> dict[str, Told]:
        if not self.distrusted:
            return self._told
        return {source: told for source, told in self._told.items() if source not in self.distrusted}

    def _labels_decide(self) -> bool:
        """Whether enough labels came since the estimate began to rise: of more than half of the robots.

        A robot that tells many decides for itself, and for no more than its part.
        """
        if self._estimated is None:
            return False
        found: dict[str, float] = {}
        for told in self._trusted().values():
            for device, labelled in told.by_robot(self._estimated.onset_at).items():
                found[device] = found.get(device, 0.0) + labelled
        needed = len(self._shifts.robots | found.keys()) // 2 + 1
        return sum(min(labelled * needed / ENOUGH_LABELS, 1.0) for labelled in found.values()) >= needed

    def _moved_robots(self) -> tuple[str, ...]:
        run_length, robots = self._shifts.run_length, max(len(self._shifts.robots), 1)
        found = apart_by_e_bh(self._shifts.robot_evidence(log(run_length / robots)), run_length)
        return tuple(dict.fromkeys([*found, *self._shifts.moved_rows(ROBOT)]))

    def _struck(self, robots: tuple[str, ...]) -> "_Struck":
        """Whether so many robots are all, or some that stand apart."""
        known = len(self._shifts.robots)
        if known == 1 or 2 * len(robots) > known or not robots:
            return _Struck((), all_of_them=True)
        return _Struck(robots, all_of_them=False)

    def _is_worse(self, fleet: Part, before: Counts | None) -> bool:
        if before is None or not before.labelled or not fleet.harmed:
            return False
        if fleet.since > self.first_at + YOUNG_S:
            return False
        now = Counts(fleet.labelled, fleet.wrong)
        return log_evidence_worse(now, before, self._tolerance) >= WORSE_LOG


def _error_rate(heard: Sequence[Told]) -> Interval:
    """Of weighted labels: as many evenly chosen ones as would tell as much (Kish 1965)."""
    weight, wrong, squares = (sum(told.sums[field] for told in heard) for field in range(3))
    items = weight**2 / squares if squares else 0.0
    return rate_interval(items, items * wrong / weight if items else 0.0, INTERVAL_ALPHA)


class _Struck(msgspec.Struct, frozen=True):
    """Robots that stand apart; none where all are meant."""

    robots: tuple[str, ...]
    all_of_them: bool
