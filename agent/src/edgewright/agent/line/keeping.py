"""What the line keeps until a supervisor has written it down: windows, samples and what befell runners.

A message gets its number when it is first told to a supervisor, and is told again to each next one until
``Taken`` names it or a later one. So what a killed supervisor had read and not committed, and what lay in its
socket, is told to the next one, which drops what it has already.

Kept is a bounded number. What was never told gives way, the oldest first, and is counted by kind; the counts
are told like everything else (``GivenUp``). What was told once is never given up: a supervisor may have it.
"""

from collections import deque
from time import time
from typing import Final

import msgspec

from edgewright.agent.control import GivenUp, News, SampleReady, WindowReady
from edgewright.wire.messages import OutboxKind

MAX_UNTOLD: Final = 2_000
"""Messages; at a window in five seconds nearly three hours."""

MAX_SAMPLE_BYTES: Final = 4 * 1024 * 1024
"""Of pictures that are kept in memory: a long absence of the supervisor would fill it with them."""

MAX_WHY_CHARACTERS: Final = 200
"""Of the reasons of losses that are told as one."""

ON_THE_WAY: Final = 64
"""Messages that were told and not taken; as many may come a second time."""


class Keeping:
    """The messages of one line that last; pure bookkeeping.

    Args:
        most: messages that may wait without having been told.
        sample_bytes: what the pictures of waiting samples may take.
    """

    def __init__(self, most: int = MAX_UNTOLD, sample_bytes: int = MAX_SAMPLE_BYTES) -> None:
        self._most, self._sample_bytes = most, sample_bytes
        self._untold: deque[News] = deque()
        self._on_the_way: deque[News] = deque()
        self._told_here = 0
        self._numbered = 0
        self._bytes = 0
        self._given_up: dict[OutboxKind, GivenUp] = {}

    @property
    def waiting(self) -> int:
        """Messages that no supervisor has taken."""
        return len(self._untold) + len(self._on_the_way) + len(self._given_up)

    def keep(self, message: News) -> list[News]:
        """Keep a message; those that gave way for it, itself perhaps."""
        size = _picture_bytes(message)
        if size and self._bytes + size > self._sample_bytes:
            self.give_up(message)
            return [message]
        self._untold.append(message)
        self._bytes += size
        if len(self._untold) <= self._most:
            return []
        oldest = self._untold.popleft()
        self._bytes -= _picture_bytes(oldest)
        self.give_up(oldest)
        return [oldest]

    def give_up(self, message: News) -> None:
        """Count a message that nobody will hear."""
        lost = _loss_of(message)
        before = self._given_up.get(lost.what)
        self._given_up[lost.what] = _both(before, lost) if before else lost

    def next(self, *, all_at_once: bool = False) -> News | None:
        """What to tell now, with its number; the same until ``told``.

        Args:
            all_at_once: for a line that ends: nothing waits for what is on its way.
        """
        room = all_at_once or len(self._on_the_way) < ON_THE_WAY
        if self._told_here == len(self._on_the_way) and room and (found := self._first_untold()) is not None:
            self._numbered += 1
            self._on_the_way.append(msgspec.structs.replace(found, number=self._numbered))
        return self._on_the_way[self._told_here] if self._told_here < len(self._on_the_way) else None

    def told(self) -> None:
        """The connected supervisor was sent what ``next`` gave."""
        self._told_here += 1

    def begin_again(self) -> None:
        """Another supervisor, or none: what was told and not taken is told again."""
        self._told_here = 0

    def taken(self, number: int) -> list[News]:
        """Forget what the supervisor has written down, up to a number; what was forgotten."""
        forgotten = []
        while self._on_the_way and self._on_the_way[0].number <= number:
            forgotten.append(self._on_the_way.popleft())
            self._bytes -= _picture_bytes(forgotten[-1])
        self._told_here = max(0, self._told_here - len(forgotten))
        return forgotten

    def _first_untold(self) -> News | None:
        if self._given_up:
            return self._given_up.pop(next(iter(self._given_up)))
        return self._untold.popleft() if self._untold else None


def _picture_bytes(message: News) -> int:
    return len(message.sample.image) if isinstance(message, SampleReady) else 0


def _loss_of(message: News) -> GivenUp:
    if isinstance(message, WindowReady):
        window = message.window
        until = window.start + window.seconds
        return GivenUp(
            what="window",
            since=window.start,
            until=until,
            messages=window.merged,
            frames=window.frames,
        )
    if isinstance(message, SampleReady):
        at = message.sample.taken_at
        return GivenUp(what="sample", since=at, until=at, messages=1)
    if isinstance(message, GivenUp):
        return message
    now = time()
    return GivenUp(what="report", since=now, until=now, messages=1)


def _both(one: GivenUp, other: GivenUp) -> GivenUp:
    return GivenUp(
        what=one.what,
        since=min(one.since, other.since),
        until=max(one.until, other.until),
        messages=one.messages + other.messages,
        frames=one.frames + other.frames,
        why=one.why if one.why == other.why else f"{one.why} {other.why}"[:MAX_WHY_CHARACTERS],
    )
