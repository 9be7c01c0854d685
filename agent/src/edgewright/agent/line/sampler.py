"""Which frames become samples, and with what chance. Pure: random numbers and times come in.

Poisson sampling with chances that are known before the frame is looked at (Sarndal, Swensson and Wretman,
"Model assisted survey sampling", 1992, section 3.2): each frame is drawn for itself, with

- ``random``: the audit's share of all frames. Nothing about the frame changes it.
- else, of a frame that is a hard case, with the share of its reason. Its reason is the first that fits:
  ``undecided`` (no model decided), ``novel`` (it resembles none of late), ``uncertain`` (low confidence).
  A hard case whose like was captured with the same label lately is left out.

Both shares are multiplied by the factors of ``allowance``, which follow from the past alone. So with the
recorded probability p of the reason's draw, the sum of 1/p over random samples estimates a count of frames
without bias, whatever the budget did meanwhile (Horvitz and Thompson, 1952); the sum over a hard reason
estimates its frames that were not left out as nearly the same. While a factor is 0 nothing can be drawn:
such frames are counted as ``closed``, and an estimate is one of the others.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final, Literal, NamedTuple

from edgewright.agent.line.allowance import Factors
from edgewright.agent.line.familiar import Captured, Seen, Vector
from edgewright.agent.settings import CaptureSettings

UNCERTAIN_BELOW: Final = 0.6

Reason = Literal["random", "uncertain", "disagreeing", "novel", "undecided"]


class Draw(NamedTuple):
    """Why a frame is captured, and the chance that this reason had."""

    reason: Reason
    probability: float


DISAGREEING: Final = Draw("disagreeing", 0.0)
"""A frame on which a shadowed candidate disagrees: the first ones are taken, so no chance can be named."""


@dataclass(frozen=True)
class Shares:
    """Chances where no budget is short, 0 to 1."""

    audit: float
    undecided: float
    novel: float
    uncertain: float

    @classmethod
    def of(cls, audit: float, settings: CaptureSettings) -> "Shares":
        """Those of the configuration; without an audit nothing is captured."""
        if not audit:
            return cls(0.0, 0.0, 0.0, 0.0)
        return cls(audit, settings.undecided_share, settings.novel_share, settings.uncertain_share)


class Sampler:
    """Decides frame by frame.

    Args:
        shares: see there.
        difference: see ``familiar.Captured``.
        random: where the chances come from.

    Attributes:
        closed: frames that had no chance at all, because a budget was spent.
        alike: hard cases that were left out because their like was captured.
    """

    def __init__(self, shares: Shares, difference: float, random: Random) -> None:
        self._shares, self._random = shares, random
        self._seen, self._captured = Seen(), Captured(difference)
        self.closed = self.alike = 0

    @property
    def on(self) -> bool:
        """Whether anything is ever captured."""
        return self._shares.audit > 0

    def draw(
        self, factors: Factors, look: Callable[[], Vector], label: str, confidence: float | None
    ) -> Draw | None:
        """Decide on one frame.

        Args:
            factors: of the allowance, taken before this frame.
            look: gives what it looks like.
            label: the decision.
            confidence: of the decision; None where no model decided.
        """
        vector = look() if self._shares.novel else None
        novel = vector is not None and self._seen.novel(vector)
        audit = self._shares.audit * factors.audit
        self.closed += not audit
        # Both numbers are drawn each time, so that one draw tells nothing of the other.
        first, second = self._random.random(), self._random.random()
        if first < audit:
            return Draw("random", audit)
        reason, share = self._hard(novel, confidence)
        chance = share * factors.hard
        if second >= chance:
            return None
        vector = look() if vector is None else vector
        if self._captured.knows(label, vector):
            self.alike += 1
            return None
        self._captured.add(label, vector)
        return Draw(reason, (1 - audit) * chance)

    def _hard(self, novel: bool, confidence: float | None) -> tuple[Reason, float]:
        if confidence is None:
            return "undecided", self._shares.undecided
        if novel:
            return "novel", self._shares.novel
        return "uncertain", self._shares.uncertain if confidence < UNCERTAIN_BELOW else 0.0
