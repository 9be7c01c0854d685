"""Keys that are not on the controller: the ceremony, thresholds, requests, and kills in between."""

from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata, Root, Targets
from tuf.api.serialization import DeserializationError

from edgewright.controller.errors import (
    InvalidRequestError,
    KeyStoreError,
    SignatureRefusedError,
    SignaturesMissingError,
)
from edgewright.controller.trust import ceremony, requests
from edgewright.controller.trust.ceremony import Holder
from edgewright.controller.trust.documents import signed_bytes
from edgewright.controller.trust.keys import KeyStore
from edgewright.controller.trust.orders import KeyOrder
from edgewright.controller.trust.repository import ImageRepository
from tests.controller.key_factory import THREE, Factory, kills, pems
from tests.controller.test_trust_repository import Clock, Device, Killed, KilledAt, Observer, entry


@pytest.fixture
def factory(tmp_path: Path) -> Factory:
    """A factory after its ceremony."""
    return Factory(tmp_path)


def test_a_ceremony_leaves_no_root_key_here(factory: Factory, tmp_path: Path) -> None:
    """After a ceremony the controller holds two online keys and no others; root asks for 2 of 3."""
    held = sorted(str(p.relative_to(factory.data / "keys").parent) for p in factory.data.rglob("*.pem"))
    assert held == ["image/snapshot", "image/timestamp"]
    root = Metadata[Root].from_bytes(factory.repository.root_bytes()).signed
    assert {name: (role.threshold, len(role.keyids)) for name, role in root.roles.items()} == {
        "root": (2, 3),
        "targets": (2, 3),
        "snapshot": (1, 1),
        "timestamp": (1, 1),
    }
    assert not factory.repository.laboratory
    assert {p.stat().st_mode & 0o777 for p in factory.sticks.rglob("*.pem")} == {0o600}
    with pytest.raises(InvalidRequestError, match="keys already"):
        ceremony.begin(factory.data, [], [], [], (2, 2, 2))
    with pytest.raises(KeyStoreError, match="not overwritten"):
        Holder(factory.stick("root", "alice"))


def test_a_ceremony_of_public_keys(tmp_path: Path) -> None:
    """With public keys alone the first root waits, and begins when two of three have signed it elsewhere."""
    sticks = [tmp_path / who / "root.pem" for who in THREE]
    signers = [ceremony.make_key(path, "p256") for path in sticks]
    holders = [Holder(path.with_name("root.pem.pub")) for path in sticks]
    data = tmp_path / "data"
    assert ceremony.begin(data, holders, holders, holders, (2, 2, 2)) is not None
    repository = ImageRepository(data / "tuf" / "image", KeyStore(data / "keys"))
    with pytest.raises(SignaturesMissingError, match="2 more signatures of root, targets"):
        repository.ensure()
    for signer in signers[1:]:
        (request,) = repository.requests()
        repository.import_signatures(requests.encode(requests.sign(request, [signer])))
    repository.ensure()
    assert set(repository.files()) == {"1.root.json", "1.targets.json", "1.snapshot.json", "timestamp.json"}


def test_offline_signing_end_to_end(factory: Factory, tmp_path: Path) -> None:
    """A release is invisible until two of three have signed it; one signature, given twice, is one."""
    device = Device(tmp_path / "device", factory.repository.root_bytes())
    before = factory.repository.files()
    with pytest.raises(SignaturesMissingError, match="2 more signatures of targets, garment-packing"):
        factory.repository.add_release([entry(1)])
    assert factory.repository.files() == before
    (request,) = factory.repository.requests()
    once = factory.signed(request, "release", "alice")
    held, committed = factory.repository.import_signatures(once)
    assert (held.missing(), committed) == (1, False)
    with pytest.raises(SignatureRefusedError, match="counts once"):
        factory.repository.import_signatures(once)
    with pytest.raises(SignaturesMissingError, match="1 more signature"):
        factory.opened().add_release([entry(1)])
    assert device.sees(factory.repository.files(), entry(1).path) is None
    # Bob's file was exported before Alice's came back: it still counts.
    _, committed = factory.repository.import_signatures(factory.signed(request, "release", "bob"))
    assert committed
    assert not factory.repository.add_release([entry(1)])
    assert device.sees(factory.repository.files(), entry(1).path) == entry(1).custom
    assert factory.repository.requests() == ()
    with pytest.raises(SignatureRefusedError, match="No request"):
        factory.repository.import_signatures(once)


