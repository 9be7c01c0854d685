"""Bringing a version: when, by which way, within which bytes, and what becomes of a try that fails."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from backports import zstd

from edgewright.agent.agreement import ImageTarget
from edgewright.agent.attempt import PATCH_TRIES, Means, Policy
from edgewright.agent.budget import FILE_NAME, Budget
from edgewright.agent.chunks import TopicChunks
from edgewright.agent.fetcher import Interrupt, Interrupted, never
from edgewright.agent.fetching import Fetching, VersionFetcher
from edgewright.agent.schedule import parse_window
from edgewright.agent.store import Store
from edgewright.agent.transfer import Limits
from edgewright.wire import topics
from edgewright.wire.assignment import TargetCustom
from edgewright.wire.canonical import sha256_hex
from edgewright.wire.errors import (
    BlobTimeoutError,
    ByteBudgetError,
    EdgewrightError,
    FullBlobRefusedError,
    RuntimeLoadError,
    SlowRetrievalError,
    TransferDeadlineError,
    WaitingForWindowError,
)
from edgewright.wire.manifest import CHUNK_BYTES, Manifest, encode_manifest, split_blob
from simulators.releases import GOLDEN, make_manifest, random_artifact
from simulators.topics import MemoryTopics

DAY = 86_400.0
PARIS = ZoneInfo("Europe/Paris")
NOON = datetime(2026, 6, 10, 12, 0, tzinfo=UTC).timestamp()
LARGE = random_artifact(1, 12 * CHUNK_BYTES)
BASE = random_artifact(2, CHUNK_BYTES)


class Site:
    """A device's fetching, and the hand that publishes.

    Attributes:
        topics: what lies on the broker.
        store: the device's.
        noted: what was reported meanwhile.
        now: trusted time; ``passes`` moves it and the machine's own.
    """

    def __init__(
        self,
        folder: Path,
        policy: Policy | None = None,
        day_bytes: int = 0,
        now: float = NOON,
        zone: tzinfo = UTC,
    ) -> None:
        self.topics, self.store = MemoryTopics(), Store(folder / "store")
        self.noted: list[EdgewrightError] = []
        self.now, self._uptime = now, 50.0
        self._zone = zone
        self._folder, self._day_bytes = folder, day_bytes
        self._policy = policy or Policy(Limits(patience=(0.02, 0.02)))
        self.restart()

    def restart(self) -> None:
        """Another life of the agent."""
        budget = Budget(self._folder / FILE_NAME, self._day_bytes, lambda: self._uptime, "boot")
        chunks = TopicChunks(self.topics)
        means = Means(chunks, self.store, self._policy, budget, lambda _chunks: None, self._zone)
        self._fetcher = VersionFetcher(means, random.Random(3))

    def passes(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds
        self._uptime += seconds

    def publish(self, *blobs: bytes) -> None:
        """Put chunks on the broker."""
        for blob in blobs:
            described, chunks = split_blob(blob)
            for digest, chunk in zip(described.chunks, chunks, strict=True):
                self.topics.publish(topics.chunk(digest), chunk)

    def fetch(
        self,
        manifest: Manifest,
        check: Callable[[Manifest], None] = lambda _manifest: None,
        interrupt: Interrupt = never,
    ) -> Fetching:
        """One try at a version whose manifest is published."""
        raw = encode_manifest(manifest)
        self.publish(raw)
        custom = TargetCustom(manifest.model, manifest.target, manifest.version, manifest.release_counter)
        target = ImageTarget("path", len(raw), sha256_hex(raw), custom)
        return self._fetcher.fetch(target, check, self.now, self.noted.append, interrupt)

    @property
    def left(self) -> int:
        """What the day has left."""
        budget = Budget(self._folder / FILE_NAME, self._day_bytes, lambda: self._uptime, "boot")
        budget.begin(self.now)
        return budget.left

    def has(self, data: bytes) -> bool:
        """Whether the store has the complete blob."""
        return self.store.has(sha256_hex(data))


def patch_of(base: bytes, result: bytes) -> bytes:
    """A real patch."""
    options: dict[int, int] = {
        zstd.CompressionParameter.window_log: 20,
        zstd.CompressionParameter.compression_level: 9,
    }
    made = zstd.ZstdCompressor(options=options, zstd_dict=zstd.ZstdDict(base, is_raw=True).as_prefix)
    return made.compress(result, made.FLUSH_FRAME)


def test_a_whole_version_comes(tmp_path: Path) -> None:
    """Manifest, artifact and golden vectors are in the store, and every byte is counted."""
    site = Site(tmp_path)
    site.publish(LARGE, GOLDEN)
    found = site.fetch(make_manifest(1, LARGE))
    assert found.error is None
    assert site.has(LARGE)
    assert site.has(GOLDEN)
    manifest = len(encode_manifest(make_manifest(1, LARGE)))
    assert found.fetched_bytes == len(LARGE) + len(GOLDEN) + manifest


def test_what_this_device_cannot_run_costs_its_manifest(tmp_path: Path) -> None:
    """A refusal by the device ends the try for good, and only the manifest was fetched."""
    site = Site(tmp_path)
    site.publish(LARGE, GOLDEN)

    def check(_manifest: Manifest) -> None:
        raise RuntimeLoadError("not here")

    found = site.fetch(make_manifest(1, LARGE), check)
    assert isinstance(found.error, RuntimeLoadError)
    assert found.retry_after is None
    assert found.fetched_bytes < CHUNK_BYTES


def test_a_large_version_waits_for_its_window_and_then_comes(tmp_path: Path) -> None:
    """At noon only the manifest is fetched; the wait ends when the window opens, and then all comes."""
    site = Site(tmp_path, Policy(Limits(patience=(0.02,)), (parse_window("22:00-05:00"),), 64 * 1024))
    site.publish(LARGE, GOLDEN)
    found = site.fetch(make_manifest(1, LARGE))
    assert isinstance(found.error, WaitingForWindowError)
    assert found.retry_after == pytest.approx(10 * 3600, abs=60)
    assert "22:00" in found.error.sentence
    assert found.fetched_bytes < CHUNK_BYTES
    site.passes(10 * 3600)
    assert site.fetch(make_manifest(1, LARGE)).error is None
    assert site.has(LARGE)


def in_paris(text: str) -> float:
    """A moment by the wall clock of Paris, seconds since the epoch."""
    return datetime.fromisoformat(text).replace(tzinfo=PARIS).timestamp()


def test_a_window_that_closes_ends_a_transfer(tmp_path: Path) -> None:
    """Nothing is asked for once the window has closed, in standby too; what came stays for the next night."""
    policy = Policy(Limits(patience=(0.02,)), (parse_window("12:00-12:04"),), 64 * 1024)
    site = Site(tmp_path, policy)
    site.publish(LARGE, GOLDEN)

    def a_minute_passes() -> bool:
        site.passes(60)
        return False

    found = site.fetch(make_manifest(1, LARGE), interrupt=a_minute_passes)
    assert isinstance(found.error, WaitingForWindowError)
    assert found.retry_after == pytest.approx(DAY, abs=600)
    assert 0 < site.store.lacking_bytes(split_blob(LARGE)[0]) < len(LARGE)


@pytest.mark.parametrize(
    ("window", "now", "hours"),
    [("04:00-05:00", "2026-03-29T00:30", 2.5), ("04:00-05:00", "2026-10-25T00:30", 4.5)],
)
def test_a_wait_over_a_change_of_the_clock(tmp_path: Path, window: str, now: str, hours: float) -> None:
    """The wait for a window is as long as it takes, an hour less in spring and an hour more in autumn."""
    policy = Policy(Limits(patience=(0.02,)), (parse_window(window),), 64 * 1024)
    site = Site(tmp_path, policy, now=in_paris(now), zone=PARIS)
    site.publish(LARGE, GOLDEN)
    assert site.fetch(make_manifest(1, LARGE)).retry_after == pytest.approx(hours * 3600, abs=5)


def test_a_window_over_a_change_of_the_clock(tmp_path: Path) -> None:
    """A window that is an hour shorter in spring closes by the wall clock, not an hour later."""
    policy = Policy(Limits(patience=(0.02,)), (parse_window("22:00-05:00"),), 64 * 1024)
    site = Site(tmp_path, policy, now=in_paris("2026-03-28T22:00"), zone=PARIS)
    site.publish(LARGE, GOLDEN)
    begun = tmp_path / "store" / f"{sha256_hex(LARGE)}.partial"
    night = iter([6.5 * 3600])

    def the_night_passes() -> bool:
        if begun.exists():
            site.passes(next(night, 0.0))
        return False

    found = site.fetch(make_manifest(1, LARGE), interrupt=the_night_passes)
    assert isinstance(found.error, WaitingForWindowError)


def test_a_small_version_does_not_wait(tmp_path: Path) -> None:
    """What costs less than ``urgent_kb`` after the choice of a patch comes at once."""
    site = Site(tmp_path, Policy(Limits(patience=(0.02,)), (parse_window("22:00-05:00"),), 16 * 1024))
    near = BASE[:-100] + bytes(100)
    patch = patch_of(BASE, near)
    site.store.put(BASE)
    site.publish(patch, GOLDEN)
    assert site.fetch(make_manifest(2, near, ((BASE, patch),))).error is None
    assert site.has(near)


def test_a_version_that_does_not_fit_today_waits_untouched(tmp_path: Path) -> None:
    """With half the day's bytes gone, a version that fits a fresh day takes nothing, and comes tomorrow."""
    site = Site(tmp_path, day_bytes=20 * CHUNK_BYTES)
    site.publish(LARGE, BASE, GOLDEN)
    small = random_artifact(9, 10 * CHUNK_BYTES)
    site.publish(small)
    assert site.fetch(make_manifest(1, small)).error is None
    found = site.fetch(make_manifest(2, LARGE))
    assert isinstance(found.error, ByteBudgetError)
    assert found.retry_after is not None
    assert found.retry_after == pytest.approx(DAY, abs=1000)
    assert site.store.lacking_bytes(split_blob(LARGE)[0]) == len(LARGE)
    site.passes(found.retry_after)
    assert site.fetch(make_manifest(2, LARGE)).error is None


