"""The director: assignments under keys of its own, and a memory of its own."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata, Root, Targets

from edgewright.agent.devicekey import DeviceKey
from edgewright.agent.sealing import Sealer
from edgewright.agent.trust import Director as DeviceDirector
from edgewright.controller.errors import (
    DataFolderDamagedError,
    DirectorUnavailableError,
    InvalidRequestError,
    SignatureRefusedError,
)
from edgewright.controller.trust import requests
from edgewright.controller.trust.acknowledgement import AcknowledgementKey
from edgewright.controller.trust.director import Director, move_in
from edgewright.controller.trust.director_seam import Order, State
from edgewright.controller.trust.keys import KeyStore
from edgewright.controller.trust.repository import ImageRepository, TargetEntry
from edgewright.wire.assignment import FIELD, MAX_ASSIGNMENT_BYTES, Orders, TargetCustom, read_orders
from edgewright.wire.errors import UnsignedMessageError
from edgewright.wire.messages import Ack

ENTRY = TargetEntry("m/t/3.json", 12, "ab" * 32, TargetCustom("m", "t", 3, 3, min_counter=2))


def order(version: int, device: str = "r1", **changes: object) -> Order:
    """An order of this moment."""
    orders = Orders(device=device, issued=time.time(), rollout=7, min_root=1, min_timestamp=4)
    return Order(version, ENTRY, msgspec.structs.replace(orders, **changes))


def opened(folder: Path) -> Director:
    """A director as its process opens it."""
    director = Director(folder / "director")
    director.open(AcknowledgementKey(folder / "keys" / "ack").ensure())
    return director


@pytest.fixture
def director(tmp_path: Path) -> Iterator[Director]:
    """A director on a new folder."""
    made = opened(tmp_path)
    yield made
    made.close()


def verified(state: State, document: bytes) -> Targets:
    """The document as a device reads it, its signature verified by the director's newest root."""
    root = Metadata[Root].from_bytes(state.roots[-1]).signed
    metadata = Metadata[Targets].from_bytes(document)
    root.verify_delegate(Targets.type, metadata.signed_bytes, metadata.signatures)
    return metadata.signed


def test_an_assignment_says_what_it_was_told(director: Director) -> None:
    """The document carries version, target, orders and the director's root, and is good for a week."""
    asked = order(5)
    (document,) = director.sign([asked])
    signed = verified(director.show(), document)
    assert signed.version == 5
    assert signed.targets[ENTRY.path].length == 12
    assert signed.targets[ENTRY.path].hashes == {"sha256": ENTRY.sha256}
    assert signed.targets[ENTRY.path].custom == msgspec.to_builtins(ENTRY.custom)
    said = msgspec.structs.replace(asked.orders, issued=int(asked.orders.issued), min_director_root=1)
    assert read_orders(signed.unrecognized_fields[FIELD]) == said
    assert 6 * 86400 < signed.expires.timestamp() - time.time() < 8 * 86400
    assert len(document) < MAX_ASSIGNMENT_BYTES / 40


def test_a_changed_order_does_not_verify(director: Director) -> None:
    """An assignment that was redirected to another device is refused by its signature."""
    (document,) = director.sign([order(5)])
    with pytest.raises(UnsignedMetadataError):
        verified(director.show(), document.replace(b'"device":"r1"', b'"device":"r2"'))


def test_the_same_order_again_gets_the_same_bytes(tmp_path: Path, director: Director) -> None:
    """Who did not hear the answer asks again, of the same director or of a restarted one."""
    asked = [order(1), order(1, "r2")]
    first = director.sign(asked)
    assert director.sign(asked) == first
    assert opened(tmp_path).sign(asked) == first


@pytest.mark.parametrize("changed", [order(5, rollout=8), order(4), order(1)])
def test_no_second_document_and_no_older_one(director: Director, changed: Order) -> None:
    """Other content under the last version, or a smaller one, is refused, and its whole batch with it."""
    director.sign([order(5, rollout=7)])
    with pytest.raises(DirectorUnavailableError, match="director has signed"):
        director.sign([order(1, "r2"), changed])
    assert director.last(["r1", "r2", "r3"]) == [5, 0, 0]


def test_an_order_of_another_time_is_refused(director: Director) -> None:
    """A controller cannot make the director date a document a day ahead: devices take the time from it."""
    with pytest.raises(InvalidRequestError, match="dated"):
        director.sign([order(1, issued=time.time() + 86400)])


def test_the_two_halves_share_no_key(tmp_path: Path, director: Director) -> None:
    """No key of the director's root stands in the image repository's root."""
    image = ImageRepository(tmp_path / "tuf", KeyStore(tmp_path / "keys"))
    image.ensure()
    ours = json.loads(director.show().roots[-1])["signed"]["keys"].keys()
    assert not ours & json.loads(image.root_bytes())["signed"]["keys"].keys()


