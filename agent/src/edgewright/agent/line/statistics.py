"""Statistics of a line: what a window carries, at a few microseconds a frame.

``score`` turns logits into confidence, margin and entropy. ``Tally`` counts the frames of one version and one
tag until it is cut into a ``Window``. No I/O, no clock: times come in as arguments.

Of one frame everything is scalar Python: for ten classes numpy's calls cost more than the arithmetic. Values
that go into histograms and moments are only put down, and counted with numpy some hundred at a time
(``batching``).

A window describes its version: confidence, margin and entropy are those of the active model's decisions only.
Frames, sources, causes, classes and latency count every frame.

A truth counts once an item, under the version that had decided and the source that told it. A source that
tells of some items only, each with a known chance, is weighted by one over that chance (Horvitz and Thompson,
"A generalization of sampling without replacement from a finite universe", 1952); a source that calls a chance
tiny or absurd cannot make one item outweigh ``MAX_WEIGHT`` others.
"""

from collections.abc import Sequence
from math import exp, log
from operator import mul
from typing import Final, NamedTuple

from edgewright.agent.line.batching import BATCH, Counts, add_moments
from edgewright.agent.preprocess import ImageStatistics, Look
from edgewright.agent.windows import OTHER, fitted
from edgewright.wire.cell import Decision, Outcome
from edgewright.wire.messages import Outcomes, Window
from edgewright.wire.moments import Moments

SIGNALS: Final[dict[str, str]] = {
    "confidence": "confidence",
    "margin": "unit",
    "entropy": "unit",
    "latency_us": "latency_us",
    "brightness": "unit",
    "contrast": "unit",
    "sharpness": "sharpness",
    "saturation": "unit",
    "labelled_confidence": "confidence",
    "right_confidence": "confidence",
}
"""Histogram schema of each signal of a window."""

MAX_WEIGHT: Final = 1000.0
"""Of one item's truth."""

_MAX_LABELS: Final = 64
_MAX_LABEL_CHARACTERS: Final = 64
_MAX_SOURCES: Final = 8
"""Pairs of a version and a source in one window; what comes beyond them counts as of the source ``other``."""

_MAX_SOURCE_CHARACTERS: Final = 24


class Scores(NamedTuple):
    """What a model said of one frame.

    Attributes:
        best: index of the most likely class.
        confidence: its probability.
        margin: its distance to the second most likely one.
        entropy: of the probabilities, relative to the largest possible, 0 to 1.
    """

    best: int
    confidence: float
    margin: float
    entropy: float


def score(logits: Sequence[float], temperature: float) -> Scores:
    """Softmax of ``logits / temperature`` (Guo et al., "On calibration of modern neural networks", 2017).

    >>> score([0.0, 0.0], 1.0)
    Scores(best=0, confidence=0.5, margin=0.0, entropy=1.0)
    """
    ascending = sorted(logits)
    top = ascending[-1]
    best = logits.index(top)
    if len(logits) == 1:
        return Scores(best, 1.0, 1.0, 0.0)
    scaled = [(logit - top) / temperature for logit in ascending]
    weights = list(map(exp, scaled))
    total = sum(weights)
    entropy = (log(total) - sum(map(mul, weights, scaled)) / total) / log(len(weights))
    return Scores(best, 1 / total, (1 - weights[-2]) / total, entropy)


class _Told:
    """Sums of what one source told of one version."""

    __slots__ = ("labelled", "weight", "weight_squares", "wrong", "wrong_weight")

    def __init__(self) -> None:
        self.labelled = self.wrong = 0
        self.weight = self.wrong_weight = self.weight_squares = 0.0

    def add(self, wrong: bool, weight: float) -> None:
        self.labelled += 1
        self.weight += weight
        self.weight_squares += weight * weight
        if wrong:
            self.wrong += 1
            self.wrong_weight += weight

    def outcomes(self, version: int, source: str) -> Outcomes:
        return Outcomes(
            version,
            self.labelled,
            self.wrong,
            source,
            self.weight,
            self.wrong_weight,
            self.weight_squares,
        )