def test_a_blob_larger_than_a_day_comes_over_days(tmp_path: Path) -> None:
    """Five chunks a day: each day takes no more than that, over restarts, and the third brings the rest."""
    limit = 5 * CHUNK_BYTES + 9000
    site = Site(tmp_path, day_bytes=limit)
    site.publish(LARGE, GOLDEN)
    taken = []
    for _ in range(6):
        before = site.topics.received_bytes
        found = site.fetch(make_manifest(1, LARGE))
        taken.append(site.topics.received_bytes - before)
        if found.error is None:
            break
        assert isinstance(found.error, ByteBudgetError)
        assert found.retry_after is not None
        site.passes(found.retry_after)
        site.restart()
    assert site.has(LARGE)
    assert max(taken) <= limit
    assert len(taken) == 3
    manifest = len(encode_manifest(make_manifest(1, LARGE)))
    assert sum(taken) == len(LARGE) + len(GOLDEN) + manifest


def test_wrong_bytes_count(tmp_path: Path) -> None:
    """A poisoned chunk uses the budget up like a right one: repeating it does not go round the limit."""
    site = Site(tmp_path, Policy(Limits(patience=(0.01,) * 50)), day_bytes=6 * CHUNK_BYTES)
    wide = random_artifact(4, 2 * CHUNK_BYTES)
    site.publish(wide, GOLDEN)
    site.topics.retained[topics.chunk(split_blob(wide)[0].chunks[1])] = bytes(CHUNK_BYTES)
    found = site.fetch(make_manifest(1, wide))
    assert isinstance(found.error, ByteBudgetError)
    assert site.topics.received_bytes <= 6 * CHUNK_BYTES


