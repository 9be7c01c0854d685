"""Other keys for a role: rotations, revocations, recovery, own keys of a model, and kills in between."""

from pathlib import Path

import pytest
from tuf.api.metadata import Metadata, Snapshot, Timestamp

from edgewright.controller.errors import (
    InvalidRequestError,
    SignatureRefusedError,
    SignaturesMissingError,
)
from edgewright.controller.trust import ceremony, requests
from edgewright.controller.trust.keys import KeyStore, Signer
from edgewright.controller.trust.orders import KeyOrder
from edgewright.controller.trust.repository import ImageRepository
from tests.controller.key_factory import THREE, Factory, kills, pems
from tests.controller.test_trust_repository import Device, Killed, KilledAt, Observer, entry, versions


@pytest.fixture
def factory(tmp_path: Path) -> Factory:
    """A factory after its ceremony."""
    return Factory(tmp_path)


def test_killed_at_each_write_of_a_rotation(tmp_path: Path) -> None:
    """Killed at any write of a rotation of all offline keys, devices of before go on after a restart."""
    cut_writes = set()
    for at, moment in kills("before", "after"):
        factory = Factory(tmp_path / f"{at}-{moment}")
        factory.release(1)
        observer = Observer()
        observer.publish(factory.repository.files())
        device = Device(tmp_path / f"{at}-{moment}" / "device", factory.repository.root_bytes())
        device.sees(factory.repository.files(), entry(1).path)
        new = [ceremony.make_key(factory.stick("new", who)) for who in THREE]
        with pytest.raises(SignaturesMissingError):
            factory.repository.order_keys(KeyOrder(("root", "targets"), add=pems(*new), replace=True))
        (request,) = factory.repository.requests()
        signers = [factory.signer("root", "alice"), factory.signer("root", "bob"), *new]
        file = requests.encode(requests.sign(request, signers))
        try:
            factory.opened(KilledAt(at, moment)).import_signatures(file)
            break
        except Killed:
            cut_writes.add(at)
        healed = factory.opened()
        if healed.requests():
            healed.import_signatures(file)
        observer.publish(healed.files())
        assert healed.root_version == 2
        assert device.sees(healed.files(), entry(1).path) == entry(1).custom
    # The request, root, targets, snapshot, timestamp.
    assert cut_writes == {1, 2, 3, 4, 5}


def test_killed_at_each_write_of_new_online_keys(tmp_path: Path) -> None:
    """Killed at any write of a laboratory's own rotation, the next start goes on and devices do too."""
    cut_writes = set()
    for at, moment in kills("before", "after"):
        folder = tmp_path / f"{at}-{moment}"
        repository = ImageRepository(folder / "tuf", KeyStore(folder / "keys"))
        repository.ensure()
        repository.add_release([entry(1)])
        observer = Observer()
        observer.publish(repository.files())
        device = Device(folder / "device", repository.root_bytes())
        device.sees(repository.files(), entry(1).path)
        cut = KilledAt(at, moment)
        doomed = ImageRepository(folder / "tuf", KeyStore(folder / "keys", cut), write=cut)
        doomed.ensure()
        try:
            doomed.order_keys(KeyOrder(("snapshot", "timestamp"), replace=True, generate=True))
            break
        except Killed:
            cut_writes.add(at)
        healed = ImageRepository(folder / "tuf", KeyStore(folder / "keys"))
        healed.ensure()
        observer.publish(healed.files())
        assert device.sees(healed.files(), entry(1).path) == entry(1).custom
        assert healed.add_release([entry(2)])
        assert device.sees(healed.files(), entry(2).path) == entry(2).custom
        assert healed.requests() == ()
    # Two keys, the change, root, snapshot, timestamp.
    assert cut_writes == {1, 2, 3, 4, 5, 6}


