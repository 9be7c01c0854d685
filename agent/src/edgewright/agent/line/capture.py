"""Which frames become samples: a random share of all, and a known share of those the model was unsure of.

A captured frame waits as PNG for the truth of its item. A sample of an unsure decision is worth sending even
without a truth (a person can label it); one of a random draw is not. ``probability`` is that of the draw; a
byte budget, which does not look at the frame, may drop it afterwards, and so may a frame too large for the
way up. Both are counted.
"""

from collections.abc import Callable
from random import Random
from typing import Final, Literal, NamedTuple

import msgspec

from edgewright.wire.messages import Sample

UNCERTAIN_BELOW: Final = 0.6
UNCERTAIN_SHARE: Final = 0.2
WAITING_SAMPLES: Final = 128
WAITING_S: Final = 120.0
BUDGET_BYTES_PER_S: Final = 200_000.0
MAX_SAMPLE_BYTES: Final = 180 * 1024
"""A control datagram takes 200 KiB."""

Reason = Literal["random", "uncertain"]


class Draw(NamedTuple):
    """Why a frame is captured, and the chance that this reason had."""

    reason: Reason
    probability: float


def draw(random: Random, share: float, confidence: float) -> Draw | None:
    """Decide on one frame.

    Args:
        random: where the chance comes from.
        share: part of all frames to capture.
        confidence: of the decision; 1 for a fallback, which says nothing of the model.
    """
    if random.random() < share:
        return Draw("random", share)
    if confidence < UNCERTAIN_BELOW and share > 0 and random.random() < UNCERTAIN_SHARE:
        return Draw("uncertain", (1 - share) * UNCERTAIN_SHARE)
    return None


class ByteBudget:
    """A token bucket: so many bytes a second, saved up for at most two seconds."""

    def __init__(self, bytes_per_s: float, now: float) -> None:
        self._rate = bytes_per_s
        self._tokens = 2 * bytes_per_s
        self._at = now

    def take(self, count: int, now: float) -> bool:
        """Whether ``count`` bytes may go at ``now`` (seconds, monotonic)."""
        self._tokens = min(2 * self._rate, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if count > self._tokens:
            return False
        self._tokens -= count
        return True


class WaitingSamples:
    """Captured samples whose truth has not come; bounded in number and age.

    Attributes:
        dropped: samples that were too large, over the budget, or random and never labelled.
    """

    def __init__(self, send: Callable[[Sample], None], budget: ByteBudget) -> None:
        self._send = send
        self._budget = budget
        self._waiting: dict[str, tuple[float, Sample]] = {}
        self.dropped = 0

    def keep(self, sample: Sample, now: float) -> None:
        """Keep a sample until its truth comes; the oldest one gives way."""
        if len(sample.image) > MAX_SAMPLE_BYTES or not self._budget.take(len(sample.image), now):
            self.dropped += 1
            return
        if len(self._waiting) >= WAITING_SAMPLES:
            self._give_way(next(iter(self._waiting)))
        self._waiting[sample.item] = (now, sample)

    def label(self, item: str, truth: str) -> None:
        """Send the item's sample with its truth, if there is one."""
        if kept := self._waiting.pop(item, None):
            self._send(msgspec.structs.replace(kept[1], truth=truth))

    def expire(self, now: float) -> None:
        """Let samples go that have waited too long."""
        old = [item for item, (since, _) in self._waiting.items() if now - since > WAITING_S]
        for item in old:
            self._give_way(item)

    def close(self) -> None:
        """Let all samples go."""
        for item in list(self._waiting):
            self._give_way(item)

    def _give_way(self, item: str) -> None:
        _, sample = self._waiting.pop(item)
        if sample.reason == "uncertain":
            self._send(sample)
        else:
            self.dropped += 1
