"""Confidential models on the controller: what lies in its store, what leaves it, and for whom."""

import json
import stat
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgewright.agent.agreement import Assignment, ImageTarget, verify_manifest
from edgewright.agent.confidential import ContentKeys as DeviceKeys
from edgewright.agent.confidential import open_blob
from edgewright.agent.devicekey import DeviceKey
from edgewright.agent.qualifier import qualify
from edgewright.agent.releasefiles import ReleaseFiles
from edgewright.agent.store import Store
from edgewright.controller import registry
from edgewright.controller.blobs import BlobStore
from edgewright.controller.compiler.build import build_version
from edgewright.controller.compiler.patches import Base
from edgewright.controller.compiler.protocol import BuildRequest, BuildResult
from edgewright.controller.confidential.keys import ContentKeys
from edgewright.controller.confidential.sealing import put_sealed, seal
from edgewright.controller.confidential.vault import StorageVault
from edgewright.controller.confidential.wrapping import Wrapper, wrap
from edgewright.controller.database.engine import Database
from edgewright.controller.database.tables import Artifact, Device
from edgewright.controller.errors import DataFolderDamagedError
from edgewright.controller.model_toml import ConfidentialPart
from edgewright.controller.publisher import Publisher
from edgewright.controller.rebuild.orders import queue_rebuild
from edgewright.controller.rebuild.states import IN_FLIGHT, RebuildState
from edgewright.controller.rebuild.steps import carry_on
from edgewright.controller.rebuild.trigger import Asked, Trigger
from edgewright.controller.rebuild.versions import compile_version, release_version
from edgewright.wire.assignment import Orders, TargetCustom
from edgewright.wire.encryption import FRAME_BYTES, Place, sealed_length
from edgewright.wire.errors import ConfidentialKeyError, DisagreementError
from edgewright.wire.manifest import Manifest, decode_manifest, split_blob
from tests.controller import colour_plant
from tests.controller.colour_plant import Plant
from tests.controller.small_model import spec, write_folder

MODEL, TARGET = "small", "x86_64-ort-cpu-fp32"
SECRET = msgspec.structs.replace(spec(), targets=(TARGET,), confidential=ConfidentialPart(enabled=True))


@dataclass(frozen=True)
class Secret:
    """A data folder with one confidential version, built; the pushed folder lies elsewhere."""

    data: Path
    source: bytes
    db: Database
    blobs: BlobStore
    result: BuildResult
    manifest: Manifest

    def artifact(self) -> Artifact:
        """Its row."""
        with self.db.reading() as session:
            return session.get_one(Artifact, (MODEL, 1, TARGET))


@dataclass
class Shelf:
    """Takes what would go to the broker."""

    messages: list[bytes] = field(default_factory=list)

    def publish_paced(
        self, messages: Iterable[tuple[str, bytes]], acknowledged: Callable[[str, int], None]
    ) -> None:
        """Keep payloads."""
        for topic, payload in messages:
            self.messages.append(payload)
            acknowledged(topic, len(payload))


def _request(folder: Path, data: Path, key: bytes, version: int = 1, **given: object) -> BuildRequest:
    request = BuildRequest(
        folder=str(folder),
        blobs=str(data / "blobs"),
        version=version,
        release_counter=version,
        content_key=key,
    )
    return msgspec.structs.replace(request, **given)


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Secret:
    """Version 1, built once for the tests that only look."""
    folder, data = write_folder(tmp_path_factory.mktemp("pushed"), SECRET), tmp_path_factory.mktemp("data")
    db = Database.in_folder(data)
    db.create()
    blobs = BlobStore(data / "blobs")
    with db.session() as session:
        registry.add_version(session, MODEL, {}, "push")
    result = build_version(_request(folder, data, ContentKeys(data).ensure(MODEL, 1)))
    with db.session() as session:
        registry.record_build(session, result)
    manifest = decode_manifest(blobs.read(result.built[0].sha256))
    return Secret(data, (folder / "small.onnx").read_bytes(), db, blobs, result, manifest)


