"""Confidential models on the device: who can open them, and where their plaintext is."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgewright.agent.confidential import ContentKeys, load_keys, open_blob
from edgewright.agent.control import Load, Loaded, Proven, Swap, decode_qualification
from edgewright.agent.devicekey import DeviceKey
from edgewright.agent.identity import save
from edgewright.agent.qualifier import qualify
from edgewright.agent.runner.runtimes import installed, open_runtime
from edgewright.controller.confidential.sealing import seal
from edgewright.controller.confidential.wrapping import wrap
from edgewright.wire.assignment import Orders, TargetCustom
from edgewright.wire.deployment import State
from edgewright.wire.encryption import (
    FRAME_BYTES,
    HEADER_BYTES,
    SCHEME,
    TAG_BYTES,
    Encryption,
    Place,
    key_id,
    wrapping_info,
)
from edgewright.wire.errors import ConfidentialKeyError, MalformedMessageError
from edgewright.wire.manifest import RuntimeRange
from simulators.device import DeviceStub
from simulators.releases import GOLDEN
from simulators.releases import make_manifest as make_release
from simulators.repository import RepositorySimulator
from tests.agent.confidential_release import CONTENT_KEY, write_confidential
from tests.agent.line_rig import running_line
from tests.agent.tflite_model import tflite_bytes
from tests.agent.tiny_models import classify, golden_bytes, make_manifest, onnx_bytes

PLACE = Place("brightness", 1, "test-onnxruntime-cpu", "artifact")
CUSTOM = TargetCustom("brightness", "test-onnxruntime-cpu", 1, 1, confidential=True)


def _orders(key: DeviceKey, device: str = "robot-1", version: int = 1) -> Orders:
    wrapped = wrap(CONTENT_KEY, key.public_der(), wrapping_info("brightness", version, device))
    return Orders(device=device, issued=0, rollout=0, min_root=1, min_timestamp=1, content_key=wrapped)


def _keys(*keys: DeviceKey, device: str = "robot-1") -> ContentKeys:
    return ContentKeys(device, lambda: keys)


def _sealed(folder: Path, plain: bytes, place: Place = PLACE, key: bytes = CONTENT_KEY) -> Path:
    path = folder / "sealed"
    path.write_bytes(b"".join(seal(plain, key, place)))
    return path


def test_the_device_opens_what_was_wrapped_for_it() -> None:
    """A content key that was wrapped for this device's key comes out as it went in."""
    key = DeviceKey.generate()
    assert _keys(key).unwrap(CUSTOM, _orders(key)) == CONTENT_KEY


def test_an_open_release_needs_no_key() -> None:
    """What is not confidential is asked for no key, on a device that has none too."""
    custom = TargetCustom("brightness", "t", 1, 1)
    assert _keys().unwrap(custom, _orders(DeviceKey.generate())) == b""


def test_another_device_opens_nothing() -> None:
    """Neither another key, nor the right key under another name, model or version opens the wrapped key."""
    key = DeviceKey.generate()
    for keys, orders in (
        (_keys(DeviceKey.generate()), _orders(key)),
        (_keys(key, device="robot-2"), _orders(key)),
        (_keys(key), _orders(key, version=2)),
        (_keys(), _orders(key)),
    ):
        with pytest.raises(ConfidentialKeyError, match="not wrapped for this device"):
            keys.unwrap(CUSTOM, orders)


@pytest.mark.parametrize(
    ("given", "said"), [("", "brings no"), ("zz", "cannot be read"), ("00" * 113, "not wrapped")]
)
def test_what_is_no_wrapped_key_is_refused(given: str, said: str) -> None:
    """An assignment of a confidential release without a key, or with something else in its place."""
    orders = Orders(device="robot-1", issued=0, rollout=0, min_root=1, min_timestamp=1, content_key=given)
    with pytest.raises(ConfidentialKeyError, match=said):
        _keys(DeviceKey.generate()).unwrap(CUSTOM, orders)


