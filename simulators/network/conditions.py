"""What a network does to what passes, as pure objects: nothing here reads a clock or moves a byte."""

from random import Random
from typing import Final

import msgspec

QUEUE_SECONDS: Final = 1.0
QUEUE_MIN_BYTES: Final = 8 * 1500
"""A router's queue: what a second brings, and at least some packets. More would be a delay without end."""


class Conditions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One network, the same both ways.

    Attributes:
        bytes_per_second: of its narrowest part; 0 for no limit.
        delay_s: from one end to the other.
        loss: share of the packets that get lost; 1 for a partition.
    """

    bytes_per_second: float = 0.0
    delay_s: float = 0.0
    loss: float = 0.0


PARTITION: Final = Conditions(loss=1.0)


class Passage:
    """One direction: when each packet comes out at the other end.

    >>> passage = Passage(Conditions(bytes_per_second=1000, delay_s=0.5), Random(1))
    >>> passage.admit(100, now=0.0), passage.admit(100, now=0.0)
    (0.6, 0.7)
    """

    def __init__(self, conditions: Conditions, random: Random) -> None:
        self.conditions = conditions
        self._random = random
        self._free_at = 0.0

    def admit(self, length: int, now: float) -> float | None:
        """When a packet of ``length`` bytes arrives; None where it is lost, by chance or in a full queue.

        All times in seconds on one clock.
        """
        now_is = self.conditions
        if now_is.loss and self._random.random() < now_is.loss:
            return None
        if not now_is.bytes_per_second:
            return now + now_is.delay_s
        free_at = max(now, self._free_at)
        queue_s = max(QUEUE_SECONDS, QUEUE_MIN_BYTES / now_is.bytes_per_second)
        if free_at - now > queue_s:
            return None
        self._free_at = free_at + length / now_is.bytes_per_second
        return self._free_at + now_is.delay_s
