"""Which frames become samples: a random share of all, and a known share of those the model was unsure of.

A captured frame waits as PNG for the truth of its item. A sample of an unsure decision is worth sending even
without a truth (a person can label it); one of a random draw is not. ``probability`` is that of the draw; a
byte budget, which does not look at the frame, may drop it afterwards. So may the bound of what waits, and the
bound of a sample: a frame of some megapixels fits. All are counted.
"""

from collections.abc import Callable
from random import Random
from typing import Final, Literal, NamedTuple

import msgspec

from edgewright.wire.messages import MAX_IMAGE_BYTES, Sample

UNCERTAIN_BELOW: Final = 0.6
UNCERTAIN_SHARE: Final = 0.2
WAITING_SAMPLES: Final = 128
WAITING_S: Final = 120.0
BUDGET_BYTES_PER_S: Final = 200_000.0
WAITING_BYTES: Final = 32 * 1024 * 1024
MAX_SAMPLE_BYTES: Final = MAX_IMAGE_BYTES

Reason = Literal["random", "uncertain", "disagreeing"]


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


DISAGREEING: Final = Draw("disagreeing", 0.0)
"""A frame on which a shadowed candidate disagrees: the first ones are taken, so no chance can be named."""


class ByteBudget:
    """A token bucket: so many bytes a second, saved up for at most two seconds.

    A full bucket lets one pass that is larger; it is paid back before the next one.
    """

    def __init__(self, bytes_per_s: float, now: float) -> None:
        self._rate = bytes_per_s
        self._tokens = 2 * bytes_per_s
        self._at = now

    def take(self, count: int, now: float) -> bool:
        """Whether ``count`` bytes may go at ``now`` (seconds, monotonic)."""
        full = 2 * self._rate
        self._tokens = min(full, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if count > self._tokens and self._tokens < full:
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
        self._bytes = 0
        self.dropped = 0

    def keep(self, sample: Sample, now: float) -> None:
        """Keep a sample until its truth comes; the oldest ones give way."""
        size = len(sample.image)
        if size > MAX_SAMPLE_BYTES or not self._budget.take(size, now):
            self.dropped += 1
            return
        if sample.item in self._waiting:
            self._give_way(sample.item)
        while self._waiting and (len(self._waiting) >= WAITING_SAMPLES or self._bytes + size > WAITING_BYTES):
            self._give_way(next(iter(self._waiting)))
        self._waiting[sample.item] = (now, sample)
        self._bytes += size

    def label(self, item: str, truth: str) -> None:
        """Send the item's sample with its truth, if there is one."""
        if item in self._waiting:
            self._send(msgspec.structs.replace(self._take(item), truth=truth))

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
        sample = self._take(item)
        if sample.reason != "random":
            self._send(sample)
        else:
            self.dropped += 1

    def _take(self, item: str) -> Sample:
        _, sample = self._waiting.pop(item)
        self._bytes -= len(sample.image)
        return sample
