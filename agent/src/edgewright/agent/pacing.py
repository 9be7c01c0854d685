"""How many chunks may be on their way at a time, and when one of them counts as lost: the window's law.

A chunk is asked for by a subscription and comes as one message, in the order of the questions, on one
connection. So a question's answer takes ``latency + (bytes ahead + its own) / rate``. Both are measured: the
rate is the best of the last rounds, the latency is that of chunks asked for while nothing else was on its
way. (A round is as many arrivals as the window had chunks when it began. Estimators and probing are those of
BBR: Cardwell et al., "BBR: Congestion-Based Congestion Control", ACM Queue 14(5), 2016.)

The window is the smallest that keeps the link busy for nine tenths of the time, and a quarter of a second of
chunks on top. On 64 kbit/s that is one chunk, on a local network as many as are allowed. It starts with
four, because TCP has to grow as well, and doubles with each round that was faster by a quarter, unless a
chunk takes seconds. Every eighth round one chunk more is asked for, which finds a link that has become
faster; a chunk that was lost halves the window.

A chunk is lost when one of these holds, and never while its bytes may still be on their way:

- since it was asked for, the connection has brought less than the slowest rate (``floor`` seconds are free);
- the connection has brought nothing at all for four times ``floor``, and for longer than the whole answer
  should take: a network that is cut stalls TCP for seconds beyond the cut, and repeats what it holds. The
  same holds where not even the subscription's acknowledgement has come: TCP still carries the question, and
  a second one would bring the chunk twice;
- much more has come than was ahead of it: the broker has dropped it, or never had it.
"""

import math
from collections import deque
from typing import Final

from edgewright.wire.manifest import CHUNK_BYTES

BUSY_SHARE: Final = 0.9
QUEUE_SECONDS: Final = 0.25
START_CHUNKS: Final = 4
SLOW_CHUNK_SECONDS: Final = 4.0
GROWTH: Final = 1.25
RATE_ROUNDS: Final = 10
RATE_SECONDS: Final = 30.0
PROBE_ROUNDS: Final = 8
STALLED: Final = 4
"""Times the patience that a silent connection gets whose broker had begun to answer."""

ALONE_SECONDS: Final = 20.0
"""How long a latency is believed where the window stays above one; then the link is let run empty once."""


def window_for(rate: float, latency: float) -> int:
    """Chunks that keep a link busy: ``rate`` in bytes a second, ``latency`` in seconds.

    >>> window_for(8_000, 0.5)  # 64 kbit/s, a modem's delay: sixteen seconds a chunk
    1
    >>> window_for(370_000, 0.1)
    2
    >>> window_for(2_000_000, 0.6)  # a satellite
    13
    >>> window_for(100_000_000, 0.0002) > 64  # a local network: whatever is allowed
    True
    """
    needed = BUSY_SHARE * (1 + rate * latency / CHUNK_BYTES)
    return max(1, math.ceil(needed)) + int(rate * QUEUE_SECONDS / CHUNK_BYTES)


class _Question:
    """One chunk on its way: when it was asked for, what was ahead, and what had come by then, in bytes."""

    __slots__ = ("ahead", "asked_at", "length", "received")

    def __init__(self, length: int, ahead: int, asked_at: float, received: int) -> None:
        self.length, self.ahead = length, ahead
        self.asked_at, self.received = asked_at, received


