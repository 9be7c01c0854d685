"""The attacker holds the network and the broker: every byte that a device reads is his. He holds no key."""

import random
import time
import zlib
from pathlib import Path

import pytest

from edgewright.agent.fetcher import MAX_METADATA_BYTES
from edgewright.wire import messages, topics
from edgewright.wire.assignment import MAX_ASSIGNMENT_BYTES
from edgewright.wire.canonical import sha256_hex
from edgewright.wire.deployment import State
from edgewright.wire.manifest import encode_manifest, split_blob
from simulators.device import DeviceStub
from simulators.releases import GOLDEN, make_manifest
from simulators.repository import RepositorySimulator
from tests.attacks.stage import (
    ONE,
    PATHS,
    TWO,
    assert_lives_on,
    assert_resisted,
    assert_runs_one,
    edit,
    file_of,
    let_time_pass,
    saved_metadata,
    show_again,
)

# Arbitrary software


def test_tampered_artifact(device: DeviceStub) -> None:
    """A chunk with one other byte is never stored; the deployment is refused as TamperedArtifact."""
    chunk = split_blob(TWO)[0].chunks[0]
    device.simulator.topics.retained[topics.chunk(chunk)] = split_blob(TWO)[1][0][:-1] + b"\0"
    device.simulator.assign(PATHS[2])
    device.read_topics()
    assert_resisted(device, "TamperedArtifact")
    assert device.latest.state is State.REFUSED
    assert split_blob(TWO)[0].sha256 not in device.store.digests()


def test_tampered_artifact_is_healed_by_an_honest_controller(device: DeviceStub) -> None:
    """The device asks for the chunk again; published again, a newer assignment brings it."""
    test_tampered_artifact(device)
    chunk = split_blob(TWO)[0].chunks[0]
    assert chunk in device.wanted
    device.simulator.topics.publish(topics.chunk(chunk), split_blob(TWO)[1][0])
    assert_lives_on(device)


def test_tampered_manifest(device: DeviceStub) -> None:
    """A manifest with other bytes than the signed ones is refused as TamperedArtifact."""
    topic = topics.chunk(sha256_hex(encode_manifest(make_manifest(2, TWO))))
    device.simulator.topics.retained[topic] = device.simulator.topics.retained[topic].replace(
        b'"fp32"', b'"int8"'
    )
    device.simulator.assign(PATHS[2])
    device.read_topics()
    assert_resisted(device, "TamperedArtifact")


def test_tampered_timestamp(device: DeviceStub) -> None:
    """A timestamp that nobody signed is reported as TamperedMetadata by the device that was idle."""
    edit(device.simulator, topics.timestamp(), b'"version":3', b'"version":9')
    device.read_topics()
    assert_resisted(device, "TamperedMetadata")


def test_tampered_role(device: DeviceStub) -> None:
    """A model's role that was edited in the broker refuses the deployment as TamperedMetadata."""
    path = device.simulator.release(make_manifest(3, TWO), TWO, GOLDEN)
    role = file_of(device.simulator, "garment-packing")
    edit(device.simulator, role, b'"release_counter":3', b'"release_counter":9')
    device.simulator.assign(path)
    device.read_topics()
    assert_resisted(device, "TamperedMetadata")
    assert device.latest.state is State.REFUSED


def test_model_swapped_under_the_same_name(device: DeviceStub) -> None:
    """Version 2's chunks hold a whole other model that is fine by itself: refused as TamperedArtifact."""
    blob, pieces = split_blob(ONE)
    for digest, piece in zip(split_blob(TWO)[0].chunks, pieces, strict=True):
        device.simulator.topics.publish(topics.chunk(digest), piece)
    device.simulator.assign(PATHS[2])
    device.read_topics()
    assert_resisted(device, "TamperedArtifact")
    assert split_blob(TWO)[0].sha256 not in device.store.digests()
    assert blob.sha256 in device.store.digests()