class Tally:
    """Counts of one version's frames with one tag.

    Attributes:
        model, version, tag: whose frames.
        grace: whether they came right after a changeover.
        started: when, seconds since the epoch.
        unknown_truths: truths of items that nobody remembers.
    """

    def __init__(self, model: str, version: int, tag: str, started: float, *, grace: bool = False) -> None:
        self.model, self.version, self.tag, self.started = model, version, tag, started
        self.grace = grace
        self.frames = self.unknown_truths = 0
        self._by_source = {"active": 0, "standby": 0, "fallback": 0}
        self._causes: dict[str, int] = {}
        self._classes: dict[str, int] = {}
        self._counts = Counts(SIGNALS)
        self._moments = Moments()
        self._latencies: list[float] = []
        self._scores: list[Scores] = []
        self._looks: list[Look] = []
        self._labelled: list[float] = []
        self._right: list[float] = []
        self._told: dict[tuple[int, str], _Told] = {}
        self._truths: dict[str, list[int]] = {}

    @property
    def empty(self) -> bool:
        """Whether there is nothing to tell."""
        return not (self.frames or self._told or self.unknown_truths)

    def add(self, decision: Decision, scores: Scores | None, cause: str, latency_us: float) -> None:
        """Count one decided frame; ``cause`` says why the active runner did not decide, else it is empty."""
        self.frames += 1
        self._by_source[decision.source] += 1
        label, classes = decision.label, self._classes
        if label not in classes:
            label = _known(label, classes)
        classes[label] = classes.get(label, 0) + 1
        self._latencies.append(latency_us)
        if cause:
            self._causes[cause] = self._causes.get(cause, 0) + 1
        elif scores is not None:
            self._scores.append(scores)
        if len(self._latencies) >= BATCH:
            self._count()

    def add_look(self, look: Look) -> None:
        """Count what the frame that was added last looks like."""
        self._looks.append(look)

    def add_outcome(self, version: int, label: str, outcome: Outcome, confidence: float = 0.0) -> None:
        """Count the truth of an item.

        Args:
            version: that had decided.
            label: its decision.
            outcome: the truth, and who told it.
            confidence: of that decision; 0 where it was not that of an active model.
        """
        truth = clipped(outcome.truth)
        wrong = label != truth
        self._told_by(version, source_of(outcome)).add(wrong, weight_of(outcome.probability))
        counts = self._truths.setdefault(_known(truth, self._truths), [0, 0])
        counts[0] += 1
        counts[1] += wrong
        if version == self.version and confidence > 0:
            self._labelled.append(confidence)
            if not wrong:
                self._right.append(confidence)
            if len(self._labelled) >= BATCH:
                self._count()

    def window(self, device: str, seconds: float) -> Window:
        """The counts as a window of at most 2 KB; ``fitted`` says what goes first where it needs that."""
        self._count()
        return fitted(
            Window(
                device=device,
                stream="",
                seq=0,
                start=self.started,
                seconds=seconds,
                model=self.model,
                version=self.version,
                tag=self.tag,
                frames=self.frames,
                by_source=self._by_source,
                causes=self._causes,
                classes=self._classes,
                histograms=self._counts.packed(),
                outcomes=tuple(told.outcomes(*who) for who, told in sorted(self._told.items())),
                truths={label: (labelled, wrong) for label, (labelled, wrong) in self._truths.items()},
                grace=self.grace,
                embedding=self._moments.pack() if self._moments.n or self._moments.invalid else b"",
                unknown_truths=self.unknown_truths,
            )
        )

    def _count(self) -> None:
        """Count what waits."""
        columns: dict[str, Sequence[float]] = {
            "latency_us": self._latencies,
            "labelled_confidence": self._labelled,
            "right_confidence": self._right,
        }
        if self._scores:
            _, *scores = zip(*self._scores, strict=True)
            columns |= zip(("confidence", "margin", "entropy"), scores, strict=True)
        if self._looks:
            statistics = zip(*[look.statistics for look in self._looks], strict=True)
            columns |= zip(ImageStatistics._fields, statistics, strict=True)
            add_moments(self._moments, [look.embedding for look in self._looks])
        self._counts.add(columns)
        for waiting in (self._latencies, self._labelled, self._right, self._scores, self._looks):
            waiting.clear()

    def _told_by(self, version: int, source: str) -> _Told:
        who = version, source
        if who not in self._told and len(self._told) >= _MAX_SOURCES:
            who = version, OTHER
        told = self._told.get(who)
        if told is None:
            told = self._told[who] = _Told()
        return told


def weight_of(probability: float) -> float:
    """What one item counts for that was chosen with this chance.

    A chance above 1 is one, and one that is tiny, 0 or below counts as ``MAX_WEIGHT``; what is no number says
    nothing, and weighs nothing.

    >>> [weight_of(chance) for chance in (1.0, 0.25, 7.0, 0.0, float("nan"))]
    [1.0, 4.0, 1.0, 1000.0, 0.0]
    """
    if probability == 1.0:
        return 1.0
    if probability != probability:
        return 0.0
    return 1.0 / min(1.0, max(1.0 / MAX_WEIGHT, probability))


def source_of(outcome: Outcome) -> str:
    """Who told a truth, short enough for a window; its sample says the same, so that audits can judge it."""
    return outcome.source[:_MAX_SOURCE_CHARACTERS]


def clipped(text: str) -> str:
    """A tag or label of the machine, short enough for a window."""
    return text[:_MAX_LABEL_CHARACTERS]


def _known(label: str, counted: dict[str, int] | dict[str, list[int]]) -> str:
    if label in counted:
        return label
    return clipped(label) if len(counted) < _MAX_LABELS else OTHER