def test_a_renewed_device_opens_what_was_wrapped_before(tmp_path: Path) -> None:
    """After one renewal the last key still opens its content keys; after the next it is gone."""
    first = DeviceKey.generate()
    save(tmp_path, "robot-1", first)
    before = _orders(first)
    keys = ContentKeys.of("robot-1", tmp_path)
    second = DeviceKey.generate()
    save(tmp_path, "robot-1", second)
    assert [key.public_der() for key in load_keys(tmp_path)] == [second.public_der(), first.public_der()]
    assert keys.unwrap(CUSTOM, before) == keys.unwrap(CUSTOM, _orders(second)) == CONTENT_KEY
    save(tmp_path, "robot-1", DeviceKey.generate())
    with pytest.raises(ConfidentialKeyError):
        keys.unwrap(CUSTOM, before)


@pytest.mark.parametrize("length", [0, 1, FRAME_BYTES - 1, FRAME_BYTES, FRAME_BYTES + 1, 3 * FRAME_BYTES])
def test_every_length_comes_back(tmp_path: Path, length: int) -> None:
    """A blob of any length is the same after sealing and opening, at the borders of frames too."""
    plain = np.random.default_rng(length).bytes(length)
    assert open_blob(_sealed(tmp_path, plain), CONTENT_KEY, PLACE) == plain


def test_a_sealed_blob_is_opaque(tmp_path: Path) -> None:
    """No run of a model's bytes stands in the sealed file, and its bytes are as even as chance."""
    plain = onnx_bytes() * 1000
    data = _sealed(tmp_path, plain).read_bytes()
    assert not any(plain[i : i + 8] in data for i in range(0, 2000, 8))
    counts = np.bincount(np.frombuffer(data, np.uint8), minlength=256) / len(data)
    entropy = -float((counts[counts > 0] * np.log2(counts[counts > 0])).sum())
    assert entropy > 7.99
    assert len(data) > 200_000


def test_sealing_twice_gives_the_same_bytes_and_other_content_another_key(tmp_path: Path) -> None:
    """The salt follows the plaintext: equal builds are equal, and unequal ones share no key stream."""
    plain = bytes(1000)
    once = _sealed(tmp_path, plain).read_bytes()
    assert _sealed(tmp_path, plain).read_bytes() == once
    other = _sealed(tmp_path, bytes(999) + b"x").read_bytes()
    assert other[:HEADER_BYTES] != once[:HEADER_BYTES]
    assert other[HEADER_BYTES : HEADER_BYTES + 900] != once[HEADER_BYTES : HEADER_BYTES + 900]


def test_cut_lengthened_and_reordered_blobs_are_refused(tmp_path: Path) -> None:
    """Frames that are missing at the end, doubled, swapped or edited do not open."""
    plain = np.random.default_rng(5).bytes(3 * FRAME_BYTES)
    path = _sealed(tmp_path, plain)
    data, whole = path.read_bytes(), FRAME_BYTES + TAG_BYTES
    head, frames = data[:HEADER_BYTES], [data[HEADER_BYTES + i * whole :][:whole] for i in range(3)]
    edited = bytearray(data)
    edited[HEADER_BYTES + whole + 5] ^= 1
    for forged in (
        head + frames[0] + frames[1],
        head + b"".join([*frames, frames[2]]),
        head + frames[1] + frames[0] + frames[2],
        bytes(edited),
        data[:-1],
    ):
        path.write_bytes(forged)
        with pytest.raises(ConfidentialKeyError, match="does not open"):
            open_blob(path, CONTENT_KEY, PLACE)


@pytest.mark.parametrize("data", [b"", b"EWC1", b"EWC1" + bytes(40), b"\x08\x07" * 60])
def test_what_is_not_sealed_is_refused(tmp_path: Path, data: bytes) -> None:
    """A file that is too short, or begins otherwise, is no sealed blob."""
    path = tmp_path / "sealed"
    path.write_bytes(data)
    with pytest.raises(MalformedMessageError):
        open_blob(path, CONTENT_KEY, PLACE)


def test_a_blob_opens_in_its_own_place_only(tmp_path: Path) -> None:
    """The golden file in the artifact's place, another version, target or model, or another key."""
    path = _sealed(tmp_path, b"weights")
    for place in (
        PLACE._replace(role="golden"),
        PLACE._replace(version=2),
        PLACE._replace(target="other"),
        PLACE._replace(model="other"),
    ):
        with pytest.raises(ConfidentialKeyError):
            open_blob(path, CONTENT_KEY, place)
    with pytest.raises(ConfidentialKeyError):
        open_blob(path, bytes(32), PLACE)
    with pytest.raises(ConfidentialKeyError, match="missing"):
        open_blob(path, b"", PLACE)