def test_golden_vectors_swapped(device: DeviceStub) -> None:
    """Golden vectors that would let a wrong model pass never reach the qualification: TamperedArtifact."""
    golden = b"g" * 40
    path = device.simulator.release(make_manifest(3, TWO, golden=split_blob(golden)[0]), TWO, golden)
    device.simulator.topics.publish(topics.chunk(sha256_hex(golden)), b"h" * 40)
    qualified = device.states().count(State.QUALIFYING)
    device.simulator.assign(path)
    device.read_topics()
    assert_resisted(device, "TamperedArtifact")
    assert device.states().count(State.QUALIFYING) == qualified


def test_partial_bundle(device: DeviceStub) -> None:
    """An artifact without its golden vectors is not activated: all files of a release, or none."""
    golden = b"g" * 40
    path = device.simulator.release(make_manifest(3, TWO, golden=split_blob(golden)[0]), TWO, golden)
    device.simulator.topics.publish(topics.chunk(sha256_hex(golden)), b"")
    device.simulator.assign(path)
    device.read_topics()
    assert_resisted(device, "BlobTimeout")
    assert sha256_hex(golden) in device.wanted
    assert device.latest.state is State.FETCHING


# Commands


def test_forged_assignment(device: DeviceStub) -> None:
    """An assignment by somebody who has the broker's administrator rights and no key: TamperedMetadata."""
    attacker = RepositorySimulator()
    path = attacker.release(make_manifest(2, TWO), TWO, GOLDEN)
    device.simulator.topics.publish(
        topics.assignment(device.device), attacker.sign_assignment(path, version=2)
    )
    device.read_topics()
    assert_resisted(device, "TamperedMetadata")
    assert device.journal.device().version == 1
    assert_lives_on(device)


def test_assignment_signed_by_another_key(device: DeviceStub) -> None:
    """An assignment signed by an online key of the image repository is refused as TamperedMetadata."""
    device.simulator.assign(PATHS[2], signed_by="timestamp")
    device.read_topics()
    assert_resisted(device, "TamperedMetadata")
    assert device.journal.device().version == 1


def test_assignment_for_another_device(device: DeviceStub) -> None:
    """Another device's signed assignment on this device's topic is refused as ForeignAssignment."""
    raw = device.simulator.sign_assignment(PATHS[2], device="robot-2")
    device.simulator.topics.publish(topics.assignment(device.device), raw)
    device.read_topics()
    assert_resisted(device, "ForeignAssignment")
    assert device.journal.device().version == 1


def test_a_refusal_is_reported_once(device: DeviceStub) -> None:
    """The same forged document, read again with every reconnect, is reported once."""
    raw = device.simulator.sign_assignment(PATHS[2], device="robot-2")
    device.simulator.topics.publish(topics.assignment(device.device), raw)
    for _ in range(5):
        device.read_topics()
    assert device.names().count("ForeignAssignment") == 1


def test_refusals_without_end(device: DeviceStub) -> None:
    """Forged payloads, ever new ones or a few in turn, cost one report of each kind a minute."""
    before = device.outbox.waiting
    for number in range(40):
        device.deployer.document(b"forged %d" % number)
        device.deployer.timestamp(b"forged %d" % number)
        device.settle()
    for number in range(40):
        device.deployer.document(b"forged %d" % (number % 2))
    assert device.outbox.waiting - before == len(set(device.names()) - {""})
    assert_resisted(device, "TamperedMetadata")
    assert_lives_on(device)


# Rollback, freeze, mix and match


def test_older_assignment_replayed(device: DeviceStub) -> None:
    """An assignment that was accepted once and superseded is refused as RollbackAttack."""
    old = device.simulator.topics.retained[topics.assignment(device.device)]
    device.simulator.assign(PATHS[1])
    device.read_topics()
    device.simulator.topics.publish(topics.assignment(device.device), old)
    device.read_topics()
    assert_resisted(device, "RollbackAttack")
    assert device.journal.device().version == 2


def test_older_metadata_replayed(device: DeviceStub) -> None:
    """All metadata as it was yesterday, validly signed and not expired, is refused as RollbackAttack."""
    old = saved_metadata(device.simulator)
    device.simulator.renew()
    device.read_topics()
    seen = device.journal.device().seen
    show_again(device.simulator, old)
    device.read_topics()
    assert_resisted(device, "RollbackAttack")
    assert device.journal.device().seen == seen


