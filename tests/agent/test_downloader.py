"""The downloader: windowed, checked, resumable, bounded."""

import random
from pathlib import Path
from typing import Any

import pytest

from edgewright.agent.chunks import TopicChunks
from edgewright.agent.downloader import Downloader, Hooks
from edgewright.agent.fetcher import Interrupt, Interrupted, never
from edgewright.agent.store import Store
from edgewright.agent.transfer import Limits, Transfer
from edgewright.wire import topics
from edgewright.wire.errors import (
    BlobTimeoutError,
    SlowRetrievalError,
    TamperedArtifactError,
    TransferDeadlineError,
)
from edgewright.wire.manifest import CHUNK_BYTES, split_blob
from simulators.topics import MemoryTopics

DATA = random.Random(2).randbytes(20 * CHUNK_BYTES + 5)
BLOB, CHUNKS = split_blob(DATA)
QUICK = Limits(patience=(0.05, 0.05, 0.05))


def retain(memory: MemoryTopics, indices: range | tuple[int, ...] = range(len(CHUNKS))) -> None:
    """Publish some chunks of the blob."""
    for index in indices:
        memory.publish(topics.chunk(BLOB.chunks[index]), CHUNKS[index])


def make(memory: MemoryTopics, folder: Path, interrupt: Interrupt = never, **hooks: Any) -> Downloader:
    """A downloader with little patience."""
    return Downloader(TopicChunks(memory), Store(folder), Hooks(**hooks), Transfer(QUICK, interrupt))


def test_fetches_through_a_window(tmp_path: Path) -> None:
    """A blob arrives whole, with at most eight topics subscribed at a time and none left."""
    memory = MemoryTopics()
    retain(memory)
    downloader = make(memory, tmp_path)
    downloader.fetch(BLOB)
    assert Store(tmp_path).read(BLOB.sha256) == DATA
    assert downloader.fetched_bytes == len(DATA)
    assert memory.open_at_once == 8
    assert memory.open_topics() == set()


def test_what_is_stored_is_not_fetched(tmp_path: Path) -> None:
    """A blob in the store costs no subscription."""
    memory = MemoryTopics()
    Store(tmp_path).put(DATA)
    make(memory, tmp_path).fetch(BLOB)
    assert memory.subscribed == []


def test_resume_fetches_the_rest(tmp_path: Path) -> None:
    """After an interruption another downloader takes exactly the chunks that lacked."""
    memory = MemoryTopics()
    retain(memory, range(6))
    with pytest.raises(BlobTimeoutError):
        make(memory, tmp_path).fetch(BLOB)
    retain(memory)
    resumed = make(memory, tmp_path)
    resumed.fetch(BLOB)
    assert resumed.fetched_bytes == len(DATA) - 6 * CHUNK_BYTES


def test_missing_chunks_are_wanted_and_then_taken(tmp_path: Path) -> None:
    """After two silent rounds the controller is asked for exactly the missing chunks."""
    memory = MemoryTopics()
    missing = (3, 19)
    retain(memory, tuple(i for i in range(len(CHUNKS)) if i not in missing))
    asked: list[tuple[str, ...]] = []

    def want(chunks: tuple[str, ...]) -> None:
        asked.append(chunks)
        retain(memory, missing)

    make(memory, tmp_path, want=want).fetch(BLOB)
    assert asked == [tuple(BLOB.chunks[i] for i in missing)]
    assert Store(tmp_path).read(BLOB.sha256) == DATA


def test_missing_chunks_time_out(tmp_path: Path) -> None:
    """A chunk that never comes ends the download by name, and the store has no such blob."""
    memory = MemoryTopics()
    retain(memory, range(20))
    with pytest.raises(BlobTimeoutError, match="1 chunks"):
        make(memory, tmp_path).fetch(BLOB)
    assert not Store(tmp_path).has(BLOB.sha256)
    assert memory.open_topics() == set()


