"""Signatures over real TUF documents, read from topics in memory."""

import time
import zlib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from edgewright.agent.fetcher import MetadataFetcher, Reader, TopicReader, inflate
from edgewright.agent.trust import Director, ImageRepository
from edgewright.wire import topics
from edgewright.wire.errors import (
    BlobTimeoutError,
    EdgewrightError,
    ExpiredMetadataError,
    RollbackAttackError,
    TamperedMetadataError,
)
from simulators.releases import make_manifest, random_artifact
from simulators.repository import DEVICE, RepositorySimulator

ARTIFACT = random_artifact(1)


class Listening(Reader):
    """Keeps what is asked for, and how long it may take; nobody waits."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.asked: list[tuple[str, float]] = []

    def read(self, topic: str, timeout: float) -> bytes | None:
        """See ``Reader``."""
        self.asked.append((topic, timeout))
        return self._reader.read(topic, 0.01)


def make(simulator: RepositorySimulator, folder: Path) -> ImageRepository:
    """An image repository with little patience."""
    fetcher = MetadataFetcher(TopicReader(simulator.topics), seconds=0.1)
    return ImageRepository(folder, simulator.image_root, fetcher)


def test_finds_a_signed_release(tmp_path: Path) -> None:
    """A refresh verifies the chain and finds the target; a path that nobody signed is None."""
    simulator = RepositorySimulator()
    path = simulator.release(make_manifest(1, ARTIFACT), ARTIFACT)
    seen, found = make(simulator, tmp_path).refresh(time.time(), path)
    assert (seen.root, seen.timestamp, found.path if found else None) == (1, 2, path)
    assert make(simulator, tmp_path).refresh(time.time(), path.replace("/1.", "/2."))[1] is None


def test_missing_root_costs_no_waiting(tmp_path: Path) -> None:
    """The hint answers for the next root: its topic is not even subscribed."""
    simulator = RepositorySimulator()
    make(simulator, tmp_path).refresh(time.time())
    assert topics.metadata("2.root.json") not in simulator.topics.subscribed


def test_only_the_first_silence_about_the_hint_is_waited_for(tmp_path: Path) -> None:
    """Without a hint each new document asks for one, and only the first waits for seconds."""
    simulator = RepositorySimulator()
    path = simulator.release(make_manifest(1, ARTIFACT), ARTIFACT)
    simulator.topics.publish(topics.head(), b"")
    reader = Listening(TopicReader(simulator.topics))
    director = Director(simulator.director_root, tmp_path, MetadataFetcher(reader))
    for _ in range(3):
        assert director.read(simulator.assign(path)).target.path == path
    first, *later = [seconds for topic, seconds in reader.asked if topic == topics.head()]
    assert len(later) == 2
    assert sum(later) < first / 2


def test_follows_rotated_roots(tmp_path: Path) -> None:
    """A device that was away follows every root that was published meanwhile."""
    simulator = RepositorySimulator()
    for _ in range(5):
        simulator.rotate_root()
    assert make(simulator, tmp_path).refresh(time.time())[0].root == 6


def test_reads_an_assignment() -> None:
    """A document that the director signed comes back with what it says."""
    simulator = RepositorySimulator()
    path = simulator.release(make_manifest(1, ARTIFACT), ARTIFACT)
    assignment = Director(simulator.director_root).read(simulator.assign(path))
    assert (assignment.version, assignment.target.path, assignment.orders.device) == (1, path, DEVICE)


def _signed_by_timestamp(simulator: RepositorySimulator, path: str) -> bytes:
    return simulator.sign_assignment(path, signed_by="timestamp")


def _edited(simulator: RepositorySimulator, path: str) -> bytes:
    return simulator.sign_assignment(path).replace(b"robot-1", b"robot-9")


def _cut(simulator: RepositorySimulator, path: str) -> bytes:
    return simulator.sign_assignment(path)[:-20]


def _huge(simulator: RepositorySimulator, path: str) -> bytes:
    return simulator.sign_assignment(path) + b" " * 70_000


def _other_type(simulator: RepositorySimulator, _path: str) -> bytes:
    return simulator.director_root


@pytest.mark.parametrize("attack", [_signed_by_timestamp, _edited, _cut, _huge, _other_type])
def test_assignments_that_do_not_verify(attack: Callable[[RepositorySimulator, str], bytes]) -> None:
    """A document that is edited, cut, huge, of another type or signed by another key is tampered metadata."""
    simulator = RepositorySimulator()
    path = simulator.release(make_manifest(1, ARTIFACT), ARTIFACT)
    with pytest.raises(TamperedMetadataError):
        Director(simulator.director_root).read(attack(simulator, path))


def _garbage(simulator: RepositorySimulator) -> None:
    simulator.topics.retained[topics.timestamp()] = b"no zlib"


def _bomb(simulator: RepositorySimulator) -> None:
    simulator.topics.retained[topics.timestamp()] = zlib.compress(bytes(50_000_000))


def _edited_role(simulator: RepositorySimulator) -> None:
    topic = topics.metadata("2.garment-packing.json")
    content = zlib.decompress(simulator.topics.retained[topic])
    simulator.topics.retained[topic] = zlib.compress(content.replace(b'"version":1', b'"version":7'))


def _role_of_another_key(simulator: RepositorySimulator) -> None:
    other = RepositorySimulator()
    other.release(make_manifest(1, random_artifact(9)), random_artifact(9))
    topic = topics.metadata("2.garment-packing.json")
    simulator.topics.retained[topic] = other.topics.retained[topic]


def _missing_snapshot(simulator: RepositorySimulator) -> None:
    simulator.topics.retained.pop(topics.metadata("2.snapshot.json"))


@pytest.mark.parametrize(
    ("attack", "error"),
    [
        (_garbage, TamperedMetadataError),
        (_bomb, TamperedMetadataError),
        (_edited_role, TamperedMetadataError),
        (_role_of_another_key, TamperedMetadataError),
        (_missing_snapshot, BlobTimeoutError),
    ],
)
def test_metadata_that_is_refused(
    tmp_path: Path, attack: Callable[[RepositorySimulator], None], error: type[EdgewrightError]
) -> None:
    """Each attack on retained metadata is refused by name, and the honest state is accepted afterwards."""
    simulator = RepositorySimulator()
    path = simulator.release(make_manifest(1, ARTIFACT), ARTIFACT)
    attack(simulator)
    with pytest.raises(error):
        make(simulator, tmp_path).refresh(time.time(), path)
    simulator.publish()
    assert make(simulator, tmp_path).refresh(time.time(), path)[1] is not None


def test_older_timestamp_is_a_rollback_attack(tmp_path: Path) -> None:
    """A device that saw a newer timestamp refuses an older one that is validly signed."""
    simulator = RepositorySimulator()
    old = simulator.topics.retained[topics.timestamp()]
    simulator.renew()
    make(simulator, tmp_path).refresh(time.time())
    simulator.topics.retained[topics.timestamp()] = old
    with pytest.raises(RollbackAttackError):
        make(simulator, tmp_path).refresh(time.time())


def test_expired_metadata_is_refused_at_the_given_time(tmp_path: Path) -> None:
    """Expiry counts at the time that the caller trusts, not at the system's clock."""
    simulator = RepositorySimulator()
    make(simulator, tmp_path).refresh(time.time())
    with pytest.raises(ExpiredMetadataError):
        make(simulator, tmp_path / "later").refresh(time.time() + timedelta(days=8).total_seconds())
    simulator.life = timedelta(days=-1)
    simulator.renew()
    with pytest.raises(ExpiredMetadataError):
        make(simulator, tmp_path).refresh(time.time())


def test_an_edited_cache_brings_no_root(tmp_path: Path) -> None:
    """A foreign root in the cache folder is ignored: the enrolled root is the anchor."""
    simulator, attacker = RepositorySimulator(), RepositorySimulator()
    repository = make(simulator, tmp_path)
    repository.refresh(time.time())
    (tmp_path / "root_history" / "2.root.json").write_bytes(attacker.image_root)
    assert repository.refresh(time.time())[0].root == 1


def test_a_root_that_is_none_is_refused() -> None:
    """A damaged enrolled root ends as tampered metadata, not as a traceback."""
    with pytest.raises(TamperedMetadataError):
        Director(b"{}")


def test_inflate_is_bounded() -> None:
    """Exactly the limit passes, one byte more does not, and a cut stream does not."""
    packed = zlib.compress(bytes(1000))
    assert inflate(packed, 1000) == bytes(1000)
    for data, limit in ((packed, 999), (packed[:-3], 1000), (b"", 10)):
        with pytest.raises(TamperedMetadataError):
            inflate(data, limit)