def test_a_device_refuses_one_of_three(factory: Factory, tmp_path: Path) -> None:
    """Metadata with one of two needed signatures, or with one twice, is refused by a TUF client."""
    factory.release(1)
    files = factory.repository.files()
    device = Device(tmp_path / "device", files["1.root.json"])
    document = Metadata[Targets].from_bytes(files["2.targets.json"])
    document.signatures.popitem()
    with pytest.raises(UnsignedMetadataError):
        device.sees({**files, "2.targets.json": document.to_bytes()}, entry(1).path)
    twice = msgspec.json.decode(document.to_bytes())
    twice["signatures"] *= 2
    with pytest.raises(DeserializationError):
        device.sees({**files, "2.targets.json": msgspec.json.encode(twice)}, entry(1).path)


@pytest.mark.parametrize("attack", ["stranger", "another document", "forged", "edited"])
def test_signatures_that_do_not_count(factory: Factory, attack: str) -> None:
    """A signature of a stranger, of other bytes, or made up, is refused and changes nothing."""
    with pytest.raises(SignaturesMissingError):
        factory.repository.add_release([entry(1)])
    (request,) = factory.repository.requests()
    part = request.parts[0]
    signer = factory.signer("root" if attack == "stranger" else "release", "alice")
    signed = signed_bytes(part.signed) if attack in ("stranger", "edited") else b"something else"
    made = "00" if attack == "forged" else signer.sign(signed).signature
    changed = msgspec.structs.replace(part, signatures={signer.public_key.keyid: made})
    if attack == "edited":
        changed = msgspec.structs.replace(changed, signed=part.signed.replace("2027", "2099"))
    shown = msgspec.structs.replace(request, parts=(changed, *request.parts[1:]))
    with pytest.raises(SignatureRefusedError):
        factory.repository.import_signatures(requests.encode(shown))
    assert factory.repository.requests() == (request,)


def test_a_stale_request_is_made_again(factory: Factory) -> None:
    """A request that was exported before another change was committed is refused, and then waits anew."""
    factory.release(1)
    for number in (2, 3):
        with pytest.raises(SignaturesMissingError):
            factory.repository.add_release([entry(number)])
    second, third = sorted(factory.repository.requests(), key=lambda r: r.summary)
    file = factory.signed(third, "release", "alice", "bob")
    factory.repository.import_signatures(factory.signed(second, "release", "alice", "bob"))
    with pytest.raises(SignatureRefusedError, match="moved on"):
        factory.repository.import_signatures(file)
    (again,) = factory.repository.requests()
    assert again.id == third.id
    factory.repository.import_signatures(factory.signed(again, "release", "carol", "bob"))
    assert not factory.repository.add_release([entry(2), entry(3)])


def test_what_is_signed_is_said_in_words(factory: Factory) -> None:
    """The words come from the documents: a lying summary changes nothing, a lying document is refused."""
    factory.release(1)
    with pytest.raises(SignaturesMissingError):
        factory.repository.add_release([entry(2)])
    (request,) = factory.repository.requests()
    lying = msgspec.structs.replace(request, summary=("nothing",))
    said = "\n".join(ceremony.describe(lying, [factory.signer("release", "alice").public_key]))
    assert "garment-packing v2 for x86_64-ort-cpu" in said
    assert "keeps 1 others as they are" in said
    assert "needs 2 of 3 keys" in said
    swapped = msgspec.structs.replace(request.parts[0], role="root")
    with pytest.raises(SignatureRefusedError, match="holds something else"):
        ceremony.describe(msgspec.structs.replace(request, parts=(swapped,)), [])


def test_killed_at_each_write_of_an_import(tmp_path: Path) -> None:
    """Killed at any write while the last signature is taken, the file can be imported again, or is in."""
    cut_writes = set()
    for at, moment in kills("half", "after"):
        factory = Factory(tmp_path / f"{at}-{moment}")
        observer = Observer()
        observer.publish(factory.repository.files())
        with pytest.raises(SignaturesMissingError):
            factory.repository.add_release([entry(1)])
        (request,) = factory.repository.requests()
        file = factory.signed(request, "release", "alice", "bob")
        try:
            factory.opened(KilledAt(at, moment)).import_signatures(file)
            break
        except Killed:
            cut_writes.add(at)
        healed = factory.opened()
        observer.publish(healed.files())
        if healed.requests():
            healed.import_signatures(file)
        assert not healed.add_release([entry(1)])
        observer.publish(healed.files())
        device = Device(tmp_path / f"{at}-{moment}" / "device", healed.root_bytes())
        assert device.sees(healed.files(), entry(1).path) == entry(1).custom
    # The request, targets, the model's role, snapshot, timestamp.
    assert cut_writes == {1, 2, 3, 4, 5}


