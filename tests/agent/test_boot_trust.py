"""What a device verifies before it loads a model at start, and what it remembers of what it agreed on."""

import sqlite3
from pathlib import Path

import pytest

from edgewright.agent.database import Database
from edgewright.agent.journal import Journal
from edgewright.wire import topics
from edgewright.wire.canonical import sha256_hex
from edgewright.wire.deployment import State
from edgewright.wire.manifest import encode_manifest, split_blob
from simulators.device import DeviceStub
from simulators.releases import GOLDEN, make_manifest, random_artifact
from simulators.repository import RepositorySimulator

ONE, TWO, FORGED = random_artifact(1), random_artifact(2), random_artifact(3)
PATH = "garment-packing/x86_64-ort-cpu/{}.json"


@pytest.fixture
def device(tmp_path: Path) -> DeviceStub:
    """A device that runs version 2 and has version 1 beside it."""
    simulator = RepositorySimulator(thresholds={"root": 2, "garment-packing": 2})
    device = DeviceStub(simulator, tmp_path / "device").start()
    for version, artifact in ((1, ONE), (2, TWO)):
        simulator.assign(simulator.release(make_manifest(version, artifact), artifact, GOLDEN))
        device.read_topics()
    assert device.running_artifact == TWO
    return device


def restart(device: DeviceStub, folder: Path) -> DeviceStub:
    """The same disk after a power cut, without a network."""
    device.cut_power()
    device.simulator.topics.connected = False
    return DeviceStub(device.simulator, folder / "device").start()


def change(folder: Path, statement: str, *parameters: object) -> None:
    """Change the journal behind the agent's back."""
    with sqlite3.connect(folder / "device" / "agent.db") as connection:
        assert connection.execute(statement, parameters).rowcount == 1
    connection.close()


def test_kept_signatures_outlive_withdrawal_rotation_and_expiry(device: DeviceStub, tmp_path: Path) -> None:
    """A model that the repository has withdrawn, under keys that are gone, in an emptied cache, runs on."""
    device.simulator.withdraw(PATH.format(2))
    device.simulator.rotate_keys("root", "targets", "snapshot", "timestamp")
    device.read_topics()
    for path in (tmp_path / "device" / "image").rglob("*.json"):
        path.unlink()
    restarted = restart(device, tmp_path)
    assert restarted.running_artifact == TWO
    assert "TamperedMetadata" not in restarted.names()


def test_a_model_without_signatures_gives_way(device: DeviceStub, tmp_path: Path) -> None:
    """A replaced proof vouches for nothing: the slot is refused by name and the other one decides."""
    digest = sha256_hex(encode_manifest(make_manifest(2, TWO)))
    device.cut_power()
    change(tmp_path, "UPDATE proofs SET proof = x'00' WHERE sha256 = ?", digest)
    restarted = DeviceStub(device.simulator, tmp_path / "device").start()
    assert restarted.running_artifact == ONE
    assert "TamperedMetadata" in restarted.names()
    assert restarted.latest.state is State.ROLLED_BACK


def test_a_model_that_was_slipped_in_is_not_loaded(device: DeviceStub, tmp_path: Path) -> None:
    """Files, journal and cache changed to name another model do not make a signature: it is never loaded."""
    forged = make_manifest(2, FORGED)
    content = encode_manifest(forged)
    device.store.put(FORGED)
    device.store.put(content)
    device.cut_power()
    journal = Journal(Database(tmp_path / "device" / "agent.db"))
    (held,) = (item for item in journal.slots().values() if item and item.release.version == 2)
    old, new = held.release.manifest_sha256.encode(), sha256_hex(content).encode()
    (raw,) = (
        sqlite3.connect(tmp_path / "device" / "agent.db")
        .execute("SELECT assignment FROM deployments WHERE id = ?", (held.id,))
        .fetchone()
    )
    change(tmp_path, "UPDATE deployments SET assignment = ? WHERE id = ?", raw.replace(old, new), held.id)
    change(tmp_path, "UPDATE proofs SET sha256 = ? WHERE sha256 = ?", new.decode(), old.decode())
    restarted = DeviceStub(device.simulator, tmp_path / "device").start()
    assert restarted.running_artifact == ONE
    assert "TamperedMetadata" in restarted.names()


