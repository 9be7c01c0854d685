"""Which wanted names are answered now: so many bytes a second, and a fair part of them for each device.

A device that misses something asks, and asks again. One answer serves everybody who waits for the same chunk,
because it is published once more on its retained topic. So a name is answered once a second at most, all
answers together stay below ``BYTES_A_SECOND``, and one device gets at most its share of that: what there is,
divided by those who ask and one more. So whoever comes next in the same second finds something left, however
greedy the others are.

No clock of its own, no I/O.
"""

from typing import Final

import msgspec

WANT_INTERVAL_S: Final = 1.0
"""A chunk or file is published again at most this often, however many devices want it."""

BYTES_A_SECOND: Final = 32 * 1024 * 1024
"""What all wants together may cost the broker: 256 chunks a second."""

FEWEST_SHARES: Final = 4
"""A device that asks alone gets a quarter: 64 chunks a second."""


class WantCounts(msgspec.Struct, frozen=True):
    """What became of wanted names since the start, by how each ended."""

    answered: int = 0
    limited: int = 0
    unknown: int = 0
    """Retired, withdrawn or never published: nothing answers those."""


class WantLimiter:
    """Decides which wanted names are answered now.

    >>> limiter = WantLimiter()
    >>> [limiter.admit("r1", "a", 100, now) for now in (10.0, 10.5, 11.0)]
    [True, False, True]
    """

    def __init__(self) -> None:
        self._since = float("-inf")
        self._answered: dict[str, float] = {}
        self._spent: dict[str, int] = {}
        self._before: frozenset[str] = frozenset()

    def admit(self, device: str, name: str, length: int, now: float) -> bool:
        """Whether ``name`` of ``length`` bytes is answered at ``now`` (seconds); counts it if so."""
        self._turn(now)
        spent = self._spent.setdefault(device, 0)
        # Names stand in the order of their answers, so the old ones are at the front.
        while self._answered and now - next(iter(self._answered.values())) >= WANT_INTERVAL_S:
            del self._answered[next(iter(self._answered))]
        asking = len(self._before | self._spent.keys())
        share = BYTES_A_SECOND // max(FEWEST_SHARES, asking + 1)
        # The first name of a device always fits its share: with very many devices a share is below a chunk.
        too_much = spent > 0 and spent + length > share
        if name in self._answered or too_much or sum(self._spent.values()) + length > BYTES_A_SECOND:
            return False
        self._answered[name] = now
        self._spent[device] = spent + length
        return True

    def _turn(self, now: float) -> None:
        """Begin a new second; who asked in the one before still counts as asking."""
        if now - self._since >= WANT_INTERVAL_S:
            self._before = frozenset(self._spent) if now - self._since < 2 * WANT_INTERVAL_S else frozenset()
            self._since, self._spent = now, {}
