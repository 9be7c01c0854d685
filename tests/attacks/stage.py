"""The stage of the stories: a device that runs version 1 of a model, in a repository that has version 2.

Each story goes the same way: a legitimate step (this stage is one), a sanity check, the attack, the device
resisted, its state is unchanged, and a report names the attack.
"""

import zlib
from pathlib import Path

from edgewright.agent.settings import QualificationSettings
from edgewright.wire import topics
from simulators.device import DeviceStub
from simulators.releases import GOLDEN, make_manifest, random_artifact
from simulators.repository import MODEL, TARGET, RepositorySimulator

ONE, TWO = random_artifact(1), random_artifact(2)
PATHS = {version: f"{MODEL}/{TARGET}/{version}.json" for version in (1, 2)}


def set_stage(
    folder: Path,
    simulator: RepositorySimulator | None = None,
    qualification: QualificationSettings | None = None,
) -> DeviceStub:
    """A device that has committed version 1; version 2 is released and assigned to nobody.

    ``qualification`` is what its owner lets be measured on it.
    """
    simulator = simulator or RepositorySimulator()
    for version, artifact in ((1, ONE), (2, TWO)):
        simulator.release(make_manifest(version, artifact), artifact, GOLDEN)
    device = DeviceStub(simulator, folder, qualification=qualification).start()
    simulator.assign(PATHS[1])
    device.read_topics()
    assert device.running_artifact == ONE
    return device


def assert_resisted(device: DeviceStub, name: str) -> None:
    """Version 1 decides, in the journal and in the line; the floor is where it was; the attack is named."""
    assert_runs_one(device)
    assert name in device.names()


def assert_runs_one(device: DeviceStub) -> None:
    """Version 1 decides as before."""
    assert device.running is not None
    assert device.running.version == 1
    assert device.running_artifact == ONE
    assert device.journal.floors() == {MODEL: 1}


def assert_lives_on(device: DeviceStub) -> None:
    """After the attack an honest assignment of version 2 is installed: nothing is lost for good."""
    device.simulator.assign(PATHS[2])
    device.read_topics()
    for _ in range(3):
        device.wait()
    assert device.running_artifact == TWO


def let_time_pass(device: DeviceStub) -> None:
    """Let everything that the device waits for come, until it has given up or has what it wants."""
    for _ in range(6):
        device.wait()


def saved_metadata(simulator: RepositorySimulator) -> dict[str, bytes]:
    """What a listener on the broker keeps: every retained metadata file, the timestamp and the hint."""
    prefix = topics.head().removesuffix("head")
    return {topic: raw for topic, raw in simulator.topics.retained.items() if topic.startswith(prefix)}


def show_again(simulator: RepositorySimulator, saved: dict[str, bytes]) -> None:
    """What a holder of the broker does with it: the saved files are retained again, newer ones vanish."""
    for topic in saved_metadata(simulator):
        simulator.topics.publish(topic, saved.get(topic, b""))


def edit(simulator: RepositorySimulator, topic: str, old: bytes, new: bytes) -> None:
    """Change the content of a retained metadata file; its signature is what it was."""
    content = zlib.decompress(simulator.topics.retained[topic])
    assert old in content
    simulator.topics.publish(topic, zlib.compress(content.replace(old, new)))


def file_of(simulator: RepositorySimulator, role: str) -> str:
    """Topic of the newest version of a versioned metadata file."""
    prefix, suffix = topics.head().removesuffix("head"), f".{role}.json"
    names = [topic.removeprefix(prefix).removesuffix(suffix) for topic in simulator.topics.retained]
    return topics.metadata(f"{max(int(name) for name in names if name.isdigit())}{suffix}")
