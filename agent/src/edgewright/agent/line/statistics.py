"""Statistics of a line: what a window carries, at a few microseconds a frame.

``score`` turns logits into confidence, margin and entropy. ``Tally`` counts the frames of one version and one
tag until it is cut into a ``Window``. Everything is scalar Python: for ten classes numpy's calls cost more
than the arithmetic. No I/O, no clock: times come in as arguments.

A window describes its version: confidence, margin and entropy are those of the active model's decisions only.
Frames, sources, causes, classes and latency count every frame.
"""

from collections.abc import Sequence
from math import exp, log
from operator import mul
from typing import Final, NamedTuple

from edgewright.agent.windows import OTHER, fitted
from edgewright.wire.cell import Decision
from edgewright.wire.histograms import Histogram
from edgewright.wire.messages import Outcomes, Window

SIGNALS: Final[dict[str, str]] = {
    "confidence": "confidence",
    "margin": "unit",
    "entropy": "unit",
    "latency_us": "latency_us",
    "brightness": "unit",
    "contrast": "unit",
    "sharpness": "sharpness",
}
"""Histogram schema of each signal of a window."""

_MAX_LABELS: Final = 64
_MAX_LABEL_CHARACTERS: Final = 64


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


class Tally:
    """Counts of one version's frames with one tag.

    Attributes:
        model, version, tag: whose frames.
        started: when, seconds since the epoch.
    """

    def __init__(self, model: str, version: int, tag: str, started: float) -> None:
        self.model, self.version, self.tag, self.started = model, version, tag, started
        self.frames = 0
        self._by_source = {"active": 0, "standby": 0, "fallback": 0}
        self._causes: dict[str, int] = {}
        self._classes: dict[str, int] = {}
        self._histograms = {signal: Histogram(schema) for signal, schema in SIGNALS.items()}
        self._add_confidence = self._histograms["confidence"].add
        self._add_margin = self._histograms["margin"].add
        self._add_entropy = self._histograms["entropy"].add
        self._add_latency = self._histograms["latency_us"].add
        self._outcomes: dict[int, list[int]] = {}
        self._truths: dict[str, list[int]] = {}

    @property
    def empty(self) -> bool:
        """Whether there is nothing to tell."""
        return not self.frames and not self._outcomes

    def add(self, decision: Decision, scores: Scores | None, cause: str, latency_us: float) -> None:
        """Count one decided frame; ``cause`` says why the active runner did not decide, else it is empty."""
        self.frames += 1
        self._by_source[decision.source] += 1
        label = _known(decision.label, self._classes)
        self._classes[label] = self._classes.get(label, 0) + 1
        self._add_latency(latency_us)
        if cause:
            self._causes[cause] = self._causes.get(cause, 0) + 1
        elif scores is not None:
            self._add_confidence(scores.confidence)
            self._add_margin(scores.margin)
            self._add_entropy(scores.entropy)

    def add_image(self, brightness: float, contrast: float, sharpness: float) -> None:
        """Count one frame's image statistics."""
        self._histograms["brightness"].add(brightness)
        self._histograms["contrast"].add(contrast)
        self._histograms["sharpness"].add(sharpness)

    def add_outcome(self, version: int, label: str, truth: str) -> None:
        """Count the truth of an item that ``version`` had decided as ``label``."""
        wrong = int(label != truth)
        for counts in (
            self._outcomes.setdefault(version, [0, 0]),
            self._truths.setdefault(_known(truth, self._truths), [0, 0]),
        ):
            counts[0] += 1
            counts[1] += wrong

    def window(self, device: str, seconds: float) -> Window:
        """The counts as a window of at most 2 KB; where it needs that, rare labels become ``other``."""
        window = Window(
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
            histograms={signal: counts.pack() for signal, counts in self._histograms.items()},
            outcomes=tuple(
                Outcomes(version, counts[0], counts[1]) for version, counts in sorted(self._outcomes.items())
            ),
            truths={label: (labelled, wrong) for label, (labelled, wrong) in self._truths.items()},
        )
        return fitted(window)


def clipped(text: str) -> str:
    """A tag or label of the machine, short enough for a window."""
    return text[:_MAX_LABEL_CHARACTERS]


def _known(label: str, counted: dict[str, int] | dict[str, list[int]]) -> str:
    if label in counted:
        return label
    return clipped(label) if len(counted) < _MAX_LABELS else OTHER
