"""Whether a candidate may replace the running version, decided over measurements; nothing is measured here.

A rung of the recipe's ladder makes a candidate, and two gates look at it:

- *Better now*: on fresh labelled items that it was not fitted to, its accuracy has to be above the running
  version's by more than the margin. The test is paired by item (``evidence.paired``), and its error
  probability is shared out over the rungs, because all of them are judged on the same items.
- *Nothing forgotten*: on the holdout frames of the running version it may lose a few points at most, and no
  class may be given up for the others. These are plain differences on a fixed set.

What is better now and forgets is refused; but what a class means may have changed, or old labels be wrong,
and no gate can tell that from forgetting. So the last candidate of a rebuild that is better now waits for a
person, who can.

>>> now = Pairs(gained=30, lost=2, same=58)
>>> verdict = judge(Measured(now, 400, 364, 360), margin=0.02, alpha=0.025)
>>> verdict.passed, verdict.sentence
(True, 'Better on 90 fresh items by 31 points (at least 13); 1.0 points lost on 400 old frames.')
"""

from math import log
from typing import Final

import msgspec

from edgewright.controller.evidence.paired import Pairs, log_evidence_better, lower_bound

GATE_ALPHA: Final = 0.05
"""Probability that any rung of a rebuild passes without being better by the margin."""

MOST_FORGOTTEN: Final = 0.03
"""Accuracy that may be lost on old frames: a class that is added takes a few of its neighbours' items."""

MOST_FORGOTTEN_CLASS: Final = 0.2
"""The same of one class: with fifty frames two standard errors of such a difference are 0.12."""

CLASS_FRAMES: Final = 20
"""A class with fewer old frames is not looked at alone: one frame would be more than 5 points."""


class ClassCounts(msgspec.Struct, frozen=True):
    """Old frames of one class, and how many the running version and the candidate get right."""

    frames: int
    right_before: int
    right_after: int

    @property
    def forgotten(self) -> float:
        """Accuracy lost, negative where it was gained."""
        return (self.right_before - self.right_after) / max(self.frames, 1)


class Measured(msgspec.Struct, frozen=True):
    """What the worker measured of a candidate.

    Attributes:
        fresh: gate items by who was right.
        old: holdout frames of the running version.
        old_right_before, old_right_after: how many of them the running version and the candidate get right.
        old_classes: the same of each class.
        fresh_right_after: gate items that the candidate gets right.
    """

    fresh: Pairs
    old: int
    old_right_before: int
    old_right_after: int
    old_classes: dict[str, ClassCounts] = {}
    fresh_right_after: int = 0

    @property
    def worst_class(self) -> tuple[str, float]:
        """The class that lost most, and how much; nothing where no class has frames enough."""
        looked_at = {name: c.forgotten for name, c in self.old_classes.items() if c.frames >= CLASS_FRAMES}
        return max(looked_at.items(), key=lambda item: item[1], default=("", 0.0))

    @property
    def forgotten(self) -> float:
        """Accuracy lost on old frames, negative where it was gained."""
        return (self.old_right_before - self.old_right_after) / max(self.old, 1)


class RungVerdict(msgspec.Struct, frozen=True):
    """May it pass, a sentence that says why, the numbers behind it, and whether it is better now."""

    passed: bool
    sentence: str
    numbers: dict[str, float]
    better: bool


def judge(measured: Measured, *, margin: float, alpha: float) -> RungVerdict:
    """The verdict on one rung.

    Args:
        measured: see there.
        margin: gain in accuracy that is not enough, absolute.
        alpha: error probability of this rung.
    """
    fresh, forgotten = measured.fresh, measured.forgotten
    evidence, needed = log_evidence_better(fresh, margin), log(1 / alpha)
    bound = lower_bound(fresh, alpha) if fresh.items else -1.0
    worst, most = measured.worst_class
    better, kept = evidence >= needed, forgotten <= MOST_FORGOTTEN and most <= MOST_FORGOTTEN_CLASS
    numbers = {
        "items": fresh.items,
        "gained": fresh.gained,
        "lost": fresh.lost,
        "gain_at_least": bound,
        "margin": margin,
        "log_evidence": evidence,
        "log_evidence_needed": needed,
        "old_frames": measured.old,
        "forgotten": forgotten,
        "forgotten_worst_class": most,
    }
    gain = 100 * fresh.difference if fresh.items else 0.0
    first = "Better" if better else "Not shown to be better"
    sentence = (
        f"{first} on {fresh.items} fresh items by {gain:.0f} points (at least {100 * bound:.0f}); "
        f"{100 * forgotten:.1f} points lost on {measured.old} old frames"
    )
    if forgotten > MOST_FORGOTTEN:
        sentence += f", more than {100 * MOST_FORGOTTEN:.0f}"
    if most > MOST_FORGOTTEN_CLASS:
        sentence += f"; {worst} alone lost {100 * most:.0f}, more than {100 * MOST_FORGOTTEN_CLASS:.0f}"
    sentence += "."
    return RungVerdict(better and kept, sentence, numbers, better)
