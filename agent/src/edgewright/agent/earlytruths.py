"""Truths that came before their decision: they wait for it, within a bound of number and time.

A scanner may be quicker than a network camera, and a file of truths may lie in the folder before the
pictures do.

>>> early = EarlyTruths()
>>> early.keep(Outcome("7", "Bag"), now=0.0)
>>> early.take("7"), early.take("7")
(Outcome(item='7', truth='Bag', source='', probability=1.0), None)
"""

from typing import Final

from edgewright.wire.cell import Outcome

MAX_EARLY: Final = 1000
EARLY_S: Final = 120.0


class EarlyTruths:
    """By item; the first truth of an item is the one that waits."""

    def __init__(self) -> None:
        self._waiting: dict[str, tuple[float, Outcome]] = {}
        self._given_way: list[Outcome] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def keep(self, outcome: Outcome, now: float) -> None:
        """Let a truth wait; the oldest gives way, and so does a second one of the same item."""
        if outcome.item in self._waiting:
            self._given_way.append(outcome)
            return
        if len(self._waiting) >= MAX_EARLY:
            oldest = next(iter(self._waiting))
            self._given_way.append(self._waiting.pop(oldest)[1])
        self._waiting[outcome.item] = (now, outcome)

    def take(self, item: str) -> Outcome | None:
        """The truth that waits for an item's decision."""
        found = self._waiting.pop(item, None)
        return None if found is None else found[1]

    def expired(self, now: float) -> list[Outcome]:
        """Those that have waited too long or given way, once."""
        gone, self._given_way = self._given_way, []
        for item, (since, outcome) in list(self._waiting.items()):
            if now - since <= EARLY_S:
                break
            del self._waiting[item]
            gone.append(outcome)
        return gone