def test_an_encrypted_artifact_qualifies(tmp_path: Path) -> None:
    """The qualification process gets the key by its standard input and finds the plaintext's outputs."""
    release = write_confidential(tmp_path)
    files = (release.manifest_path, release.artifact_path, release.golden_path)
    result = qualify(*files, CONTENT_KEY, lambda: False)
    assert result.ok, result.detail
    assert result.worst_difference < 1e-5


def test_without_its_key_nothing_qualifies(tmp_path: Path) -> None:
    """With no key, or with another version's, the result is error 29."""
    release = write_confidential(tmp_path)
    files = (release.manifest_path, release.artifact_path, release.golden_path)
    for key in (b"", bytes(32)):
        result = qualify(*files, key, lambda: False)
        assert (result.ok, result.error) == (False, ConfidentialKeyError.number)


def test_a_key_on_the_command_line_is_not_needed(tmp_path: Path) -> None:
    """The runner has no option for a key, so it stands in no list of processes and in no environment."""
    command = [sys.executable, "-m", "edgewright.agent.runner", "qualify", "--help"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "key" not in said.replace("artifact against", "")
    release = write_confidential(tmp_path)
    files = ["--manifest", release.manifest_path, "--artifact", release.artifact_path]
    done = subprocess.run(
        [*map(str, command[:-1]), *map(str, files), "--golden", str(release.golden_path)],
        input=b"",
        env=os.environ | {"EDGEWRIGHT_CONTENT_KEY": CONTENT_KEY.hex()},
        capture_output=True,
        check=True,
    )
    assert decode_qualification(done.stdout).error == ConfidentialKeyError.number


def test_a_line_runs_an_encrypted_model(tmp_path: Path) -> None:
    """A real line and runner decide frames with it; no file below the folder holds a run of the model."""
    release = write_confidential(tmp_path)
    with running_line(tmp_path) as line:
        paths = (str(release.manifest_path), str(release.artifact_path))
        line.order(Load("a", *paths, content_key=CONTENT_KEY))
        assert line.expect(Loaded).ok
        line.order(Swap("a", 0))
        line.expect(Proven)
        line.connect()
        assert [line.ask(str(level), level).label for level in (0, 255)] == ["dark", "bright"]
        pid = line.runner_of(release)
        for name in ("cmdline", "environ"):
            seen = Path(f"/proc/{pid}/{name}").read_bytes()
            assert CONTENT_KEY not in seen
            assert CONTENT_KEY.hex().encode() not in seen
    run = onnx_bytes(salt=1)[:64]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if run[16:48] in path.read_bytes()]


def test_a_line_refuses_a_model_whose_key_is_missing(tmp_path: Path) -> None:
    """Without a key, and with a wrong one, the slot is not loaded and the answer is error 29."""
    release = write_confidential(tmp_path)
    paths = (str(release.manifest_path), str(release.artifact_path))
    with running_line(tmp_path) as line:
        for key in (b"", bytes(32)):
            line.order(Load("a", *paths, content_key=key))
            answer = line.expect(Loaded)
            assert (answer.ok, answer.error) == (False, ConfidentialKeyError.number)


def test_a_key_is_not_in_the_words_of_an_order() -> None:
    """What a log would print of an order does not hold the key."""
    words = repr(Load("a", "m", "a", content_key=CONTENT_KEY))
    assert "content_key" not in words
    assert repr(CONTENT_KEY)[2:-1] not in words


SECRET = b"".join(
    seal(b"w" * 200_000, CONTENT_KEY, Place("garment-packing", 1, "x86_64-ort-cpu", "artifact"))
)


def _secret_device(folder: Path) -> tuple[RepositorySimulator, DeviceStub]:
    """A repository with a confidential release, and a device that runs nothing."""
    simulator = RepositorySimulator()
    manifest = make_release(1, SECRET)
    encryption = Encryption(SCHEME, key_id(CONTENT_KEY))
    simulator.release(msgspec.structs.replace(manifest, encryption=encryption), SECRET, GOLDEN)
    return simulator, DeviceStub(simulator, folder).start()