def test_offline_roles_are_renewed_by_request(factory: Factory) -> None:
    """Online roles renew themselves while root and targets, half over, wait for their holders."""
    clock = Clock()
    factory.release(1)
    clock.now += timedelta(days=380)
    factory.repository = factory.opened(clock=clock)
    assert factory.repository.renew()
    assert not factory.repository.renew()
    waiting = {part.role for request in factory.repository.requests() for part in request.parts}
    assert waiting == {"root", "targets", "garment-packing"}
    for request in factory.repository.requests():
        role = "root" if request.parts[0].role == "root" else "release"
        factory.repository.import_signatures(factory.signed(request, role, "carol", "bob"))
    assert factory.repository.root_version == 2
    assert not factory.repository.renew()
    assert factory.repository.requests() == ()


def test_a_withdrawn_version_raises_the_floor(factory: Factory) -> None:
    """Releases that are signed after a withdrawal forbid the way back to what was withdrawn."""
    for number in (1, 2):
        factory.release(number)
    with pytest.raises(SignaturesMissingError):
        factory.repository.withdraw([entry(2).path])
    assert factory.repository.entry(entry(2).path) is not None
    factory.approve()
    assert factory.repository.entry(entry(2).path) is None
    factory.release(3)
    third = factory.repository.entry(entry(3).path)
    assert third is not None
    assert third.custom.min_counter == 3
    assert not factory.repository.add_release([entry(3)])
    kept = factory.repository.entry(entry(1).path)
    assert kept is not None
    assert kept.custom.min_counter == 0


def test_a_repository_from_before_goes_on(tmp_path: Path) -> None:
    """A laboratory's repository whose targets do not name release keys takes them from its key folder."""
    keys = KeyStore(tmp_path / "keys")
    repository = ImageRepository(tmp_path / "tuf", keys)
    repository.ensure()
    path = tmp_path / "tuf" / "1.targets.json"
    document = Metadata[Targets].from_bytes(path.read_bytes())
    document.signed.unrecognized_fields.clear()
    document.sign(keys.signers("image/targets")[0])
    path.write_bytes(document.to_bytes())
    repository = ImageRepository(tmp_path / "tuf", KeyStore(tmp_path / "keys"))
    repository.ensure()
    assert repository.add_release([entry(1)])
    new = ceremony.make_key(tmp_path / "new.pem")
    with pytest.raises(SignaturesMissingError, match="1 more signature of garment-packing"):
        repository.order_keys(KeyOrder(("release",), add=pems(new), replace=True))
    (request,) = repository.requests()
    assert repository.import_signatures(requests.encode(requests.sign(request, [new])))[1]
    assert {row.keyid for row in repository.roster() if row.role == "release"} == {new.public_key.keyid}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"sha256":', '"sha512":'),
        ('"custom":{"confidential":false', '"custom":{"confidential":7'),
        ('"length":8', '"length":"eight"'),
        ('"version":2}', '"version":-2}'),
        ('"_type":"targets"', '"_type":"snapshot"'),
    ],
)
def test_a_hostile_document_is_refused_by_number(factory: Factory, old: str, new: str) -> None:
    """A holder who is shown a document that means nothing gets E103, not a defect of the program."""
    factory.release(1)
    with pytest.raises(SignaturesMissingError):
        factory.repository.add_release([entry(2)])
    (request,) = factory.repository.requests()
    (part,) = request.parts
    assert old in part.signed
    hostile = msgspec.structs.replace(part, signed=part.signed.replace(old, new))
    with pytest.raises(SignatureRefusedError):
        ceremony.describe(msgspec.structs.replace(request, parts=(hostile,)), [])


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"\xff", b"[" * 100_000, b'{"id":"x","parts":' + b"[" * 100_000]
)
def test_a_file_that_is_no_request(factory: Factory, data: bytes) -> None:
    """Bytes that are no request are refused by number."""
    with pytest.raises(SignatureRefusedError, match="no signing request"):
        factory.repository.import_signatures(data)