def test_what_is_on_its_way_when_work_is_called_off_counts(tmp_path: Path) -> None:
    """A newer version interrupts: chunks that were asked for and did not come are counted, for they may."""
    site = Site(tmp_path, Policy(Limits(patience=(30.0,))), day_bytes=20 * CHUNK_BYTES)
    site.publish(LARGE[: 2 * CHUNK_BYTES], GOLDEN)
    looks = iter([False] * 12)
    with pytest.raises(Interrupted):
        site.fetch(make_manifest(1, LARGE), interrupt=lambda: next(looks, True))
    assert site.left <= 20 * CHUNK_BYTES - site.topics.received_bytes - CHUNK_BYTES


def test_a_patch_that_cannot_be_used_is_replaced_aloud(tmp_path: Path) -> None:
    """The full blob comes in its place, reported with its bytes; the next try does not tell it again."""
    site = Site(tmp_path)
    site.store.put(BASE)
    site.publish(LARGE, GOLDEN, b"no patch")
    assert site.fetch(make_manifest(2, LARGE, ((BASE, b"no patch"),))).error is None
    assert site.has(LARGE)
    assert [error.name for error in site.noted] == ["PatchBase"]
    assert str(len(LARGE)) in site.noted[0].sentence


def test_a_full_blob_beyond_the_budget_is_refused(tmp_path: Path) -> None:
    """Where a patch was planned and the full blob does not fit: E037, for good, and no byte of it came."""
    site = Site(tmp_path, day_bytes=3 * CHUNK_BYTES)
    site.store.put(BASE)
    site.publish(LARGE, GOLDEN, b"no patch")
    found = site.fetch(make_manifest(2, LARGE, ((BASE, b"no patch"),)))
    assert isinstance(found.error, FullBlobRefusedError)
    assert found.retry_after is None
    assert site.store.lacking_bytes(split_blob(LARGE)[0]) == len(LARGE)


