"""The four refusals of a device, as stories: a legitimate step, the attack, the refusal, nothing changed."""

import zlib
from pathlib import Path

import pytest

from edgewright.agent.trust import Director
from edgewright.wire import topics
from edgewright.wire.deployment import State
from edgewright.wire.manifest import split_blob
from simulators.device import DeviceStub
from simulators.releases import GOLDEN, make_manifest, random_artifact
from simulators.repository import RepositorySimulator

ONE, TWO = random_artifact(1), random_artifact(2)
PATHS = {version: f"garment-packing/x86_64-ort-cpu/{version}.json" for version in (1, 2)}


@pytest.fixture
def device(tmp_path: Path) -> DeviceStub:
    """A device that runs version 1, in a repository that has version 2 as well."""
    simulator = RepositorySimulator()
    for version, artifact in ((1, ONE), (2, TWO)):
        simulator.release(make_manifest(version, artifact), artifact, GOLDEN)
    started = DeviceStub(simulator, tmp_path / "device").start()
    simulator.assign(PATHS[1])
    started.read_topics()
    assert started.running_artifact == ONE
    return started


def assert_resisted(device: DeviceStub, name: str) -> None:
    """Version 1 decides, in the journal and in the line; the floor is where it was; the attack is named."""
    assert device.running is not None
    assert device.running.version == 1
    assert device.running_artifact == ONE
    assert device.journal.floors() == {"garment-packing": 1}
    assert name in device.names()


def test_tampered_artifact(device: DeviceStub) -> None:
    """A chunk with other bytes is never stored; the deployment is refused as TamperedArtifact."""
    chunk = split_blob(TWO)[0].chunks[0]
    device.simulator.topics.retained[topics.chunk(chunk)] = split_blob(TWO)[1][0][:-1] + b"\0"
    device.simulator.assign(PATHS[2])
    device.read_topics()
    assert_resisted(device, "TamperedArtifact")
    assert device.latest.state is State.REFUSED
    assert split_blob(TWO)[0].sha256 not in device.store.digests()


def test_tampered_artifact_is_healed_by_an_honest_controller(device: DeviceStub) -> None:
    """When the controller publishes the chunk again, a newer assignment brings the release after all."""
    test_tampered_artifact(device)
    chunk = split_blob(TWO)[0].chunks[0]
    assert chunk in device.wanted
    device.simulator.topics.publish(topics.chunk(chunk), split_blob(TWO)[1][0])
    device.simulator.assign(PATHS[2])
    device.read_topics()
    assert device.running_artifact == TWO


def test_tampered_manifest(device: DeviceStub) -> None:
    """A manifest with other bytes than the signed ones is refused as TamperedArtifact."""
    raw = device.simulator.sign_assignment(PATHS[2])
    digest = Director(device.simulator.director_root).read(raw).target.sha256
    topic = topics.chunk(digest)
    forged = device.simulator.topics.retained[topic].replace(b'"fp32"', b'"int8"')
    device.simulator.topics.retained[topic] = forged
    device.deployer.document(raw)
    device.settle()
    assert_resisted(device, "TamperedArtifact")


def test_tampered_timestamp(device: DeviceStub) -> None:
    """A timestamp that nobody signed is reported as TamperedMetadata by the device that was idle."""
    topic = topics.timestamp()
    content = zlib.decompress(device.simulator.topics.retained[topic])
    device.simulator.topics.publish(topic, zlib.compress(content.replace(b'"version":3', b'"version":9')))
    device.read_topics()
    assert_resisted(device, "TamperedMetadata")


def test_tampered_role(device: DeviceStub) -> None:
    """A model's role that was edited in the broker refuses the deployment as TamperedMetadata."""
    path = device.simulator.release(make_manifest(3, TWO), TWO, GOLDEN)
    topic = topics.metadata("4.garment-packing.json")
    content = zlib.decompress(device.simulator.topics.retained[topic])
    forged = content.replace(b'"release_counter":3', b'"release_counter":9')
    assert forged != content
    device.simulator.topics.retained[topic] = zlib.compress(forged)
    device.simulator.assign(path)
    device.read_topics()
    assert_resisted(device, "TamperedMetadata")
    assert device.latest.state is State.REFUSED