def test_a_folder_of_an_older_agent_takes_the_cache(device: DeviceStub, tmp_path: Path) -> None:
    """Where no proof was kept the cached chain is verified instead, and the model runs."""
    device.cut_power()
    with sqlite3.connect(tmp_path / "device" / "agent.db") as connection:
        connection.execute("DELETE FROM proofs")
    connection.close()
    restarted = DeviceStub(device.simulator, tmp_path / "device").start()
    assert restarted.running_artifact == TWO


def test_floor_of_the_release_keys_binds_an_ordered_rollback(device: DeviceStub) -> None:
    """Once a release says ``min_counter``, nothing below it is taken, whatever the director orders."""
    simulator = device.simulator
    artifact = random_artifact(4)
    path = simulator.release(make_manifest(4, artifact), artifact, GOLDEN, min_counter=2)
    simulator.assign(path)
    device.read_topics()
    assert device.journal.minimums() == {"garment-packing": 2}
    simulator.assign(PATH.format(1), orders={"allow_rollback": True})
    device.read_topics()
    assert (device.latest.state, device.names()[-1]) == (State.REFUSED, "RollbackAttack")
    simulator.assign(PATH.format(2), orders={"allow_rollback": True})
    device.read_topics()
    assert device.running_artifact == TWO


def test_a_model_swapped_under_its_name_is_refused(device: DeviceStub) -> None:
    """Release keys that sign other bytes under a path that the device knows are refused. Disagreement."""
    manifest = make_manifest(2, FORGED)
    device.simulator.assign(device.simulator.release(manifest, FORGED, GOLDEN))
    device.read_topics()
    assert (device.latest.state, device.names()[-1]) == (State.REFUSED, "Disagreement")
    assert device.running_artifact == TWO


def test_golden_vectors_swapped_on_the_broker(device: DeviceStub) -> None:
    """Other golden vectors under the signed digest's topic never enter the store. TamperedArtifact."""
    artifact, golden = random_artifact(5), b"kinder golden vectors"
    path = device.simulator.release(
        make_manifest(5, artifact, golden=split_blob(golden)[0]), artifact, golden
    )
    device.simulator.topics.publish(topics.chunk(split_blob(golden)[0].chunks[0]), b"even kinder ones")
    device.simulator.assign(path)
    device.read_topics()
    assert (device.latest.state, device.latest.error) == (State.REFUSED, 21)
    assert device.running_artifact == TWO


def test_signed_time_comes_with_an_assignment(tmp_path: Path) -> None:
    """A device eleven years ahead refuses what has expired there, asks, is answered, and installs."""
    simulator = RepositorySimulator()
    path = simulator.release(make_manifest(1, ONE), ONE, GOLDEN)
    years = 11 * 365.25 * 86_400
    device = DeviceStub(simulator, tmp_path, system_time=lambda: simulator.clock() + years).start()
    simulator.assign(path)
    device.read_topics()
    assert device.running is None
    assert "ExpiredMetadata" in device.names()
    nonce = device.hello().nonce
    assert nonce
    simulator.assign(path, orders={"nonce": nonce})
    device.read_topics()
    assert device.running_artifact == ONE
    assert "UntrustedClock" in device.names()
    assert device.hello().nonce == ""


def test_an_answer_for_the_time_disturbs_no_deployment(device: DeviceStub) -> None:
    """The running release, assigned again with the time, makes no new deployment and moves the version on."""
    device.clock.suspect()
    nonce = device.hello().nonce
    before = device.latest.id
    device.simulator.assign(PATH.format(2), orders={"nonce": nonce})
    device.read_topics()
    assert device.latest.id == before
    assert device.journal.device().version == 3
    assert device.hello().assignment_sha256 == device.journal.device().sha256
    assert device.hello().counter > 1