def _assign(device: DeviceStub, content_key: str) -> None:
    device.simulator.assign("garment-packing/x86_64-ort-cpu/1.json", orders={"content_key": content_key})
    device.read_topics()


def _wrapped(device: DeviceStub) -> str:
    info = wrapping_info("garment-packing", 1, device.device)
    return wrap(CONTENT_KEY, device.key.public_der(), info)


def test_an_assignment_without_its_key_is_refused_before_a_byte_is_fetched(tmp_path: Path) -> None:
    """The deployment ends as refused with error 29, and nothing of the release was asked for."""
    _, device = _secret_device(tmp_path / "device")
    _assign(device, "")
    assert (device.latest.state, device.latest.error) == (State.REFUSED, ConfidentialKeyError.number)
    assert device.latest.fetched_bytes == 0
    assert not device.store.digests()


def test_a_confidential_release_goes_the_whole_way(tmp_path: Path) -> None:
    """With its key it is committed; the line gets the key, the disk never does, and a restart unwraps it."""
    simulator, device = _secret_device(tmp_path / "device")
    _assign(device, _wrapped(device))
    assert device.latest.state is State.COMMITTED
    again = DeviceStub(simulator, tmp_path / "device")
    again.key = device.key
    again.start()
    for one in (device, again):
        loads = [order for order in one.line.orders if isinstance(order, Load)]
        assert [order.content_key for order in loads] == [CONTENT_KEY]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path.name for path in files if CONTENT_KEY in path.read_bytes()]


@pytest.mark.parametrize("by_time", [False, True])
def test_a_new_wrapping_of_the_same_release_is_taken_over(tmp_path: Path, by_time: bool) -> None:
    """The same release, wrapped for a renewed key, is not loaded anew, and a restart opens it with that key.

    It comes with the daily assignment, or with one that only answers the question for the time.
    """
    simulator, device = _secret_device(tmp_path / "device")
    _assign(device, _wrapped(device))
    device.key = DeviceKey.generate()
    if by_time:
        opened = device.latest.assignment
        orders = msgspec.structs.replace(opened.orders, content_key=_wrapped(device))
        device.journal.renew(msgspec.structs.replace(opened, version=2, orders=orders))
    else:
        _assign(device, _wrapped(device))
    assert device.latest.state is State.COMMITTED
    assert not [order for order in device.line.orders if isinstance(order, Load)][1:]
    again = DeviceStub(simulator, tmp_path / "device")
    again.key = device.key
    again.start()
    assert [order.content_key for order in again.line.orders if isinstance(order, Load)] == [CONTENT_KEY]


@pytest.mark.skipif(not installed("litert"), reason="ai_edge_litert is not installed")
def test_litert_loads_from_memory() -> None:
    """A TFLite model that exists only in memory gives the model's outputs."""
    artifact = tflite_bytes()
    manifest = make_manifest(artifact, golden_bytes(), runtime=RuntimeRange("litert", "1", "9", "XNNPACK"))
    session = open_runtime(manifest.runtime).load(bytes(artifact), manifest, threads=1)
    inputs = np.random.default_rng(1).random((1, 3, 8, 8), np.float32)
    output = np.empty((1, 3), np.float32)
    session.run_into(inputs, output)
    np.testing.assert_allclose(output, classify(inputs.mean(axis=(1, 2, 3))), rtol=1e-5)


def test_opening_takes_one_frame_beside_the_plaintext(tmp_path: Path) -> None:
    """A process that opens 96 MiB grows by the plaintext and a little, not by twice of it."""
    length = 96 * 1024 * 1024
    path = _sealed(tmp_path, bytes(length))
    program = f"""
import resource, sys
from pathlib import Path
from edgewright.agent.confidential import open_blob
from edgewright.wire.encryption import Place
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
plain = open_blob(Path({str(path)!r}), bytes(range(32)), Place({PLACE[0]!r}, 1, {PLACE[2]!r}, "artifact"))
assert len(plain) == {length}
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 1.2 * length