def test_stolen_director_key_alone(device: DeviceStub) -> None:
    """A director that names other bytes than the image repository signed is refused as Disagreement."""
    device.simulator.assign(PATHS[2], lies={"sha256": "e" * 64})
    device.read_topics()
    assert_resisted(device, "Disagreement")


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


def test_older_assignment_replayed(device: DeviceStub) -> None:
    """An assignment that was accepted once and superseded is refused as RollbackAttack."""
    old = device.simulator.topics.retained[topics.assignment(device.device)]
    device.simulator.assign(PATHS[1])
    device.read_topics()
    device.simulator.topics.publish(topics.assignment(device.device), old)
    device.read_topics()
    assert_resisted(device, "RollbackAttack")
    assert device.journal.device().version == 2


def test_older_release_assigned(device: DeviceStub) -> None:
    """A signed older release without an ordered rollback is refused as RollbackAttack."""
    device.simulator.release(make_manifest(3, TWO, release_counter=0), TWO, GOLDEN)
    device.simulator.assign("garment-packing/x86_64-ort-cpu/3.json")
    device.read_topics()
    assert_resisted(device, "RollbackAttack")
    assert device.latest.state is State.REFUSED


def test_two_assignments_of_one_version(device: DeviceStub) -> None:
    """A second document with the accepted one's version is refused as Equivocation."""
    raw = device.simulator.sign_assignment(PATHS[2], version=1)
    device.simulator.topics.publish(topics.assignment(device.device), raw)
    device.read_topics()
    assert_resisted(device, "Equivocation")


def test_emptied_cache_forgets_nothing(device: DeviceStub, tmp_path: Path) -> None:
    """An attacker who empties the metadata cache cannot show older metadata: the journal remembers."""
    retained = device.simulator.topics.retained
    old = {topic: retained[topic] for topic in retained if "/tuf/" in topic}
    device.simulator.renew()
    device.read_topics()
    for path in sorted((tmp_path / "device" / "image").rglob("*"), reverse=True):
        path.unlink() if not path.is_dir() or path.is_symlink() else path.rmdir()
    for topic, payload in old.items():
        device.simulator.topics.publish(topic, payload)
    device.deployer.timestamp(old[topics.timestamp()])
    device.settle()
    assert_resisted(device, "RollbackAttack")


def test_withheld_metadata(device: DeviceStub) -> None:
    """A broker that hides newer metadata from a device is found out by the assignment's demand."""
    device.simulator.assign(PATHS[2], orders={"min_timestamp": 99})
    device.read_topics()
    for _ in range(5):
        device.wait()
    assert_resisted(device, "RollbackAttack")
    assert device.latest.state is State.REFUSED


def test_a_refusal_is_reported_once(device: DeviceStub) -> None:
    """The same forged document, read again with every reconnect, is reported once."""
    raw = device.simulator.sign_assignment(PATHS[2], device="robot-2")
    device.simulator.topics.publish(topics.assignment(device.device), raw)
    for _ in range(5):
        device.read_topics()
    assert device.names().count("ForeignAssignment") == 1


def test_wrong_target(tmp_path: Path) -> None:
    """A release for another target is refused as IncompatibleTarget, before a chunk is fetched."""
    simulator = RepositorySimulator()
    path = simulator.release(make_manifest(1, ONE, target="aarch64-ort-cpu"), ONE, GOLDEN)
    device = DeviceStub(simulator, tmp_path / "device").start()
    simulator.assign(path)
    device.read_topics()
    assert (device.latest.state, device.names()[-1]) == (State.REFUSED, "IncompatibleTarget")
    assert not [topic for topic in simulator.topics.subscribed if "/chunk/" in topic]
