"""The window's law, held against simulated links: fast, slow, far, bursty, stalled, lossy."""

import itertools
import random
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from edgewright.agent.pacing import Pace
from edgewright.wire.manifest import CHUNK_BYTES

Rate = Callable[[float], float]
SLICE_SECONDS = 0.2


class Outcome(NamedTuple):
    """What a download over a simulated link came to.

    Attributes:
        seconds: until the last chunk.
        windows: of the law, at each arrival.
        lapsed: chunks that were given up and asked for again.
        received: bytes that the link brought, repetitions included.
    """

    seconds: float
    windows: list[int]
    lapsed: int
    received: float


class SimulatedLink:
    """Answers in the order of the questions, at a rate that may change, after a delay.

    Args:
        rate: bytes a second at a time.
        delay: seconds from a question to the first byte of its answer.
        drops: tells of each question whether the broker forgets it.
    """

    def __init__(self, rate: Rate, delay: float, drops: Iterator[bool]) -> None:
        self._rate, self._delay, self._drops = rate, delay, drops
        self._queue: deque[tuple[float, str, list[float]]] = deque()
        self.received = 0.0

    def ask(self, key: str, now: float) -> None:
        """A question."""
        if not next(self._drops):
            self._queue.append((now + self._delay, key, [float(CHUNK_BYTES)]))

    def step(self, now: float, seconds: float) -> Iterator[str]:
        """Let time pass; keys whose last byte has come."""
        room = self._rate(now) * seconds
        while self._queue and room > 0 and self._queue[0][0] <= now:
            _, key, left = self._queue[0]
            taken = min(room, left[0])
            left[0] -= taken
            room -= taken
            self.received += taken
            if left[0] <= 0:
                self._queue.popleft()
                yield key


def download(
    rate: Rate,
    delay: float,
    chunks: int = 60,
    most: int = 8,
    step: float = 0.02,
    drops: Iterator[bool] | None = None,
) -> Outcome:
    """Fetch chunks as ``TopicChunks`` does, with a patience of five seconds."""
    pace, now, next_look = Pace(most, 1024), 0.0, 0.0
    link = SimulatedLink(rate, delay, drops or itertools.cycle((False,)))
    todo, open_keys = deque(str(number) for number in range(chunks)), set[str]()
    windows, lapsed = [], 0
    while todo or open_keys:
        assert now < 50_000, "the download has no end"
        while todo and pace.on_their_way < pace.window:
            key = todo.popleft()
            open_keys.add(key)
            pace.asked(key, CHUNK_BYTES, now, int(link.received))
            link.ask(key, now)
        now += step
        for key in link.step(now, step):
            if key in open_keys:
                open_keys.remove(key)
                pace.arrived(key, now, int(link.received))
                windows.append(pace.window)
        if now >= next_look:
            next_look = now + SLICE_SECONDS
            lost = pace.lapsed(now, int(link.received), 5.0)
            lapsed += len(lost)
            open_keys.difference_update(lost)
            todo.extend(lost)
    return Outcome(now, windows, lapsed, link.received)


def constant(rate: float) -> Rate:
    """A link that never changes."""
    return lambda _now: rate


def test_one_chunk_at_a_time_on_a_slow_link() -> None:
    """On 64 kbit/s, sixteen seconds a chunk, the window is one and nothing lapses."""
    found = download(constant(8_000), 0.5, chunks=30)
    assert found.lapsed == 0
    assert found.received == pytest.approx(30 * CHUNK_BYTES)
    assert found.seconds < 1.1 * 30 * CHUNK_BYTES / 8_000
    assert max(found.windows[4:]) <= 2  # Two for a round in eight: a link may have become faster.
    assert found.windows.count(1) > 0.7 * len(found.windows)


def test_the_whole_window_on_a_local_network() -> None:
    """At 100 MB/s and 0.2 ms eight chunks are on their way after the first few, and the link is full."""
    found = download(constant(100e6), 0.0002, chunks=200, step=0.0001)
    assert found.windows[8] == 8
    assert set(found.windows[8:]) == {8}
    assert found.seconds < 1.15 * 200 * CHUNK_BYTES / 100e6


@pytest.mark.parametrize(("most", "share"), [(8, 0.75), (16, 0.85)])
def test_a_far_link_is_kept_busy(most: int, share: float) -> None:
    """Over a satellite, 1 MB/s and 0.6 s, the window grows to what the delay holds."""
    found = download(constant(1e6), 0.6, chunks=200, most=most)
    assert found.lapsed == 0
    assert 200 * CHUNK_BYTES / 1e6 / found.seconds > share


def test_the_queue_stays_small() -> None:
    """On 4 Mbit/s with 50 ms two or three chunks are on their way, not the eight that are allowed."""
    found = download(constant(500_000), 0.05, chunks=200)
    assert max(found.windows[20:]) <= 4
    assert 200 * CHUNK_BYTES / 500_000 / found.seconds > 0.9