def test_poisoned_chunk_is_told_once_and_healed_by_the_controller(tmp_path: Path) -> None:
    """A chunk with other bytes is reported once, asked for again, and the right one is taken."""
    memory = MemoryTopics()
    retain(memory)
    memory.retained[topics.chunk(BLOB.chunks[4])] = CHUNKS[5]
    told: list[TamperedArtifactError] = []
    make(memory, tmp_path, tampered=told.append, want=lambda _: retain(memory, (4,))).fetch(BLOB)
    assert len(told) == 1
    assert Store(tmp_path).read(BLOB.sha256) == DATA


def test_poisoned_chunk_that_stays_ends_by_name(tmp_path: Path) -> None:
    """A chunk that is wrong each time ends as tampering, not as a timeout, and is never stored."""
    memory = MemoryTopics()
    retain(memory)
    memory.retained[topics.chunk(BLOB.chunks[4])] = b"poison"
    with pytest.raises(TamperedArtifactError):
        make(memory, tmp_path).fetch(BLOB)
    with Store(tmp_path).partial(BLOB) as partial:
        assert partial.missing == [BLOB.chunks[4]]


def test_interrupt_keeps_what_arrived(tmp_path: Path) -> None:
    """Work that is called off ends at once and keeps its chunks."""
    memory = MemoryTopics()
    retain(memory, range(20))
    asked = iter([False] * 10)
    with pytest.raises(Interrupted):
        make(memory, tmp_path, interrupt=lambda: next(asked, True)).fetch(BLOB)
    with Store(tmp_path).partial(BLOB) as partial:
        assert 0 < len(partial.missing) < len(CHUNKS)
    assert memory.open_topics() == set()


def test_a_drip_is_slow_retrieval(tmp_path: Path) -> None:
    """One chunk each five minutes is noticed with the first, and what arrived is kept."""
    memory = MemoryTopics()
    retain(memory)
    hours = iter(range(10_000))
    store = Store(tmp_path)
    transfer = Transfer(QUICK, monotonic=lambda: 300.0 * next(hours))
    with pytest.raises(SlowRetrievalError):
        Downloader(TopicChunks(memory), store, Hooks(), transfer).fetch(BLOB)
    with store.partial(BLOB) as partial:
        assert 0 < len(partial.missing) < len(CHUNKS)


def test_a_try_that_takes_too_long_ends_by_name(tmp_path: Path) -> None:
    """Chunks that come fast enough, and in all for longer than a version may take: TransferDeadline."""
    memory = MemoryTopics()
    retain(memory)
    seconds = iter(range(10_000))
    transfer = Transfer(Limits(seconds=10.0), monotonic=lambda: float(next(seconds)))
    store = Store(tmp_path)
    with pytest.raises(TransferDeadlineError):
        Downloader(TopicChunks(memory), store, Hooks(), transfer).fetch(BLOB)
    with store.partial(BLOB) as partial:
        assert 0 < len(partial.missing) < len(CHUNKS)


def test_a_network_that_is_away_costs_no_time(tmp_path: Path) -> None:
    """A week without a broker is neither a timeout nor a deadline: the blob comes when it is back."""
    memory = MemoryTopics()
    retain(memory)
    memory.connected = False
    clock = [0.0]

    def monotonic() -> float:
        """Half a day passes between two looks; after a week the broker is there again, and time stands."""
        if not memory.connected:
            clock[0] += 43_200.0
            if clock[0] > 7 * 86_400:
                memory.reconnect()
        return clock[0]

    store = Store(tmp_path)
    transfer = Transfer(Limits(seconds=60.0, rate_seconds=60.0, patience=(0.05, 0.05)), monotonic=monotonic)
    downloader = Downloader(TopicChunks(memory), store, Hooks(want=_unexpected), transfer)
    downloader.fetch(BLOB)
    assert store.read(BLOB.sha256) == DATA
    assert downloader.fetched_bytes == len(DATA)


def _unexpected(chunks: tuple[str, ...]) -> None:
    raise AssertionError(f"{len(chunks)} chunks were wanted")