def test_a_patch_that_does_not_come_is_tried_again_before_the_full_blob(tmp_path: Path) -> None:
    """Silence of a patch is the network's until it has been silent twice; then the full blob comes, aloud."""
    site = Site(tmp_path)
    site.store.put(BASE)
    near = BASE[:-100] + bytes(100)
    site.publish(near, GOLDEN)
    manifest = make_manifest(2, near, ((BASE, patch_of(BASE, near)),))
    for _ in range(PATCH_TRIES - 1):
        found = site.fetch(manifest)
        assert isinstance(found.error, BlobTimeoutError)
        assert found.retry_after is not None
    assert site.fetch(manifest).error is None
    assert [error.name for error in site.noted] == ["PatchBase"]


def test_a_blob_that_is_nearly_here_is_finished(tmp_path: Path) -> None:
    """With one chunk lacking, the chunk is fetched and not the larger patch."""
    site = Site(tmp_path)
    site.store.put(BASE)
    patch = random_artifact(7, 2 * CHUNK_BYTES)
    site.publish(LARGE, GOLDEN, patch)
    missing = topics.chunk(split_blob(LARGE)[0].chunks[3])
    held_back = site.topics.retained.pop(missing)
    assert isinstance(site.fetch(make_manifest(1, LARGE)).error, BlobTimeoutError)
    site.topics.publish(missing, held_back)
    found = site.fetch(make_manifest(2, LARGE, ((BASE, patch),)))
    assert found.error is None
    assert found.fetched_bytes < CHUNK_BYTES + 8192
    assert site.noted == []


def test_pauses_grow_and_begin_anew_with_progress(tmp_path: Path) -> None:
    """Tries without a byte wait longer and longer; one that brought something begins with the first pause."""
    site = Site(tmp_path)
    site.publish(GOLDEN)
    pauses = [site.fetch(make_manifest(1, LARGE)).retry_after for _ in range(5)]
    assert None not in pauses
    waits = [pause for pause in pauses if pause is not None]
    assert waits[-1] > 100 > 15 >= waits[0]
    site.publish(LARGE[:CHUNK_BYTES])
    found = site.fetch(make_manifest(1, LARGE))
    assert found.retry_after is not None
    assert found.retry_after <= 15


@pytest.mark.parametrize("error", [SlowRetrievalError, TransferDeadlineError])
def test_what_the_network_ends_is_tried_again(tmp_path: Path, error: type[EdgewrightError]) -> None:
    """Too slow and too long are no end of a deployment; after the pause the time begins anew."""
    site = Site(tmp_path)
    site.publish(LARGE, GOLDEN)
    failing = [True]

    def check(_manifest: Manifest) -> None:
        if failing.pop() if failing else False:
            raise error("as it happened")

    found = site.fetch(make_manifest(1, LARGE), check)
    assert isinstance(found.error, error)
    assert found.retry_after is not None
    assert site.fetch(make_manifest(1, LARGE), check).error is None