def _has_run(data: bytes, secret: bytes) -> bool:
    """Whether any of some runs of 16 bytes of the secret stands in the data."""
    weights = len(secret) // 4
    return any(secret[i : i + 16] in data for i in range(weights, len(secret) - 16, 4099))


def test_the_probe_finds_what_is_open(secret: Secret) -> None:
    """The search that the other tests rely on finds the weights in the artifact once it is opened."""
    path = secret.blobs.path(secret.manifest.artifact.sha256)
    key = ContentKeys(secret.data).read(MODEL, 1)
    assert _has_run(open_blob(path, key, secret.manifest.place("artifact")), secret.source)


def test_the_blob_store_holds_no_run_of_the_model(secret: Secret) -> None:
    """Artifact and golden vectors lie encrypted: no blob of the build holds a run of the weights."""
    files = [path for path in (secret.data / "blobs").rglob("*") if path.is_file()]
    assert len(files) >= 4
    assert not [path.name for path in files if _has_run(path.read_bytes(), secret.source)]
    data = secret.blobs.read(secret.manifest.artifact.sha256)
    counts = np.bincount(np.frombuffer(data, np.uint8), minlength=256) / len(data)
    assert -float((counts[counts > 0] * np.log2(counts[counts > 0])).sum()) > 7.99


def test_the_database_holds_no_key(secret: Secret) -> None:
    """The content key is in one file of mode 0600 and nowhere else below the data folder."""
    key = ContentKeys(secret.data).read(MODEL, 1)
    path = secret.data / "keys" / "content" / MODEL / "1"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    others = [other for other in secret.data.rglob("*") if other.is_file() and other != path]
    for shown in (key, key.hex().encode()):
        assert not [other.name for other in others if shown in other.read_bytes()]


def test_the_broker_gets_no_run_of_the_model(secret: Secret) -> None:
    """Everything that is published of the release is opaque, and there are no patches of it."""
    shelf = Shelf()
    publisher = Publisher(shelf, secret.blobs, None, dict)  # type: ignore[arg-type]  # a simulator; no metadata here
    publisher.publish_release(secret.result.built[0].sha256)
    assert sum(map(len, shelf.messages)) > len(secret.source)
    assert not _has_run(b"".join(shelf.messages), secret.source)
    assert secret.manifest.patches == secret.manifest.golden_patches == ()


def test_signed_metadata_says_that_it_is_confidential(secret: Secret) -> None:
    """Release keys and registry know it; a manifest without encryption under such metadata is refused."""
    custom = secret.result.built[0].custom
    assert custom.confidential
    assert secret.artifact().confidential
    ordered = ImageTarget(secret.result.built[0].path, 1, "00", custom)
    verify_manifest(secret.manifest, ordered)
    with pytest.raises(DisagreementError, match="encryption"):
        verify_manifest(msgspec.structs.replace(secret.manifest, encryption=None), ordered)


def test_the_same_build_gives_the_same_bytes(secret: Secret, tmp_path: Path) -> None:
    """Encryption with the stored key is a function of the build: manifests are byte-identical."""
    folder = write_folder(tmp_path / "pushed", SECRET)
    again = build_version(_request(folder, tmp_path, ContentKeys(secret.data).read(MODEL, 1)))
    assert again.built[0].sha256 == secret.result.built[0].sha256


def test_a_later_version_has_another_key_and_no_patch(secret: Secret, tmp_path: Path) -> None:
    """Version 2 of the same model shares no key and no chunk with version 1, though its bases are given."""
    folder = write_folder(tmp_path / "pushed", SECRET)
    key = ContentKeys(secret.data).ensure(MODEL, 2)
    assert key != ContentKeys(secret.data).read(MODEL, 1)
    bases = {TARGET: (Base(1, secret.result.built[0].sha256),)}
    result = build_version(_request(folder, secret.data, key, 2, bases=bases))
    second = decode_manifest(secret.blobs.read(result.built[0].sha256))
    assert second.encryption != secret.manifest.encryption
    assert not set(second.artifact.chunks) & set(secret.manifest.artifact.chunks)
    assert (second.patches, second.golden_patches) == ((), ())


