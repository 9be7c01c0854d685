"""The attacker holds the broker and one of the keys that sign. What each key alone cannot do."""

import time
import zlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Root, Targets, Timestamp

from edgewright.wire import topics
from edgewright.wire.canonical import sha256_hex
from edgewright.wire.deployment import State
from edgewright.wire.manifest import encode_manifest
from simulators.device import DeviceStub
from simulators.releases import GOLDEN, make_manifest
from simulators.repository import MODEL, RepositorySimulator
from tests.attacks.stage import (
    PATHS,
    TWO,
    assert_lives_on,
    assert_resisted,
    assert_runs_one,
    file_of,
    let_time_pass,
    set_stage,
)
from tests.attacks.thief import ONLINE, Thief, ThresholdRepository, swap_artifact

ELEVEN_YEARS_S = 11 * 365 * 86400

# The director's key


def test_stolen_director_key_names_other_bytes(device: DeviceStub) -> None:
    """A director that names other bytes than the image repository signed is refused as Disagreement."""
    device.simulator.assign(PATHS[2], lies={"sha256": "e" * 64})
    device.read_topics()
    assert_resisted(device, "Disagreement")
    assert_lives_on(device)


def test_stolen_director_key_describes_another_release(device: DeviceStub) -> None:
    """Version 1's bytes under a counter that nobody released are refused as Disagreement."""
    device.simulator.assign(PATHS[1], lies={"release_counter": 99})
    device.read_topics()
    assert_resisted(device, "Disagreement")


def test_stolen_director_key_orders_a_withdrawn_version(device: DeviceStub) -> None:
    """A version that the release managers withdrew cannot be ordered any more: Disagreement."""
    document = device.simulator.sign_assignment(PATHS[2])
    device.simulator.withdraw(PATHS[2])
    device.simulator.topics.publish(topics.assignment(device.device), document)
    device.read_topics()
    assert_resisted(device, "Disagreement")


def test_stolen_director_key_orders_other_hardware(tmp_path: Path) -> None:
    """A release for another target is refused as IncompatibleTarget, before a chunk is fetched."""
    simulator = RepositorySimulator()
    path = simulator.release(make_manifest(1, TWO, target="aarch64-ort-cpu"), TWO, GOLDEN)
    device = DeviceStub(simulator, tmp_path / "device").start()
    simulator.assign(path)
    device.read_topics()
    assert (device.latest.state, device.names()[-1]) == (State.REFUSED, "IncompatibleTarget")
    assert not [topic for topic in simulator.topics.subscribed if "/chunk/" in topic]


def test_stolen_director_key_orders_an_older_release(device: DeviceStub) -> None:
    """A release below the device's floor, without an ordered rollback, is refused as RollbackAttack."""
    device.simulator.release(make_manifest(3, TWO, release_counter=0), TWO, GOLDEN)
    device.simulator.assign("garment-packing/x86_64-ort-cpu/3.json")
    device.read_topics()
    assert_resisted(device, "RollbackAttack")
    assert device.latest.state is State.REFUSED


def test_equivocation(device: DeviceStub) -> None:
    """A second document with the accepted one's version is refused as Equivocation."""
    raw = device.simulator.sign_assignment(PATHS[2], version=1)
    device.simulator.topics.publish(topics.assignment(device.device), raw)
    device.read_topics()
    assert_resisted(device, "Equivocation")
    assert_lives_on(device)


# The online keys of the image repository


def test_stolen_online_keys_add_no_target(device: DeviceStub) -> None:
    """Snapshot and timestamp keys cannot sign a model's role: TamperedMetadata."""
    thief = Thief(device.simulator, *ONLINE)
    change = swap_artifact(PATHS[2], "e" * 64)
    thief.sign(MODEL, change, thief.keys["snapshot"], thief.keys["timestamp"])
    thief.point_online_to(MODEL, int(thief.newest(MODEL).signed.version))
    device.simulator.assign(PATHS[2])
    device.read_topics()
    assert_resisted(device, "TamperedMetadata")


def test_stolen_online_keys_address_no_device(device: DeviceStub) -> None:
    """An assignment under the timestamp's key is no assignment: TamperedMetadata."""
    device.simulator.assign(PATHS[2], signed_by="timestamp")
    device.read_topics()
    assert_resisted(device, "TamperedMetadata")


def test_stolen_online_keys_roll_a_role_back(device: DeviceStub) -> None:
    """A new snapshot that names yesterday's role is refused by a device that saw today's: RollbackAttack."""
    path = device.simulator.release(make_manifest(3, TWO), TWO, GOLDEN)
    device.simulator.assign(PATHS[1])
    device.read_topics()
    Thief(device.simulator, *ONLINE).point_online_to(MODEL, 3)
    device.simulator.assign(path)
    device.read_topics()
    assert_resisted(device, "RollbackAttack")