class Pace:
    """The law over one connection; it is told the time (seconds that only grow) and what has come (bytes).

    Args:
        most: chunks that may be on their way at a time.
        slowest: bytes a second below which a connection counts as silent.

    >>> pace = Pace(8, 1024)
    >>> for second in range(4):
    ...     pace.asked("chunk", 128 * 1024, second / 500, second * 131072)
    ...     pace.arrived("chunk", (second + 1) / 500, (second + 1) * 131072)
    >>> pace.window
    8
    """

    def __init__(self, most: int, slowest: float) -> None:
        self._most, self._slowest = most, slowest
        self._asked: dict[str, _Question] = {}
        self._round, self._round_left, self._rounds_since_probe = 0, min(START_CHUNKS, most), 0
        self._rates: deque[tuple[int, float, float]] = deque()  # round, time and rate; the newest stays
        self._alone: tuple[float, int] | None = None
        self._alone_at = 0.0
        self._starting, self._last_rate = True, 0.0
        self._start_window, self._cap = START_CHUNKS, most
        self._probing = self._draining = False
        self._moved_at, self._received = 0.0, 0

    @property
    def on_their_way(self) -> int:
        """Chunks that were asked for and did not come yet."""
        return len(self._asked)

    @property
    def bytes_on_their_way(self) -> int:
        """Their bytes."""
        return sum(question.length for question in self._asked.values())

    @property
    def rate(self) -> float:
        """Bytes a second of the best of the last rounds; 0 before the first chunk."""
        return max((rate for _, _, rate in self._rates), default=0.0)

    @property
    def latency(self) -> float:
        """Seconds between a question and the first byte of its answer on an idle link, as measured."""
        if self._alone is None or not self._rates:
            return 0.0
        seconds, length = self._alone
        return max(0.0, seconds - length / self.rate)

    @property
    def window(self) -> int:
        """Chunks that may be on their way now."""
        if self._draining:
            return 1
        if self._starting:
            return min(self._start_window, self._cap, self._most)
        target = window_for(self.rate, self.latency) + (1 if self._probing else 0)
        return max(1, min(target, self._cap, self._most))

    def asked(self, key: str, length: int, now: float, received: int) -> None:
        """A chunk was asked for."""
        self._look(now, received)
        self._asked[key] = _Question(length, self.bytes_on_their_way, now, received)

    def arrived(self, key: str, at: float, received: int) -> None:
        """An answer has come whole, right or wrong; time and bytes are those of its arrival."""
        question = self._asked.pop(key)
        self._look(at, received)
        seconds = max(at - question.asked_at, 1e-6)
        came = received - question.received
        if came >= question.length:  # Otherwise it came over a connection that was noticed only after.
            self._note_rate(at, came / seconds)
            if question.ahead == 0:
                self._alone, self._alone_at, self._draining = (seconds, question.length), at, False
        if 2 * question.length < CHUNK_BYTES:
            return  # A manifest tells of the latency, and hardly of the rate.
        self._round_left -= 1
        if self._round_left <= 0:
            self._end_round(at)
            self._round_left = self.window

    def dropped(self, key: str) -> None:
        """A chunk is waited for no longer."""
        self._asked.pop(key, None)

    def lapsed(self, now: float, received: int, floor: float) -> list[str]:
        """Chunks that are lost by now; they are waited for no longer."""
        self._look(now, received)
        lost = [key for key, question in self._asked.items() if self._is_lost(question, now, floor)]
        for key in lost:
            del self._asked[key]
        if lost:
            self._cap, self._starting = max(1, self.window // 2), False
            self._draining = False
        return lost

    def begin_again(self, now: float, received: int) -> None:
        """The connection is away, or a new one: everything on its way is asked for anew."""
        self._moved_at, self._received = now, received
        ahead = 0
        for question in self._asked.values():
            question.asked_at, question.received, question.ahead = now, received, ahead
            ahead += question.length

    def _look(self, now: float, received: int) -> None:
        if received != self._received or not self._asked:
            self._moved_at, self._received = now, received

    def _is_lost(self, question: _Question, now: float, floor: float) -> bool:
        waited, came = now - question.asked_at, self._received - question.received
        floor = max(floor, 4 * self.latency)
        if waited < floor:
            return False
        if came == 0:
            return waited >= STALLED * floor
        if came < self._slowest * (waited - floor):
            return True
        due = question.ahead + question.length
        if came >= due + self._most * CHUNK_BYTES:
            return True
        answer = self.latency + due / self.rate if self._rates else due / self._slowest
        return now - self._moved_at >= max(STALLED * floor, answer)

    def _note_rate(self, at: float, rate: float) -> None:
        while self._rates and (
            self._rates[0][0] <= self._round - RATE_ROUNDS or self._rates[0][1] < at - RATE_SECONDS
        ):
            self._rates.popleft()
        self._rates.append((self._round, at, rate))

    def _end_round(self, now: float) -> None:
        self._round += 1
        self._cap = min(self._most, self._cap + 1)
        if self._starting:
            self._grow()
            return
        self._rounds_since_probe += 1
        self._probing = self._rounds_since_probe % PROBE_ROUNDS == 0
        if now - self._alone_at > ALONE_SECONDS and 1 < self.window < self._most:
            self._draining = True

    def _grow(self) -> None:
        rate = self.rate
        grew = rate >= self._last_rate * GROWTH
        self._last_rate = rate
        self._start_window = min(self._start_window * 2, self._most)
        self._starting = grew and rate * SLOW_CHUNK_SECONDS > CHUNK_BYTES