def test_an_open_version_takes_nothing_from_a_secret_one(secret: Secret, tmp_path: Path) -> None:
    """A version that is no longer confidential is built whole: an encrypted base is no base."""
    folder = write_folder(tmp_path / "pushed", msgspec.structs.replace(spec(), targets=(TARGET,)))
    bases = {TARGET: (Base(1, secret.result.built[0].sha256),)}
    result = build_version(_request(folder, secret.data, b"", 3, bases=bases))
    opened = decode_manifest(secret.blobs.read(result.built[0].sha256))
    assert (opened.encryption, opened.patches) == (None, ())


def test_without_a_key_nothing_is_built(tmp_path: Path) -> None:
    """A confidential model is never compiled in the open because its key is missing."""
    folder = write_folder(tmp_path / "pushed", SECRET)
    with pytest.raises(ConfidentialKeyError, match="missing"):
        build_version(_request(folder, tmp_path, b""))


def _enrol(secret: Secret, name: str, key: DeviceKey) -> None:
    with secret.db.session() as session:
        row = Device(id=name, target=TARGET, tags={}, enrolled_at=1.0, public_key=key.public_der())
        session.merge(row)


def _assignment(secret: Secret, device: str) -> Assignment:
    built = secret.result.built[0]
    orders = Orders(
        device=device,
        issued=1,
        rollout=1,
        min_root=1,
        min_timestamp=1,
        content_key=Wrapper(secret.db, secret.data)(device, secret.artifact()),
    )
    return Assignment(1, "00", 9e9, ImageTarget(built.path, built.length, built.sha256, built.custom), orders)


def test_a_device_that_is_assigned_it_runs_it(secret: Secret, tmp_path: Path) -> None:
    """From the wrapped key in the assignment to a real runner whose outputs are the golden ones."""
    key = DeviceKey.generate()
    _enrol(secret, "robot-1", key)
    store = Store(tmp_path / "store")
    manifest = secret.manifest
    for digest in (secret.result.built[0].sha256, manifest.artifact.sha256, manifest.golden.sha256):
        store.put(secret.blobs.read(digest))
    files = ReleaseFiles(store, DeviceKeys("robot-1", lambda: [key]))
    assignment = _assignment(secret, "robot-1")
    paths = files.paths(assignment.target.sha256)
    golden = store.verified(manifest.golden.sha256)
    content_key = files.content_key(assignment)
    result = qualify(Path(paths[0]), Path(paths[1]), golden, content_key, lambda: False)
    assert result.ok, result.detail
    stored = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path.name for path in stored if _has_run(path.read_bytes(), secret.source)]


def test_another_device_cannot_open_it(secret: Secret) -> None:
    """What was wrapped for one device opens for no other, and each wrapping is fresh."""
    keys = {name: DeviceKey.generate() for name in ("robot-1", "robot-2")}
    for name, key in keys.items():
        _enrol(secret, name, key)
    one, two = (_assignment(secret, name) for name in keys)
    assert one.orders.content_key != _assignment(secret, "robot-1").orders.content_key
    stranger = DeviceKeys("robot-2", lambda: [keys["robot-2"]])
    assert stranger.unwrap(two.target.custom, two.orders) == ContentKeys(secret.data).read(MODEL, 1)
    with pytest.raises(ConfidentialKeyError):
        stranger.unwrap(one.target.custom, one.orders)