def test_forty_rotations_of_the_root(factory: Factory, tmp_path: Path) -> None:
    """A device that knows the first root follows forty rotations, each to all new root keys."""
    factory.release(1)
    first_root = factory.repository.root_bytes()
    old: list[Signer] = [factory.signer("root", who) for who in THREE]
    for turn in range(40):
        new: list[Signer] = [ceremony.make_key(factory.stick(f"root{turn}", who)) for who in THREE]
        with pytest.raises(SignaturesMissingError):
            factory.repository.order_keys(KeyOrder(("root",), add=pems(*new), replace=True))
        (request,) = factory.repository.requests()
        factory.repository.import_signatures(requests.encode(requests.sign(request, [*old[:2], *new[1:]])))
        old = new
    assert factory.opened().root_version == 41
    device = Device(tmp_path / "device", first_root)
    assert device.sees(factory.repository.files(), entry(1).path) == entry(1).custom


def test_a_root_without_its_old_keys_is_refused(factory: Factory) -> None:
    """New keys alone, or one of the old ones, cannot replace the root."""
    new = [ceremony.make_key(factory.stick("new", who)) for who in THREE]
    with pytest.raises(SignaturesMissingError):
        factory.repository.order_keys(KeyOrder(("root",), add=pems(*new), replace=True))
    (request,) = factory.repository.requests()
    held, committed = factory.repository.import_signatures(
        requests.encode(requests.sign(request, [*new, factory.signer("root", "alice")]))
    )
    assert (held.missing(), committed) == (1, False)
    assert factory.repository.root_version == 1


def test_recovery_from_a_fast_forward(factory: Factory, tmp_path: Path) -> None:
    """After stolen online keys drove versions to 2^31-1, new keys for both let them begin low again."""
    factory.release(1)
    files = factory.repository.files()
    device = Device(tmp_path / "device", files["1.root.json"])
    keys = KeyStore(factory.data / "keys")
    # The thief has had the run of the controller: its own folder is driven forward too.
    snapshot = Metadata[Snapshot].from_bytes(files["2.snapshot.json"])
    snapshot.signed.version = 2**31 - 1
    snapshot.sign(keys.signers("image/snapshot")[0])
    timestamp = Metadata[Timestamp].from_bytes(files["timestamp.json"])
    timestamp.signed.version = 2**31 - 1
    timestamp.signed.snapshot_meta.version = 2**31 - 1
    timestamp.sign(keys.signers("image/timestamp")[0])
    for name, document in (("2147483647.snapshot.json", snapshot), ("timestamp.json", timestamp)):
        (factory.data / "tuf/image" / name).write_bytes(document.to_bytes())
    factory.repository = factory.opened()
    assert device.sees(factory.repository.files(), entry(1).path) == entry(1).custom
    assert factory.repository.timestamp_version == 2**31 - 1

    order = KeyOrder(("snapshot", "timestamp"), replace=True, generate=True, recover=True)
    with pytest.raises(SignaturesMissingError):
        factory.repository.order_keys(order)
    factory.approve("root")
    assert factory.repository.timestamp_version == 1
    healed = factory.opened()
    assert "2147483647.snapshot.json" in healed.superseded()
    healed.discard(healed.superseded())
    assert max(versions(healed.files()).values()) < 10
    assert device.sees(healed.files(), entry(1).path) == entry(1).custom
    factory.repository = healed
    factory.release(2)
    assert device.sees(factory.repository.files(), entry(2).path) == entry(2).custom


def test_recovery_wants_both_keys(factory: Factory) -> None:
    """Versions that begin again with one old key left are refused: devices would remember."""
    with pytest.raises(InvalidRequestError, match="both"):
        factory.repository.order_keys(KeyOrder(("timestamp",), replace=True, generate=True, recover=True))