def test_stolen_online_keys_roll_back_a_wiped_device(tmp_path: Path) -> None:
    """A device without memory takes yesterday's role, as TUF does, but the director's order is not in it."""
    simulator = RepositorySimulator()
    for version in (1, 2):
        simulator.release(make_manifest(version, TWO), TWO, GOLDEN)
    Thief(simulator, *ONLINE).point_online_to(MODEL, 2)
    device = DeviceStub(simulator, tmp_path / "wiped").start()
    simulator.assign(PATHS[2])
    device.read_topics()
    assert (device.running, device.latest.state) == (None, State.REFUSED)
    assert "Disagreement" in device.names()


def test_fast_forward(device: DeviceStub) -> None:
    """Versions driven to the limit by stolen online keys: recovered when the root replaces both keys."""
    thief = Thief(device.simulator, *ONLINE)
    thief.point_online_to(MODEL, int(thief.newest(MODEL).signed.version), jump=2**31)
    device.read_topics()
    assert device.journal.device().seen.timestamp > 2**31
    device.simulator.renew()
    device.read_topics()
    assert_resisted(device, "RollbackAttack")
    device.simulator.rotate_keys("snapshot", "timestamp")
    device.read_topics()
    assert device.journal.device().seen.timestamp < 100
    assert_lives_on(device)


# Numbers that SQLite, or a message between our processes, cannot hold


@pytest.mark.parametrize("version", [2**53 + 1, 2**63, 2**70])
def test_stolen_timestamp_key_signs_an_endless_number(device: DeviceStub, version: int) -> None:
    """A timestamp's version beyond every limit is refused as TamperedMetadata, and remembered nowhere."""
    remembered = device.journal.device().seen

    def count_to(timestamp: Timestamp) -> None:
        timestamp.version = version

    Thief(device.simulator, *ONLINE).sign("timestamp", count_to)
    device.read_topics()
    assert_resisted(device, "TamperedMetadata")
    assert device.journal.device().seen == remembered
    device.simulator.rotate_keys("snapshot", "timestamp")
    assert_lives_on(device)


@pytest.mark.parametrize(
    "said",
    [
        {"version": 2**63},
        {"orders": {"issued": 10**300}},
        {"orders": {"rollout": 2**63}},
        {"orders": {"min_timestamp": 2**70}},
        {"lies": {"min_counter": 2**63}},
        {"lies": {"length": 2**70}},
    ],
)
def test_stolen_director_key_signs_an_endless_number(device: DeviceStub, said: dict[str, Any]) -> None:
    """An assignment with a number beyond every limit is refused as TamperedMetadata, and nothing is kept."""
    remembered = device.journal.device()
    device.simulator.assign(PATHS[2], **said)
    device.read_topics()
    assert_resisted(device, "TamperedMetadata")
    assert device.journal.device() == remembered
    assert_lives_on(device)


# Release keys


def test_stolen_release_key_below_the_threshold(tmp_path: Path) -> None:
    """One of two release keys signs another artifact into the role: refused as TamperedMetadata."""
    simulator = ThresholdRepository()
    device = set_stage(tmp_path / "device", simulator)
    thief = Thief(simulator, MODEL, *ONLINE)
    manifest = encode_manifest(make_manifest(2, b"evil"))
    simulator.topics.publish(topics.chunk(sha256_hex(manifest)), manifest)
    thief.sign(MODEL, swap_artifact(PATHS[2], sha256_hex(manifest)))
    thief.point_online_to(MODEL, int(thief.newest(MODEL).signed.version))
    simulator.assign(PATHS[2], lies={"sha256": sha256_hex(manifest)})
    device.read_topics()
    assert_resisted(device, "TamperedMetadata")


def test_stolen_release_key_signs_twice(tmp_path: Path) -> None:
    """The same key's signature given twice is one signature: refused as TamperedMetadata."""
    simulator = ThresholdRepository()
    device = set_stage(tmp_path / "device", simulator)
    thief = Thief(simulator, MODEL, *ONLINE)
    thief.sign(MODEL, swap_artifact(PATHS[2], "e" * 64))
    topic, newest = file_of(simulator, MODEL), int(thief.newest(MODEL).signed.version)
    content = zlib.decompress(simulator.topics.retained[topic])
    (signature,) = thief.newest(MODEL).to_dict()["signatures"]
    twice = f'{{"keyid":"{signature["keyid"]}","sig":"{signature["sig"]}"}}'.encode()
    assert twice in content
    simulator.topics.publish(topic, zlib.compress(content.replace(twice, twice + b"," + twice)))
    thief.point_online_to(MODEL, newest)
    simulator.assign(PATHS[2])
    device.read_topics()
    assert_resisted(device, "TamperedMetadata")


