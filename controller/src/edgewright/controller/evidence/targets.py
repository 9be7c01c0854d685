"""What testing showed of each target, and which robot is of which.

A version is one network and several artifacts. A network of whole numbers is less sure of itself than the one
it was made from, and is no worse for it; so what a robot does is held against the test of its own artifact.
The promise on errors is one for all: the weakest of them, which is the one that all keep.

A robot whose target is not known is held against the test that made the weakest promise.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from math import nan
from typing import Final

from edgewright.controller.evidence.reference import Reference
from edgewright.controller.evidence.signals import SIGNALS, Baseline
from edgewright.wire.errors import MessageError
from edgewright.wire.histograms import Histogram
from edgewright.wire.moments import Moments

UNKNOWN: Final = ""
"""The name of the target of robots whose own is not known."""


class Targets:
    """See the module's text.

    Attributes:
        weakest: the reference whose promise on errors is the weakest.
        references: what testing showed, by target.
        doubt_bound: the highest of the targets' bounds of doubt.
    """

    def __init__(
        self,
        weakest: Reference,
        by_target: Mapping[str, Reference],
        target_of: Mapping[str, str],
    ) -> None:
        self.weakest = weakest
        self.references: dict[str, Reference] = {UNKNOWN: weakest, **by_target}
        self._bounds = {target: one.doubt_bound for target, one in self.references.items() if one.doubt_n}
        self.doubt_bound = max(self._bounds.values(), default=weakest.doubt_bound)
        self._target_of = target_of
        self._baselines = {
            target: baseline_of(one.histograms, one.classes, one.embedding)
            for target, one in self.references.items()
        }

    def of(self, device: str) -> str:
        """The target of a robot, of those in ``references``."""
        target = self._target_of.get(device, UNKNOWN)
        return target if target in self.references else UNKNOWN

    def doubt(self, target: str, mean: float) -> float:
        """A window's mean doubt, raised by as much as its target's bound lies below the highest of all.

        So it lies below ``doubt_bound`` on average while it lies below its own target's bound, and one
        detector serves all. Not a number where testing told no confidences.
        """
        if target not in self._bounds:
            return nan
        return min(mean + self.doubt_bound - self._bounds[target], 1.0)

    def baseline(self, device: str) -> Baseline:
        """What windows of a robot are held against where they have no tag."""
        return self._baselines[self.of(device)]

    def of_most(self, devices: Iterable[str]) -> str:
        """The target of most of these robots."""
        found = Counter(self.of(device) for device in devices)
        return max(sorted(found), key=lambda target: found[target], default=UNKNOWN)

    def baseline_of_most(self, devices: Iterable[str]) -> Baseline:
        """What they are compared with as one."""
        return self._baselines[self.of_most(devices)]


def baseline_of(histograms: Mapping[str, bytes], classes: Mapping[str, int], embedding: bytes) -> Baseline:
    """Of what can be read of a reference."""
    read = {}
    for signal, packed in histograms.items():
        if signal in SIGNALS:
            try:
                read[signal] = Histogram.unpack(packed)
            except MessageError:
                continue  # of another release: nothing is compared with it
    try:
        moments = Moments.unpack(embedding) if embedding else None
    except MessageError:
        moments = None
    return Baseline(read, classes, moments)