@pytest.mark.parametrize("role", ["snapshot", "garment-packing"])
def test_mix_and_match(device: DeviceStub, role: str) -> None:
    """An older snapshot, or an older role, under today's timestamp is refused."""
    simulator = device.simulator
    old = simulator.topics.retained[file_of(simulator, role)]
    path = simulator.release(make_manifest(3, TWO), TWO, GOLDEN)
    simulator.topics.publish(file_of(simulator, role), old)
    simulator.assign(path)
    device.read_topics()
    assert_resisted(device, "RollbackAttack")
    assert device.latest.state is State.REFUSED


def test_freeze(device: DeviceStub, tmp_path: Path) -> None:
    """Metadata that is shown past its expiry installs nothing; the running model goes on."""
    device.cut_power()
    late = DeviceStub(
        device.simulator, tmp_path / "device", system_time=lambda: time.time() + 8 * 24 * 3600
    ).start()
    assert_runs_one(late)
    late.read_topics()
    assert_resisted(late, "ExpiredMetadata")
    late.simulator.life *= 3
    late.simulator.renew()
    assert_lives_on(late)


def test_withheld_metadata(device: DeviceStub) -> None:
    """A broker that hides newer metadata is found out by the assignment's demand: RollbackAttack."""
    old = saved_metadata(device.simulator)
    device.simulator.renew()
    device.simulator.assign(PATHS[2])
    show_again(device.simulator, old)
    device.read_topics()
    let_time_pass(device)
    assert_resisted(device, "RollbackAttack")
    assert device.latest.state is State.REFUSED


def test_404_for_roots(device: DeviceStub) -> None:
    """A broker that hides the next root, so that stolen keys stay good: the assignment demands it."""
    simulator = device.simulator
    simulator.rotate_root()
    hidden = topics.metadata("2.root.json")
    simulator.topics.publish(hidden, b"")
    head = messages.Head(root=1)
    simulator.topics.publish(topics.head(), messages.encode(head))
    simulator.assign(PATHS[2])
    device.read_topics()
    let_time_pass(device)
    assert_resisted(device, "RollbackAttack")
    assert device.latest.state is State.REFUSED
    simulator.publish()
    assert_lives_on(device)


# Denial of service


def test_endless_timestamp(device: DeviceStub) -> None:
    """A timestamp of 20 MB that no compressor made smaller is refused, and the next honest one is taken."""
    endless = zlib.compress(random.Random(1).randbytes(20_000_000), level=0)
    device.simulator.topics.publish(topics.timestamp(), endless)
    device.read_topics()
    assert_resisted(device, "TamperedMetadata")
    device.simulator.renew()
    device.read_topics()
    assert device.journal.device().seen.timestamp == 4


def test_endless_document(device: DeviceStub) -> None:
    """An assignment of 10 MB is refused before it is parsed."""
    document = device.simulator.sign_assignment(PATHS[2])
    device.simulator.topics.publish(topics.assignment(device.device), document + b" " * 10_000_000)
    device.read_topics()
    assert_resisted(device, "TamperedMetadata")
    assert len(document) < MAX_ASSIGNMENT_BYTES
    assert_lives_on(device)


def test_endless_chunk(device: DeviceStub) -> None:
    """A chunk that goes on after its right bytes is refused as TamperedArtifact."""
    blob, pieces = split_blob(TWO)
    device.simulator.topics.publish(topics.chunk(blob.chunks[-1]), pieces[-1] + bytes(5_000_000))
    device.simulator.assign(PATHS[2])
    device.read_topics()
    assert_resisted(device, "TamperedArtifact")
    assert blob.sha256 not in device.store.digests()


def test_zip_bomb(device: DeviceStub) -> None:
    """200 KB that would become 200 MB stop at the limit of any metadata file."""
    packer = zlib.compressobj()
    bomb = b"".join(packer.compress(bytes(1_000_000)) for _ in range(200)) + packer.flush()
    assert len(bomb) < 250_000 < MAX_METADATA_BYTES
    device.simulator.topics.publish(topics.timestamp(), bomb)
    device.read_topics()
    assert_resisted(device, "TamperedMetadata")
    assert_runs_one(device)