def test_a_renewed_key_is_wrapped_for_at_the_next_assignment(secret: Secret) -> None:
    """Once the controller knows a device's new key, the next assignment opens with that one alone."""
    old, new = DeviceKey.generate(), DeviceKey.generate()
    _enrol(secret, "robot-3", old)
    _enrol(secret, "robot-3", new)
    assignment = _assignment(secret, "robot-3")
    custom, orders = assignment.target.custom, assignment.orders
    assert DeviceKeys("robot-3", lambda: [new]).unwrap(custom, orders)
    with pytest.raises(ConfidentialKeyError):
        DeviceKeys("robot-3", lambda: [old]).unwrap(custom, orders)


def test_nothing_is_wrapped_without_a_key(secret: Secret) -> None:
    """A device without an enrolled key gets no content key; an open artifact needs none at all."""
    wrapper = Wrapper(secret.db, secret.data)
    assert wrapper("nobody", secret.artifact()) == ""
    plain = Artifact(**{**secret.artifact().model_dump(), "confidential": False})
    assert wrapper("nobody", plain) == ""
    with pytest.raises(ConfidentialKeyError, match="cannot be read"):
        wrap(bytes(32), b"no key", b"")


def test_a_lost_content_key_is_named(tmp_path: Path) -> None:
    """A key file that is gone or cut is an error of the data folder, not another key."""
    keys = ContentKeys(tmp_path)
    with pytest.raises(DataFolderDamagedError, match="cannot be read"):
        keys.read(MODEL, 1)
    keys.ensure(MODEL, 1)
    (tmp_path / "keys" / "content" / MODEL / "1").write_bytes(b"short")
    with pytest.raises(DataFolderDamagedError, match="damaged"):
        keys.ensure(MODEL, 1)