def test_stolen_model_key_signs_another_models_path(tmp_path: Path) -> None:
    """A role's key is confined to its paths: the other model's own role answers."""
    simulator = RepositorySimulator((MODEL, "bearing"))
    device = set_stage(tmp_path / "device", simulator)
    path = PATHS[2]
    stolen = Thief(simulator, "bearing", *ONLINE)
    garment = Thief(simulator, MODEL).newest(MODEL).signed.targets[path]

    def name_foreign_path(role: Targets) -> None:
        role.targets[path] = garment
        role.targets[path].hashes["sha256"] = "e" * 64

    stolen.sign("bearing", name_foreign_path)
    stolen.point_online_to("bearing", int(stolen.newest("bearing").signed.version))
    simulator.assign(path, lies={"sha256": "e" * 64})
    device.read_topics()
    assert_resisted(device, "Disagreement")


def test_manifest_of_another_model_under_a_signed_path(device: DeviceStub) -> None:
    """A manifest that describes another release than its signed path is refused as Disagreement."""
    manifest = make_manifest(9, TWO)
    custom = {"version": 3, "release_counter": 3}
    device.simulator.release(make_manifest(3, TWO), TWO, GOLDEN)
    thief = Thief(device.simulator, MODEL, *ONLINE)
    raw = encode_manifest(manifest)
    device.simulator.topics.publish(topics.chunk(sha256_hex(raw)), raw)
    path = f"{PATHS[1].rpartition('/')[0]}/3.json"

    def swap(role: Targets) -> None:
        role.targets[path].hashes["sha256"] = sha256_hex(raw)
        role.targets[path].length = len(raw)

    thief.sign(MODEL, swap)
    thief.point_online_to(MODEL, int(thief.newest(MODEL).signed.version))
    device.simulator.assign(path, lies={"sha256": sha256_hex(raw), "length": len(raw), **custom})
    device.read_topics()
    assert_resisted(device, "Disagreement")


# The root's keys


def test_stolen_root_key_below_the_threshold(tmp_path: Path) -> None:
    """One of three root keys signs a root with the thief's keys: TamperedMetadata, and the old root stays."""
    simulator = ThresholdRepository()
    device = set_stage(tmp_path / "device", simulator)
    thief, own = Thief(simulator, "root"), CryptoSigner.generate_ed25519()

    def take_over(root: Root) -> None:
        for role in ("targets", *ONLINE):
            root.roles[role].keyids[:] = []
            root.add_key(own.public_key, role)

    thief.sign("root", take_over)
    simulator.assign(PATHS[2])
    device.read_topics()
    assert_resisted(device, "TamperedMetadata")
    assert device.journal.device().seen.root == 1


def test_root_signed_by_new_keys_only(device: DeviceStub) -> None:
    """A root whose own keys sign it, and not the old root's, is refused as TamperedMetadata."""
    own = CryptoSigner.generate_ed25519()

    def take_over(root: Root) -> None:
        root.roles["root"].keyids[:] = []
        root.add_key(own.public_key, "root")

    Thief(device.simulator).sign("root", take_over, own)
    device.simulator.assign(PATHS[2])
    device.read_topics()
    assert_resisted(device, "TamperedMetadata")
    assert device.journal.device().seen.root == 1


@pytest.mark.parametrize("skipped", [1, 5])
def test_root_versions_skipped(device: DeviceStub, skipped: int) -> None:
    """A root that is signed well and skips versions is refused as RollbackAttack, never followed."""

    def skip(root: Any) -> None:
        root.version += skipped

    thief = Thief(device.simulator, "root")
    thief.sign("root", skip)
    topic = file_of(device.simulator, "root")
    device.simulator.topics.publish(topics.metadata("2.root.json"), device.simulator.topics.retained[topic])
    device.simulator._retain_head()
    device.simulator.assign(PATHS[2])
    device.read_topics()
    let_time_pass(device)
    assert_resisted(device, "RollbackAttack")
    assert_runs_one(device)
    assert device.journal.device().seen.root == 1


def test_lost_root_key_is_replaced(tmp_path: Path) -> None:
    """Two of three root keys replace the lost third: devices follow, and go on installing."""
    simulator = ThresholdRepository()
    device = set_stage(tmp_path / "device", simulator)
    lost = simulator._keys["root"].public_key.keyid

    def replace(root: Root) -> None:
        root.revoke_key(lost, "root")
        root.add_key(CryptoSigner.generate_ed25519().public_key, "root")

    Thief(simulator).sign("root", replace, *simulator.second["root"])
    device.read_topics()
    simulator._timestamp.version += 1
    Thief(simulator, *ONLINE).point_online_to(MODEL, 3)
    device.read_topics()
    assert device.journal.device().seen.root == 2
    assert_runs_one(device)


