"""The most recent decisions by item, so that a truth that comes late finds the model that decided."""

from typing import Final

import msgspec

RECENT_ITEMS: Final = 20_000
"""At ten items a second, half an hour of scanner delay."""


class Decided(msgspec.Struct, frozen=True, gc=False):
    """What is kept of a decision; the collector of garbage need not look at so many of them.

    Attributes:
        grace: whether the frame was in the grace of a changeover.
        confidence: of the active model's decision; 0 where another decided.
    """

    version: int
    label: str
    tag: str
    grace: bool = False
    confidence: float = 0.0


class RecentDecisions:
    """A bounded map in the order of the decisions; a truth takes its item out, so it counts once.

    That holds for truths of several sources too: the first one counts, so that the sources' outcomes add up
    to items and no item is evidence twice.

    Attributes:
        unknown: truths of items that were not, or no longer, in the map.
    """

    def __init__(self, capacity: int = RECENT_ITEMS) -> None:
        self._capacity = capacity
        self._decided: dict[str, Decided] = {}
        self.unknown = 0

    def remember(self, item: str, decided: Decided) -> None:
        """Keep a decision; the oldest one gives way."""
        self._decided.pop(item, None)
        if len(self._decided) >= self._capacity:
            del self._decided[next(iter(self._decided))]
        self._decided[item] = decided

    def take(self, item: str) -> Decided | None:
        """The decision on an item whose truth has come, None (and counted) where it is not known."""
        decided = self._decided.pop(item, None)
        if decided is None:
            self.unknown += 1
        return decided