@pytest.mark.parametrize("length", [0, 1, FRAME_BYTES, 5 * FRAME_BYTES // 2])
def test_a_streamed_blob_is_described_as_a_whole_one(tmp_path: Path, length: int) -> None:
    """Length, digest and chunks of a sealed blob are those of its bytes, without holding them at once."""
    place = Place(MODEL, 1, TARGET, "artifact")
    blobs, plain, key = BlobStore(tmp_path), np.random.default_rng(1).bytes(length), bytes(range(32))
    blob = put_sealed(blobs, plain, key, place)
    whole = b"".join(seal(plain, key, place))
    assert blob == split_blob(whole)[0]
    assert blob.length == sealed_length(length)
    assert open_blob(blobs.path(blob.sha256), key, place) == plain


def test_sealing_takes_a_few_frames_of_memory(tmp_path: Path) -> None:
    """Storing 96 MiB sealed grows the process by much less than the blob."""
    program = f"""
import resource, sys
from pathlib import Path
from edgewright.controller.blobs import BlobStore
from edgewright.controller.confidential.sealing import put_sealed
from edgewright.wire.encryption import Place
plain = b"x" * (96 << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
put_sealed(BlobStore(Path({str(tmp_path)!r})), plain, bytes(range(32)), Place("m", 1, "t", "artifact"))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 16 << 20


def test_a_pushed_secret_is_built_in_the_child_and_signed(tmp_path: Path) -> None:
    """The whole way of a push: the child gets the key by its standard input, and the release is signed."""
    (tmp_path / "data").mkdir()
    plant = Plant(tmp_path / "data")
    files = registry.store_folder(plant.blobs, write_folder(tmp_path / "pushed", SECRET))
    with plant.db.session() as session:
        registry.add_version(session, MODEL, files, "push")
    release_version(plant.context(), compile_version(plant.context(), MODEL, 1))
    with plant.db.reading() as session:
        row = session.get_one(Artifact, (MODEL, 1, TARGET))
    manifest = decode_manifest(plant.blobs.read(row.manifest_sha256))
    key = ContentKeys(plant.data).read(MODEL, 1)
    source = plant.blobs.read(files["small.onnx"])
    opened = open_blob(plant.blobs.path(row.artifact_sha256), key, manifest.place("artifact"))
    assert _has_run(opened, source)
    blobs = [path for path in (plant.data / "blobs").rglob("*") if path.is_file()]
    assert not [path.name for path in blobs if _has_run(path.read_bytes(), source)]
    assert not BlobStore(plant.data / "blobs").path(files["small.onnx"]).exists()
    with pytest.raises(DataFolderDamagedError):
        BlobStore(plant.data / "blobs").read(files["small.onnx"])
    assert plant.shelf.releases == [row.manifest_sha256]
    signed = json.loads(plant.repository.files()["1.small.json"])
    assert signed["signed"]["targets"][f"small/{TARGET}/1.json"]["custom"]["confidential"] is True


def test_a_rebuild_of_a_secret_stays_one(tmp_path: Path) -> None:
    """Candidates of every rung are sealed as they come, and the new version has a key of its own."""
    plant = Plant(tmp_path)
    plant.push()
    plant.capture(90)
    with plant.db.session() as session:
        row = registry.find_version(session, colour_plant.MODEL, 1)
        text = plant.blobs.read(row.files["model.toml"]) + b"\n[confidential]\nenabled = true\n"
        row.files = {**row.files, "model.toml": plant.blobs.put(text)}
        session.add(row)
        number = queue_rebuild(session, colour_plant.MODEL, "a person.", Asked(Trigger.PERSON)).id or 0
    while carry_on(plant.context(), number) in IN_FLIGHT:
        pass
    rebuild = plant.rebuild(number)
    assert (rebuild.state, rebuild.new_version) == (RebuildState.DONE, 2)
    candidates = [rung["files"]["candidate"] for rung in rebuild.gates["rungs"].values()]
    assert len(candidates) == 2
    for sha256 in candidates:
        assert plant.blobs.read(sha256)
        assert not plant.blobs.path(sha256).exists()
    with plant.db.reading() as session:
        artifact = session.get_one(Artifact, (colour_plant.MODEL, 2, TARGET))
    key = ContentKeys(plant.data).read(colour_plant.MODEL, 2)
    place = Place(colour_plant.MODEL, 2, TARGET, "artifact")
    assert open_blob(plant.blobs.path(artifact.artifact_sha256), key, place)


def test_a_source_that_was_published_openly_is_not_sealed(tmp_path: Path) -> None:
    """Bytes that an open version publishes are no secret; sealing them would take them from that version."""
    plant = Plant(tmp_path)
    files = registry.store_folder(plant.blobs, write_folder(tmp_path / "pushed", SECRET))
    with plant.db.session() as session:
        registry.add_version(session, MODEL, files, "push")
        row = Artifact(
            model="open",
            version=1,
            target=TARGET,
            precision="fp32",
            qualification="emulated",
            manifest_sha256="00",
            manifest_length=1,
            artifact_sha256=files["small.onnx"],
            artifact_length=1,
            profile_sha256="00",
        )
        session.add(row)
    compile_version(plant.context(), MODEL, 1)
    assert plant.blobs.path(files["small.onnx"]).exists()


def test_a_sealed_blob_keeps_its_name(tmp_path: Path) -> None:
    """Sealed twice, read by who has the vault, found by all; moved under another name it does not open."""
    blobs = BlobStore(tmp_path / "blobs", StorageVault(tmp_path))
    sha256 = blobs.put(b"secret" * 1000)
    blobs.seal(sha256)
    blobs.seal(sha256)
    assert blobs.has(sha256)
    assert blobs.read(sha256) == b"secret" * 1000
    other = "ab" * 32
    blobs.path(other).parent.mkdir(parents=True)
    blobs.path(sha256).with_suffix(".sealed").rename(blobs.path(other).with_suffix(".sealed"))
    with pytest.raises(DataFolderDamagedError, match="does not open"):
        blobs.read(other)
    with pytest.raises(DataFolderDamagedError, match="without a vault"):
        BlobStore(tmp_path / "blobs").seal(other)


def test_custom_is_what_devices_compare() -> None:
    """The mark of a confidential release is part of what director and image repository have to agree on."""
    assert TargetCustom("m", "t", 1, 1, confidential=True) != TargetCustom("m", "t", 1, 1)