# The director's root


def test_director_key_replaced(device: DeviceStub) -> None:
    """After a theft a next root of the director replaces the key: the stolen one signs nothing any more."""
    stolen = device.simulator.steal("director")
    device.simulator.rotate_director()
    device.simulator.assign(PATHS[1])
    device.read_topics()
    device.simulator.assign(PATHS[2], signed_by=stolen)
    device.read_topics()
    assert_resisted(device, "TamperedMetadata")
    assert_lives_on(device)


def test_director_key_replaced_while_the_device_was_away(device: DeviceStub) -> None:
    """A stolen and replaced key's document, delivered before anything tells of the new root, is refused."""
    simulator = device.simulator
    stolen = simulator.steal("director")
    simulator.rotate_director()
    raw = simulator.assign(PATHS[2], signed_by=stolen, orders={"min_director_root": 1})
    device.deployer.document(raw)
    device.settle()
    assert_resisted(device, "TamperedMetadata")
    assert device.director.trust.version == 2
    assert_lives_on(device)


@pytest.mark.parametrize(
    "said",
    [
        {"version": 2**40},
        {"orders": {"issued": int(time.time()) + ELEVEN_YEARS_S}},
        {"version": 2**53, "orders": {"issued": 2**53}},
    ],
)
def test_director_key_replaced_after_a_fast_forward(device: DeviceStub, said: dict[str, Any]) -> None:
    """What a thief drove ahead, version or time, ends with his key: the next root lets both begin again."""
    simulator, stolen = device.simulator, device.simulator.steal("director")
    simulator.clock = lambda: time.time() + ELEVEN_YEARS_S if "orders" in said else time.time()
    simulator.assign(PATHS[1], signed_by=stolen, **said)
    device.read_topics()
    simulator.clock = time.time
    simulator.rotate_director()
    assert_lives_on(device)
    assert device.journal.device().version < 10
    assert device.clock.now() < time.time() + 86400


def test_one_more_director_key_lets_nothing_begin_again(device: DeviceStub) -> None:
    """A next root that keeps the key keeps its versions too: an older document of that key stays refused."""
    simulator = device.simulator
    older = simulator.sign_assignment(PATHS[1])
    simulator.assign(PATHS[2])
    device.read_topics()
    simulator.rotate_director(keep_director_key=True)
    simulator.topics.publish(topics.assignment(device.device), older)
    device.read_topics()
    assert "RollbackAttack" in device.names()
    assert device.running_artifact == TWO


def test_stolen_director_key_signs_for_years(device: DeviceStub) -> None:
    """A document that outlasts any honest one, or is issued after its end, is refused as TamperedMetadata."""
    for life in (timedelta(days=31), timedelta(days=4000)):
        device.simulator.life = life
        device.simulator.assign(PATHS[2])
        device.read_topics()
        assert_resisted(device, "TamperedMetadata")
    device.simulator.life = timedelta(days=7)
    device.simulator.assign(PATHS[2], orders={"issued": int(time.time()) + ELEVEN_YEARS_S})
    device.read_topics()
    assert_runs_one(device)
    assert device.clock.now() < time.time() + 86400
    assert_lives_on(device)


@pytest.mark.parametrize("signed_by", ["old", "new"])
def test_director_root_below_the_threshold(device: DeviceStub, signed_by: str) -> None:
    """A root of the director that only the old keys, or only the new ones, have signed is not followed."""
    device.simulator.rotate_director(signed_by=(signed_by,))
    device.simulator.assign(PATHS[2])
    device.read_topics()
    assert_resisted(device, "TamperedMetadata")
    assert device.director.trust.version == 1


def test_director_root_withheld(device: DeviceStub) -> None:
    """A broker that hides the director's next root does not keep a stolen key good: it is demanded."""
    device.simulator.rotate_director(keep_director_key=True)
    device.simulator.topics.publish(topics.director_root(2), b"")
    device.simulator.assign(PATHS[2])
    device.read_topics()
    assert_resisted(device, "RollbackAttack")


def test_stolen_director_key_goes_below_the_release_keys_floor(device: DeviceStub) -> None:
    """An ordered rollback below what the release keys allow is refused, whoever orders it: RollbackAttack."""
    path = device.simulator.release(make_manifest(3, TWO), TWO, GOLDEN, min_counter=3)
    device.simulator.assign(path)
    device.read_topics()
    assert device.running_artifact == TWO
    device.simulator.assign(PATHS[1], orders={"allow_rollback": True})
    device.read_topics()
    assert device.running_artifact == TWO
    assert "RollbackAttack" in device.names()