def test_a_model_with_keys_of_its_own(factory: Factory, tmp_path: Path) -> None:
    """A model can have its own keys and threshold, before its first release; others keep theirs."""
    dora = ceremony.make_key(factory.stick("bearing", "dora"), "p256")
    with pytest.raises(SignaturesMissingError):
        factory.repository.order_keys(KeyOrder(("bearing",), add=pems(dora), threshold=1))
    (request,) = factory.repository.requests()
    signers = [factory.signer("release", "alice"), factory.signer("release", "bob"), dora]
    assert factory.repository.import_signatures(requests.encode(requests.sign(request, signers)))[1]
    with pytest.raises(SignaturesMissingError, match="1 more signature of bearing"):
        factory.repository.add_release([entry(1, "bearing")])
    (request,) = factory.repository.requests()
    with pytest.raises(SignatureRefusedError):
        ceremony.sign(tmp_path / "file", request, factory.signer("release", "alice"))
    factory.repository.import_signatures(requests.encode(requests.sign(request, [dora])))
    factory.release(1)
    device = Device(tmp_path / "device", factory.repository.root_bytes())
    assert device.sees(factory.repository.files(), entry(1, "bearing").path) is not None
    roles = {row.role: (row.threshold, row.of) for row in factory.repository.roster()}
    assert roles["bearing"] == (1, 1)
    assert roles["release"] == (2, 3)
    assert "garment-packing" not in roles


def test_a_revoked_key_counts_no_more(factory: Factory, tmp_path: Path) -> None:
    """After a release key is revoked its signature is refused, and what waited is asked for again."""
    factory.release(1)
    with pytest.raises(SignaturesMissingError):
        factory.repository.add_release([entry(2)])
    (waiting,) = factory.repository.requests()
    factory.repository.import_signatures(factory.signed(waiting, "release", "alice"))
    gone = factory.signer("release", "alice").public_key.keyid
    with pytest.raises(SignaturesMissingError):
        factory.repository.order_keys(KeyOrder(drop=(gone[:16],)))
    revocation = next(r for r in factory.repository.requests() if r.id != waiting.id)
    signers = [factory.signer("root", "alice"), factory.signer("root", "bob")]
    signers += [factory.signer("release", "carol"), factory.signer("release", "bob")]
    assert factory.repository.import_signatures(requests.encode(requests.sign(revocation, signers)))[1]
    (again,) = factory.repository.requests()
    assert again.id == waiting.id
    assert again.missing() == 2
    with pytest.raises(SignatureRefusedError):
        ceremony.sign(tmp_path / "file", again, factory.signer("release", "alice"))
    factory.repository.import_signatures(factory.signed(again, "release", "carol", "bob"))
    device = Device(tmp_path / "device", factory.repository.files()["1.root.json"])
    assert device.sees(factory.repository.files(), entry(2).path) == entry(2).custom
    with pytest.raises(InvalidRequestError, match="threshold"):
        factory.repository.order_keys(
            KeyOrder(("release",), drop=(factory.signer("release", "bob").public_key.keyid,))
        )


def test_a_laboratory_becomes_a_factory(tmp_path: Path) -> None:
    """Keys that the controller made can be replaced by two of three offline ones; then the notice goes."""
    repository = ImageRepository(tmp_path / "tuf", KeyStore(tmp_path / "keys"))
    repository.ensure()
    repository.add_release([entry(1)])
    assert repository.laboratory
    device = Device(tmp_path / "device", repository.root_bytes())
    new = [ceremony.make_key(tmp_path / who / "key.pem") for who in THREE]
    order = KeyOrder(("root", "targets", "release"), add=pems(*new), replace=True, threshold=2)
    with pytest.raises(SignaturesMissingError):
        repository.order_keys(order)
    (request,) = repository.requests()
    assert repository.import_signatures(requests.encode(requests.sign(request, new[:2])))[1]
    assert not repository.laboratory
    assert device.sees(repository.files(), entry(1).path) == entry(1).custom
    with pytest.raises(SignaturesMissingError, match="2 more signatures of garment-packing"):
        repository.add_release([entry(2)])