def test_a_link_that_becomes_slow_loses_nothing() -> None:
    """From 1 MB/s to 4 kB/s within a chunk: what is on its way is waited for, and the window falls to one."""
    found = download(lambda now: 1e6 if now < 3 else 4_000, 0.1, chunks=60)
    assert found.lapsed == 0
    assert found.received == pytest.approx(60 * CHUNK_BYTES)
    assert found.windows[-1] <= 2


def test_a_link_that_becomes_fast_is_used() -> None:
    """From 16 kB/s to 2 MB/s: the window grows, and the rest takes about its time."""
    found = download(lambda now: 16_000 if now < 60 else 2e6, 0.1, chunks=150)
    assert found.lapsed == 0
    assert found.windows[-1] >= 4
    assert found.seconds < 60 + 10 + 1.5 * 143 * CHUNK_BYTES / 2e6


def test_bursts_are_no_loss() -> None:
    """A link that brings everything in one second of four keeps its chunks and its mean rate."""
    found = download(lambda now: 400_000 if int(now) % 4 == 0 else 0.0, 0.05, chunks=60)
    assert found.lapsed == 0
    assert found.seconds < 1.4 * 60 * CHUNK_BYTES / 100_000


def test_what_a_stalled_connection_holds_is_not_asked_for_again() -> None:
    """Ten seconds of silence, as after a cut of a few: TCP brings what it has, and nothing comes twice."""
    found = download(lambda now: 0.0 if 2 < now < 12 else 500_000, 0.05, chunks=60)
    assert found.lapsed == 0
    assert found.received == pytest.approx(60 * CHUNK_BYTES)


def test_a_stall_is_noticed_and_costs_at_most_the_window() -> None:
    """Two minutes of silence: what was on its way is asked for again, and comes twice at worst."""
    found = download(lambda now: 0.0 if 2 < now < 122 else 500_000, 0.05, chunks=60)
    assert found.lapsed > 0
    assert found.received <= (60 + 8 * found.lapsed) * CHUNK_BYTES
    assert found.seconds < 122 + 2 * 60 * CHUNK_BYTES / 500_000 + 10


def test_a_broker_that_forgets_questions_costs_no_byte() -> None:
    """One question in twenty is dropped: each is asked again, nothing comes twice, the window shrinks."""
    draw = random.Random(5)
    drops = iter(lambda: draw.random() < 0.05, None)
    found = download(constant(500_000), 0.02, chunks=100, drops=drops)
    assert found.lapsed > 0
    assert found.received == pytest.approx(100 * CHUNK_BYTES)


SUBACK_BYTES = 5


def test_silence_ends_after_the_patience_where_the_broker_has_answered() -> None:
    """A chunk whose subscription was acknowledged and of which no byte comes is lost after the patience."""
    pace = Pace(8, 1024)
    pace.asked("a", CHUNK_BYTES, 0.0, 0)
    assert pace.lapsed(4.9, SUBACK_BYTES, 5.0) == []
    assert pace.lapsed(5.1, SUBACK_BYTES, 5.0) == ["a"]


def test_a_question_that_tcp_still_carries_is_not_asked_twice() -> None:
    """Where not even the acknowledgement has come, a chunk is lost only after four times the patience."""
    pace = Pace(8, 1024)
    pace.asked("a", CHUNK_BYTES, 0.0, 0)
    assert pace.lapsed(19.9, 0, 5.0) == []
    assert pace.lapsed(20.1, 0, 5.0) == ["a"]


def test_a_first_chunk_on_a_slow_link_is_waited_for() -> None:
    """A first chunk whose bytes come at 1.2 kB/s takes 109 seconds and is never given up."""
    pace = Pace(8, 1024)
    pace.asked("a", CHUNK_BYTES, 0.0, 0)
    assert all(pace.lapsed(second / 2, int(second / 2 * 1200), 5.0) == [] for second in range(218))


def test_other_messages_keep_no_lost_chunk_alive() -> None:
    """Some hundred bytes of other messages a second do not hide that a chunk does not come."""
    pace = Pace(8, 1024)
    pace.asked("a", CHUNK_BYTES, 0.0, 0)
    lost = next(second for second in range(60) if pace.lapsed(float(second), second * 300, 5.0))
    assert lost <= 8


def test_a_new_connection_asks_anew() -> None:
    """Time before a reconnection does not count against a chunk, nor do the bytes that came then."""
    pace = Pace(8, 1024)
    pace.asked("a", CHUNK_BYTES, 0.0, 0)
    pace.begin_again(600.0, 100_000)
    answered = 100_000 + SUBACK_BYTES
    assert pace.lapsed(604.0, answered, 5.0) == []
    assert pace.lapsed(605.5, answered, 5.0) == ["a"]
