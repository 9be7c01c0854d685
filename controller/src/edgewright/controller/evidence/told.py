"""What one source tells of one version's decisions: labelled items and wrong ones, by robot and by tag.

Evidence of harm is taken three ways from the same blocks: of all robots together, which is the quickest where
all are struck; of each robot, which tells who is struck; of each tag. A robot's labels are bounded elsewhere
(``plausible``), and even so one robot that lies must not speak for all: ``harm`` asks whether the others,
without it, say the same.

Labels that were chosen with known chances count by their weights, in parts of the largest (``weights``). For
equal chances those are the plain counts.
"""

from collections import deque
from collections.abc import Sequence
from math import exp, inf, isfinite, log
from typing import Final, NamedTuple

import numpy as np

from edgewright.controller.evidence.bank import CAP_LOG, Bank, Floats, rate_steps
from edgewright.controller.evidence.edetector import BETS, LARGEST_BET, SMALLEST_BET, ErrorRateDetector
from edgewright.controller.evidence.verdict import apart_by_e_bh
from edgewright.controller.evidence.weights import Sums, Weights, sums_of
from edgewright.wire.messages import Outcomes

RECENT_BLOCKS: Final = 4096
"""Blocks that are remembered one by one, to say what happened since an onset."""

SUPPORT_LOG: Final = log(20.0)
"""What the other robots' labels since the onset have to say, as an e-value: once in twenty by chance."""


class Block(NamedTuple):
    """Labels that one window brought; effective numbers."""

    at: float
    device: str
    tag: str
    labelled: float
    wrong: float


class Heard(NamedTuple):
    """What one window says of one version and source."""

    at: float
    device: str
    tag: str
    told: Outcomes


class Harm(NamedTuple):
    """What the labels of a source say now.

    Attributes:
        harmed: whether they show harm of more than a minority of robots.
        apart: robots that show it alone.
        tags: tags that show it where ``harmed`` is false.
        onset_at: infinite without evidence.
        log_evidence: of all together.
    """

    harmed: bool = False
    apart: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    onset_at: float = inf
    log_evidence: float = -inf


