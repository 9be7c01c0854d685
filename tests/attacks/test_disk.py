"""The attacker changes files on the device's disk, or brings an older disk back."""

import shutil
from pathlib import Path

from edgewright.wire import topics
from edgewright.wire.canonical import sha256_hex
from edgewright.wire.manifest import encode_manifest, split_blob
from simulators.device import DeviceStub
from simulators.releases import make_manifest
from simulators.repository import RepositorySimulator
from tests.attacks.stage import (
    ONE,
    PATHS,
    TWO,
    assert_lives_on,
    assert_resisted,
    assert_runs_one,
    saved_metadata,
    show_again,
)


def test_emptied_cache_forgets_nothing(device: DeviceStub, tmp_path: Path) -> None:
    """Who empties the metadata cache cannot show older metadata: the journal remembers. RollbackAttack."""
    old = saved_metadata(device.simulator)
    device.simulator.renew()
    device.read_topics()
    shutil.rmtree(tmp_path / "device" / "image")
    show_again(device.simulator, old)
    restarted = restart(device, tmp_path)
    restarted.read_topics()
    assert_resisted(restarted, "RollbackAttack")
    assert restarted.journal.device().seen.timestamp == 4


def test_foreign_root_in_the_cache(device: DeviceStub, tmp_path: Path) -> None:
    """A root that an attacker puts into the cache is no anchor: the enrolled one is. TamperedMetadata."""
    attacker = RepositorySimulator()
    history = tmp_path / "device" / "image" / "root_history"
    for root in history.iterdir():
        root.write_bytes(attacker.image_root)
    show_again(device.simulator, saved_metadata(attacker))
    device.simulator.assign(PATHS[2])
    restarted = restart(device, tmp_path)
    restarted.read_topics()
    assert_resisted(restarted, "TamperedMetadata")


def test_garbage_in_the_cache(device: DeviceStub, tmp_path: Path) -> None:
    """Garbage in place of every cached file costs a fetch and nothing else: the next release comes."""
    for path in (tmp_path / "device" / "image").rglob("*.json"):
        if not path.is_symlink():
            path.write_bytes(b"garbage")
    restarted = restart(device, tmp_path)
    assert_runs_one(restarted)
    assert_lives_on(restarted)


def test_model_edited_after_its_verification(device: DeviceStub) -> None:
    """An artifact edited between download and load is never loaded, and fetched again: TamperedArtifact."""
    device.simulator.assign(PATHS[2])
    device.deployer.document(device.simulator.topics.retained[topics.assignment(device.device)])
    for _ in range(100):
        if device.store.has(split_blob(TWO)[0].sha256):
            break
        device.step()
    edit_file(device, split_blob(TWO)[0].sha256)
    device.settle()
    assert "TamperedArtifact" in device.names()
    assert device.running_artifact == TWO


def test_running_model_edited_on_disk(device: DeviceStub, tmp_path: Path) -> None:
    """An artifact edited while the device was off is not loaded at the next start: TamperedArtifact."""
    edit_file(device, split_blob(ONE)[0].sha256)
    assert_fetched_again(device, tmp_path)


def test_manifest_edited_on_disk(device: DeviceStub, tmp_path: Path) -> None:
    """A stored manifest with wider limits is not believed at the next start: TamperedArtifact."""
    edit_file(device, sha256_hex(encode_manifest(make_manifest(1, ONE))))
    assert_fetched_again(device, tmp_path)


def test_boot_without_a_network(device: DeviceStub, tmp_path: Path) -> None:
    """A device that starts alone runs its model, and no file but its own decides which."""
    device.simulator.topics.connected = False
    restarted = restart(device, tmp_path)
    assert_runs_one(restarted)


def assert_fetched_again(device: DeviceStub, folder: Path) -> None:
    """Alone, the device loads nothing that was edited; with its network, what was signed decides again."""
    device.simulator.topics.connected = False
    restarted = restart(device, folder)
    assert restarted.running_artifact is None
    assert "TamperedArtifact" in restarted.names()
    restarted.simulator.topics.connected = True
    restarted.wait()
    assert_runs_one(restarted)
    assert_lives_on(restarted)


def restart(device: DeviceStub, folder: Path) -> DeviceStub:
    """The same disk after a power cut."""
    device.cut_power()
    return DeviceStub(device.simulator, folder / "device").start()


def edit_file(device: DeviceStub, digest: str) -> None:
    """Change one byte in the middle of a stored file."""
    path = device.store._folder / digest
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
