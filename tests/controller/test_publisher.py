"""What the publisher puts on a real broker, in which order, how often, and what it answers to a want."""

import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgewright.controller.blobs import BlobStore
from edgewright.controller.errors import BrokerFullError, DataFolderDamagedError
from edgewright.controller.link import BrokerLink
from edgewright.controller.publisher import Publisher
from edgewright.controller.trust.keys import KeyStore
from edgewright.controller.trust.repository import ImageRepository, TargetEntry
from edgewright.controller.wants import BYTES_A_SECOND, FEWEST_SHARES, WantLimiter
from edgewright.wire import messages, topics
from edgewright.wire.assignment import TargetCustom
from edgewright.wire.canonical import sha256_hex
from edgewright.wire.errors import MalformedMessageError
from edgewright.wire.manifest import (
    CHUNK_BYTES,
    Limits,
    Manifest,
    Patch,
    Preprocessing,
    RuntimeRange,
    Tensor,
    encode_manifest,
    split_blob,
    target_path,
)
from edgewright.wire.messages import Head, Want
from simulators.releases import random_artifact
from tests.contract.brokers import running

HANG_S = 30.0
_MARK = topics.ack("mark")
MODEL, TARGET = "garment-packing", "x86_64-ort-cpu"


class World:
    """A publisher on a real broker, and somebody who writes down every message as it passes."""

    def __init__(self, folder: Path, host: str, port: int) -> None:
        self.now = 100.0
        self._heard: list[tuple[str, bytes]] = []
        self._since = 0
        self.roots = [b"first root"]
        self.link = BrokerLink(host, port, "controller")
        self.witness = BrokerLink(host, port, "witness")
        self.blobs = BlobStore(folder / "blobs")
        self.repository = ImageRepository(folder / "tuf", KeyStore(folder / "keys"))
        self.repository.ensure()
        self.publisher = self.new_publisher()

    def hear(self, topic: str, payload: bytes) -> None:
        """Write a message down; runs on the witness's network thread."""
        self._heard.append((topic, payload))

    def new_publisher(self) -> Publisher:
        """The publisher of a restarted controller."""
        return Publisher(self.link, self.blobs, self.repository, lambda: self.roots, clock=lambda: self.now)

    def release(self, version: int, artifact: bytes, patch: bytes = b"a patch") -> str:
        """Store and sign a release; returns the manifest's digest."""
        parts = [split_blob(data)[0] for data in (artifact, b"golden", patch)]
        for data in (artifact, b"golden", patch):
            self.blobs.put(data)
        raw = encode_manifest(
            Manifest(
                model=MODEL,
                version=version,
                target=TARGET,
                release_counter=version,
                precision="int8",
                qualification="emulated",
                runtime=RuntimeRange("onnxruntime", "1.20", "2", "CPUExecutionProvider"),
                preprocessing=Preprocessing(28, 28, "gray", (0.5,), (0.5,)),
                input=Tensor("x", "float32", (1, 1, 28, 28)),
                output=Tensor("y", "float32", (1, 10)),
                labels=("a", "b"),
                fallback="manual",
                artifact=parts[0],
                golden=parts[1],
                patches=(Patch("ab" * 32, 10, parts[2]),),
                limits=Limits(0.1, 1000, 100, 1, 1),
                temperature=1.0,
                provenance_sha256="cd" * 32,
            )
        )
        entry = TargetEntry(
            target_path(MODEL, TARGET, version),
            len(raw),
            sha256_hex(raw),
            TargetCustom(MODEL, TARGET, version, version),
        )
        self.repository.add_release([entry])
        return self.blobs.put(raw)

    def flip_a_byte(self, sha256: str) -> None:
        """Damage a blob's first byte on disk."""
        path = self.blobs.path(sha256)
        data = path.read_bytes()
        path.write_bytes(bytes([data[0] ^ 1]) + data[1:])

    @property
    def passed(self) -> list[tuple[str, bytes]]:
        """Topic and payload of what has passed since ``forget``, marks left out."""
        return [message for message in self._heard[self._since :] if message[0] != _MARK]

    def forget(self) -> None:
        """Leave out what has passed until now."""
        self._since = len(self._heard)

    def settled(self) -> list[str]:
        """Topics of everything that has passed so far, in order: a mark that is sent now has passed too."""
        mark = b"%d" % time.monotonic_ns()
        deadline = time.monotonic() + HANG_S
        while (_MARK, mark) not in self._heard:
            assert time.monotonic() < deadline
            self.link.publish(_MARK, mark)
            time.sleep(0.02)
        return [topic for topic, _ in self.passed]

    def chunks_passed(self) -> list[str]:
        """Digests of the chunks that have passed."""
        self.settled()
        return [topics.parse_chunk(topic) for topic, data in self.passed if "/chunk/" in topic and data]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A world whose witness hears everything from the beginning."""
    with running("nats", tmp_path / "broker") as broker:
        made = World(tmp_path, broker.host, broker.port)
        for link in (made.link, made.witness):
            link.start()
            link.wait_connected(HANG_S)
        # One subscription: brokers keep the order within a subscription only.
        made.witness.subscribe(f"{topics.ROOT}/#", made.hear)
        made.settled()
        try:
            yield made
        finally:
            made.witness.stop()
            made.link.stop()


def position(names: list[str]) -> Callable[[str], int]:
    """Where a topic passed for the first time."""
    return names.index


def test_every_chunk_has_the_bytes_of_its_digest(world: World) -> None:
    """Manifest, artifact, golden vectors and patch are published as chunks that hash to their topics."""
    artifact = bytes(range(256)) * 2000
    manifest = world.release(1, artifact)
    world.publisher.publish_release(manifest)
    published = world.chunks_passed()
    assert set(published) == {
        manifest,
        *split_blob(artifact)[0].chunks,
        *split_blob(b"golden")[0].chunks,
        *split_blob(b"a patch")[0].chunks,
    }
    assert all(sha256_hex(data) == topics.parse_chunk(topic) for topic, data in world.passed)


def test_a_chunk_is_published_once(world: World) -> None:
    """Chunks that two releases share, or that one blob repeats, pass once."""
    shared = bytes(CHUNK_BYTES)
    first = world.release(1, shared + shared + b"one")
    second = world.release(2, shared + b"two")
    for manifest in (first, second, first):
        world.publisher.publish_release(manifest)
    published = world.chunks_passed()
    assert len(published) == len(set(published))
    assert published.count(sha256_hex(shared)) == 1


def test_the_timestamp_comes_last(world: World) -> None:
    """Metadata files pass before the hint and the hint before the timestamp; the hint lists what is there."""
    world.release(1, b"model")
    world.publisher.publish_metadata()
    names = world.settled()
    at = position(names)
    assert at(topics.timestamp()) == len(names) - 1
    assert at(topics.head()) == len(names) - 2
    content = dict(world.passed)
    head = messages.decode_down(content[topics.head()])
    assert isinstance(head, Head)
    assert head.root == 1
    assert head.director_root == 1
    assert content[topics.director_root(1)] == zlib.compress(b"first root", 9)
    assert at(topics.director_root(1)) < at(topics.head())
    for name, data in world.repository.files().items():
        assert zlib.decompress(content[topics.metadata(name)]) == data


def test_metadata_is_published_once_and_cleared_when_superseded(world: World) -> None:
    """A second publication sends new files only, and topics two generations old are cleared."""
    for version in (1, 2, 3, 4):
        world.release(version, b"model %d" % version)
        world.publisher.publish_metadata()
    names = world.settled()
    assert names.count(topics.metadata("1.root.json")) == 1
    cleared = [topic for topic, data in world.passed if not data]
    assert topics.metadata("3.snapshot.json") in cleared
    assert topics.metadata("2.garment-packing.json") in cleared
    kept = dict(world.passed)
    for name in world.repository.files():
        assert kept[topics.metadata(name)]
    assert kept[topics.metadata("4.snapshot.json")]


def test_an_assignment_is_retained_and_can_be_taken_back(world: World) -> None:
    """An assignment passes as it is, and an empty document clears it."""
    world.publisher.publish_assignment("r1", b"signed")
    world.publisher.publish_assignment("r1", b"")
    world.settled()
    assert world.passed == [(topics.assignment("r1"), b"signed"), (topics.assignment("r1"), b"")]


def test_a_want_is_answered_once_a_second(world: World) -> None:
    """Devices that miss a chunk get it again, together once a second; unknown names are not answered."""
    manifest = world.release(1, b"model")
    world.publisher.publish_release(manifest)
    world.settled()
    world.forget()
    want = Want(device="r1", sent_at=0.0, chunks=(manifest, "0" * 64, "no digest"))
    assert world.publisher.handle_want(want) == 1
    assert world.publisher.handle_want(want) == 0
    world.now += 1.0
    assert world.publisher.handle_want(want) == 1
    assert world.chunks_passed() == [manifest, manifest]


def test_wanted_metadata_comes_with_the_hint_up_to_date(world: World) -> None:
    """A metadata file that is live is published again; one that is not is not, and no path escapes."""
    world.release(1, b"model")
    world.publisher.publish_metadata()
    world.settled()
    world.forget()
    want = Want(device="r1", sent_at=0.0, metadata=("timestamp.json", "9.snapshot.json", "../keys/x.json"))
    assert world.publisher.handle_want(want) == 1
    assert world.settled() == [topics.timestamp()]


def test_a_want_that_is_not_answered_reads_nothing(world: World, tmp_path: Path) -> None:
    """Whoever asks again and again costs no disk: within the second the files could as well be gone."""
    want = Want(device="r1", sent_at=0.0, metadata=("1.root.json", "timestamp.json"))
    assert world.publisher.handle_want(want) == 2
    (tmp_path / "tuf").rename(tmp_path / "gone")
    assert world.publisher.handle_want(want) == 0
    world.now += 1.0
    with pytest.raises(DataFolderDamagedError):
        world.publisher.handle_want(want)


def test_a_withdrawn_chunk_is_cleared_and_not_answered(world: World) -> None:
    """Withdrawn chunks are cleared from the broker, and a want for them is not answered."""
    manifest = world.release(1, b"model")
    world.publisher.publish_release(manifest)
    world.publisher.withdraw_releases([manifest])
    assert world.publisher.handle_want(Want(device="r1", sent_at=0.0, chunks=(manifest,))) == 0
    world.settled()
    assert dict(world.passed)[topics.chunk(manifest)] == b""


def test_everything_is_published_again_for_a_broker_that_lost_it(world: World) -> None:
    """Chunks, metadata and assignments are published again where the chunks are gone, assignments last; a
    restart alone sends no chunk.
    """
    manifest = world.release(1, b"model")
    world.publisher.publish_release(manifest)
    world.publisher.publish_metadata()
    world.settled()
    world.forget()
    world.new_publisher().republish_all([manifest])
    assert world.chunks_passed() == []
    world.publisher.withdraw_releases([manifest])
    world.settled()
    world.forget()
    publisher = world.new_publisher()
    publisher.republish_all([manifest])
    publisher.republish_assignments({"r1": b"one", "r2": b"two"})
    names = world.settled()
    at = position(names)
    assert at(topics.chunk(manifest)) < at(topics.metadata("1.root.json")) < at(topics.timestamp())
    assert names[-2:] == [topics.assignment("r1"), topics.assignment("r2")]


def test_a_blob_that_changed_on_disk_is_not_published(world: World) -> None:
    """A blob whose bytes are not what the manifest says stops the release with E062."""
    artifact = b"model" * 100
    manifest = world.release(1, artifact)
    world.blobs.path(sha256_hex(artifact)).write_bytes(b"model" * 99 + b"MODEL")
    with pytest.raises(DataFolderDamagedError, match="changed on disk"):
        world.publisher.publish_release(manifest)
    assert sha256_hex(artifact) not in world.chunks_passed()


def test_a_damaged_release_holds_up_nothing_else(world: World) -> None:
    """One flipped byte keeps that chunk off the broker: its release is returned with the error, and all other
    chunks and all metadata are published.
    """
    damaged, whole = random_artifact(1), random_artifact(2)
    manifests = [world.release(1, damaged), world.release(2, whole)]
    world.flip_a_byte(sha256_hex(damaged))
    found = world.publisher.republish_all(manifests)
    assert {name: error.number for name, error in found.items()} == {manifests[0]: 62}
    published = set(world.chunks_passed())
    assert published >= {*manifests, *split_blob(whole)[0].chunks, *split_blob(damaged)[0].chunks[1:]}
    assert split_blob(damaged)[0].chunks[0] not in published
    assert topics.timestamp() in world.settled()
    world.blobs.put(damaged)
    assert world.publisher.republish_all(manifests) == {}
    assert split_blob(damaged)[0].chunks[0] in world.chunks_passed()


def test_a_damaged_manifest_keeps_no_other_on_the_broker(world: World) -> None:
    """Of two withdrawn releases the one with a damaged manifest is returned, and the other is cleared."""
    manifests = [world.release(1, b"one"), world.release(2, b"two")]
    for manifest in manifests:
        world.publisher.publish_release(manifest)
    world.flip_a_byte(manifests[0])
    found = world.new_publisher().withdraw_releases(manifests)
    assert {name: error.number for name, error in found.items()} == {manifests[0]: 62}
    world.settled()
    assert dict(world.passed)[topics.chunk(manifests[1])] == b""
    assert dict(world.passed)[topics.chunk(manifests[0])] != b""


def test_a_damaged_chunk_leaves_the_other_wanted_ones(world: World) -> None:
    """A device that wants a damaged chunk among others gets the others."""
    artifact = random_artifact(1)
    manifest = world.release(1, artifact)
    world.publisher.publish_release(manifest)
    world.settled()
    world.forget()
    world.flip_a_byte(sha256_hex(artifact))
    chunks = split_blob(artifact)[0].chunks
    with pytest.raises(DataFolderDamagedError):
        world.publisher.handle_want(Want(device="r1", sent_at=0.0, chunks=chunks))
    assert set(world.chunks_passed()) == set(chunks[1:])


def test_releases_have_to_fit_together(world: World) -> None:
    """Two releases that fit one by one and not together are refused before anything of them is sent."""
    manifests = [world.release(version, random_artifact(version)) for version in (1, 2)]
    world.publisher.most_bytes = 500_000
    for manifest in manifests:
        world.publisher.verify_fit([manifest])
    with pytest.raises(BrokerFullError):
        world.publisher.verify_fit(manifests)
    assert world.chunks_passed() == []


def test_a_blob_that_is_no_manifest_is_refused(world: World) -> None:
    """Publishing a blob that is no manifest as a release is a clear error."""
    with pytest.raises(MalformedMessageError):
        world.publisher.publish_release(world.blobs.put(b"{}"))


def test_wants_have_a_ceiling() -> None:
    """However many names are wanted by however many devices, the bytes of a second stay below the ceiling."""
    limiter = WantLimiter()
    asked = [(f"r{n % 40}", str(n)) for n in range(2000)]
    for second in (10.0, 10.9, 11.0, 12.0):
        sent = sum(CHUNK_BYTES for device, name in asked if limiter.admit(device, name, CHUNK_BYTES, second))
        assert sent <= BYTES_A_SECOND
        assert (sent > BYTES_A_SECOND // 2) == (second != 10.9)
    assert len(limiter._answered) <= BYTES_A_SECOND // CHUNK_BYTES


def test_a_greedy_device_starves_nobody() -> None:
    """While one asks for everything, again and again, the others get the few chunks that they miss."""
    limiter = WantLimiter()
    greedy = [str(n) for n in range(5000)]
    for tick in range(20):
        now = 10.0 + tick / 4
        taken = sum(limiter.admit("greedy", name, CHUNK_BYTES, now) for name in greedy)
        assert taken * CHUNK_BYTES <= BYTES_A_SECOND // FEWEST_SHARES
        assert limiter.admit(f"late-{tick}", f"mine-{tick}", CHUNK_BYTES, now)
        assert limiter.admit("steady", f"steady-{tick}", CHUNK_BYTES, now)