class Told:
    """See the module's text.

    Attributes:
        detector: of all robots together.
        labelled, wrong: items so far.
        sums: of their weights.
        recent: the last blocks.
        robots: that have told any.
    """

    def __init__(self, rate: float, run_length: float) -> None:
        self.detector = ErrorRateDetector(rate, run_length, ceiling=CAP_LOG)
        self.labelled = 0
        self.wrong = 0
        self.sums = Sums(0.0, 0.0, 0.0)
        self.recent: deque[Block] = deque(maxlen=RECENT_BLOCKS)
        self._rate = rate
        self._bets: Floats = rate + (1.0 - rate) * np.geomspace(SMALLEST_BET, LARGEST_BET, BETS)
        self._devices = Bank(BETS, run_length)
        self._tags = Bank(BETS, run_length)
        self.robots: set[str] = set()
        self._weights = Weights()

    def observe(self, told: Sequence[Heard]) -> None:
        """Take labels of this version and source, in the order of their windows."""
        counts = [self._weights.count(one.device, one.told) for one in told]
        blocks = [Block(w.at, w.device, w.tag, *n) for w, n in zip(told, counts, strict=True)]
        self.labelled += sum(one.told.labelled for one in told)
        self.wrong += sum(one.told.wrong for one in told)
        self.sums = Sums(*map(sum, zip(self.sums, *(sums_of(one.told) for one in told), strict=True)))
        blocks = [block for block in blocks if block.labelled]
        if not blocks:
            return
        self.recent.extend(blocks)
        self.robots.update(block.device for block in blocks)
        at, labelled, wrong = (
            np.array([block[field] for block in blocks], dtype=np.float64) for field in (0, 3, 4)
        )
        self.detector.observe(labelled.tolist(), wrong.tolist(), at.tolist())
        steps = rate_steps(labelled, wrong, self._rate, self._bets)
        self._devices.observe([block.device for block in blocks], steps, at)
        tagged = [number for number, block in enumerate(blocks) if block.tag]
        if tagged:
            self._tags.observe([blocks[number].tag for number in tagged], steps[tagged], at[tagged])

    @property
    def flagged(self) -> bool:
        """Whether all together, a robot or a tag has reached its run length."""
        return self.detector.alarm or bool(self._devices.open or self._tags.open)

    def harm(self, heard: Sequence["Told"]) -> Harm:
        """What they say, one of the sources that are heard: each needs that many times the evidence.

        Robots that tell labels are siblings by whatever source: one with a source of its own is not alone.
        """
        sources, robots = len(heard), frozenset[str]().union(*(one.robots for one in heard))
        pooled = self.detector.log_evidence >= log(self.detector.run_length * sources)
        apart = self._standing_apart(sources)
        onset = self.detector.onset_at
        if not pooled and not apart and not self._tags.open:
            return Harm(onset_at=onset, log_evidence=self.detector.log_evidence)
        many = len(apart) > max(1, len(robots) // 2)
        alone = len(robots) == 1
        harmed = many or (pooled and (alone or self._others_agree(apart, onset, "", heard)))
        if pooled and not harmed and not apart:
            apart = self._strongest()
        tags = [
            tag
            for tag in sorted(self._tags.open)
            if not harmed and (alone or self._others_agree(apart, self.onset_of(tag=tag), tag, heard))
        ]
        return Harm(harmed, () if harmed else apart, tuple(tags), onset, self.detector.log_evidence)

    def since(self, onset: float, *, device: str = "", tag: str = "", but: tuple[str, ...] = ()) -> Block:
        """Sums of the blocks since the onset: of one robot, of one tag, or of all but some robots."""
        labelled = wrong = 0.0
        for block in self.recent:
            of_device = block.device == device if device else block.device not in but
            if block.at >= onset and of_device and (not tag or block.tag == tag):
                labelled += block.labelled
                wrong += block.wrong
        return Block(onset, device, tag, labelled, wrong)

    def by_robot(self, onset: float) -> dict[str, float]:
        """Labels since the onset, by robot."""
        found: dict[str, float] = {}
        for block in self.recent:
            if block.at >= onset:
                found[block.device] = found.get(block.device, 0.0) + block.labelled
        return found

    def onset_of(self, *, device: str = "", tag: str = "") -> float:
        """When harm of one robot or of one tag most likely began."""
        onset = self._devices.onset_at(device) if device else self._tags.onset_at(tag)
        return onset if isfinite(onset) else 0.0

    def log_evidence_of(self, device: str) -> float:
        """Evidence of harm of one robot."""
        return self._devices.log_evidence(device)

    def evidence(self) -> float:
        """Of all together, as a number that people compare with the run length."""
        return exp(min(self.detector.log_evidence, 700.0))

    def _standing_apart(self, sources: int) -> tuple[str, ...]:
        run_length = self.detector.run_length * sources
        least = log(run_length / max(len(self.robots), 1))
        found = apart_by_e_bh(self._devices.above(least), run_length)
        return (*found, *sorted(self._devices.open - set(found)))

    def _strongest(self) -> tuple[str, ...]:
        evidence = self._devices.above(-inf)
        return (max(sorted(evidence), key=lambda device: evidence[device]),) if evidence else ()

    def _others_agree(self, apart: tuple[str, ...], onset: float, tag: str, heard: Sequence["Told"]) -> bool:
        """Whether harm is shown without those robots, and in any case without the one that shows most."""
        return supported(heard, onset, tag, (*apart, *self._strongest()))

    def support(self, onset: float, tag: str, but: tuple[str, ...]) -> float:
        """What labels since an onset say of harm, without some robots, of a tag or of all: a log e-value."""
        others = self.since(onset, tag=tag, but=but)
        counts = np.array([[others.labelled], [others.wrong]])
        steps = rate_steps(counts[0], counts[1], self._rate, self._bets)[0]
        return float(np.logaddexp.reduce(steps)) - log(BETS)


def supported(heard: Sequence[Told], onset: float, tag: str, but: tuple[str, ...] = ()) -> bool:
    """Whether labels since an onset show harm by themselves, whatever came before: without some robots.

    Sources may tell of the same items, so their e-values are averaged: a mean of e-values is one.
    """
    support = [one.support(onset, tag, but) for one in heard]
    return bool(support) and float(np.logaddexp.reduce(support)) - log(len(support)) >= SUPPORT_LOG