def test_the_root_stays_over_restarts(tmp_path: Path, director: Director) -> None:
    """A restarted director has the same root and signs what the old root verifies."""
    before = director.show()
    again = opened(tmp_path)
    assert again.show().roots == before.roots
    verified(before, again.sign([order(6)])[0])


def test_a_lost_signing_key_is_named(tmp_path: Path, director: Director) -> None:
    """A director without its signing key refuses to start instead of making another."""
    director.close()
    for key in (tmp_path / "director/keys/targets").iterdir():
        key.unlink()
    with pytest.raises(DataFolderDamagedError, match="signing key is gone"):
        opened(tmp_path)


@pytest.mark.parametrize("role", ["targets", "root"])
def test_a_rotated_key_is_gone(tmp_path: Path, director: Director, role: str) -> None:
    """After a rotation the next root names a new key only, the chain holds, and the old file is deleted."""
    (old,) = (tmp_path / "director/keys" / role).iterdir()
    state = director.rotate(role)
    (new,) = (tmp_path / "director/keys" / role).iterdir()
    assert new.name != old.name
    device = DeviceDirector(state.roots[0])
    with pytest.raises(Exception, match=r"withheld|demanded|verify|signed"):
        device.read(director.sign([order(1)])[0])
    assert verified(state, director.sign([order(2)])[0]).version == 2
    assert opened(tmp_path).show().roots == state.roots


def test_a_root_of_two_people_waits_for_both(director: Director) -> None:
    """With an offline root of threshold 2 of 3 nothing changes until two have signed; then the machine's own
    key cannot change it any more.
    """
    people = [CryptoSigner.generate_ed25519() for _ in range(3)]
    state = director.rotate("root", [public_pem(p) for p in people], threshold=2)
    assert len(state.roots) == 1
    assert "2 more signatures" in state.waits_for
    request = requests.decode(state.waiting)
    once = requests.sign(request, people[:1])
    assert len(director.adopt(requests.encode(once)).roots) == 1
    with pytest.raises(SignatureRefusedError, match="brings no signature"):
        director.adopt(requests.encode(once))
    state = director.adopt(requests.encode(requests.sign(request, people[1:2])))
    assert (len(state.roots), state.waiting, state.laboratory) == (2, b"", False)
    assert "2 more signatures" in director.rotate("targets").waits_for
    verified(state, director.sign([order(1)])[0])


def public_pem(signer: CryptoSigner) -> str:
    """The public half of a key, PEM."""
    pem: str = signer.public_key.keyval["public"]
    return public_of(pem)


def public_of(raw: str) -> str:
    """A raw Ed25519 public key, hexadecimal, as PEM."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(raw))
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def test_what_issue_2_left_is_moved_once(tmp_path: Path) -> None:
    """Keys and root of an older folder are moved, the root stays the first of the chain, and a second names
    who may acknowledge.
    """
    old = KeyStore(tmp_path / "keys")
    old.ensure(("director/root", "director/targets"))
    root = Root()
    for role in ("root", "targets"):
        root.add_key(old.signers(f"director/{role}")[0].public_key, role)
    metadata = Metadata(root)
    metadata.sign(old.signers("director/root")[0])
    (tmp_path / "tuf/director").mkdir(parents=True)
    (tmp_path / "tuf/director/1.root.json").write_bytes(first := metadata.to_bytes())
    assert move_in(tmp_path) == tmp_path / "director" == move_in(tmp_path)
    state = opened(tmp_path).show()
    assert (state.roots[0], len(state.roots), len(state.acknowledgers)) == (first, 2, 1)
    assert not (tmp_path / "keys/director").exists()
    assert DeviceDirector(first).trust.ack_keys == ()


def test_a_device_opens_what_the_controller_seals(tmp_path: Path, director: Director) -> None:
    """The key in the root's timestamp role opens an acknowledgement, and no other key's."""
    key = AcknowledgementKey(tmp_path / "keys" / "ack")
    key.ensure()
    sealer = Sealer(DeviceKey.generate())
    sealer.ack_keys = DeviceDirector(director.show().roots[-1]).trust.ack_keys
    assert sealer.open_ack(key.seal(Ack(stream="s", through=3))) == Ack(stream="s", through=3)
    other = AcknowledgementKey(tmp_path / "other")
    other.ensure()
    with pytest.raises(UnsignedMessageError):
        sealer.open_ack(other.seal(Ack(stream="s", through=3)))


def test_an_announcement_is_a_new_timestamp_and_nothing_else(tmp_path: Path) -> None:
    """After a new root of the director the image repository signs a timestamp, so that all devices look."""
    image = ImageRepository(tmp_path / "tuf", KeyStore(tmp_path / "keys"))
    image.ensure()
    before, version = image.files(), image.timestamp_version
    image.announce()
    after = image.files()
    assert image.timestamp_version == version + 1
    assert {name for name in after if after[name] != before.get(name)} == {"timestamp.json"}
