"""Keys that are not on the controller: thresholds, requests, rotations, recovery, and kills in between."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp
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
from edgewright.controller.trust.durable import Write, write_durably
from edgewright.controller.trust.keys import KeyStore, Signer
from edgewright.controller.trust.orders import KeyOrder
from edgewright.controller.trust.pem import public_pem
from edgewright.controller.trust.repository import ImageRepository, now_utc
from edgewright.controller.trust.requests import Request
from tests.controller.test_trust_repository import Clock, Device, Killed, KilledAt, Observer, entry, versions

THREE = ("alice", "bob", "carol")


class Factory:
    """A repository whose root and release keys are on sticks, two of three, as after a real ceremony."""

    def __init__(self, folder: Path) -> None:
        self.data, self.sticks = folder / "data", folder / "sticks"
        holders = {role: [Holder(self.stick(role, who)) for who in THREE] for role in ("root", "release")}
        left = ceremony.begin(self.data, holders["root"], holders["release"], holders["release"], (2, 2, 2))
        assert left is None
        self.repository = self.opened()

    def stick(self, role: str, who: str) -> Path:
        return self.sticks / who / f"{role}.pem"

    def signer(self, role: str, who: str) -> Signer:
        return ceremony.signer_of(self.stick(role, who))

    def opened(
        self, write: Write = write_durably, clock: Callable[[], datetime] = now_utc
    ) -> ImageRepository:
        keys = KeyStore(self.data / "keys", write)
        repository = ImageRepository(self.data / "tuf" / "image", keys, write=write, clock=clock)
        repository.ensure()
        return repository

    def signed(self, request: Request, role: str, *who: str) -> bytes:
        """The request's file as it comes back from these people."""
        return requests.encode(requests.sign(request, [self.signer(role, one) for one in who]))

    def approve(self, role: str = "release", who: Sequence[str] = ("alice", "bob")) -> None:
        """Let people sign the oldest request, one after the other."""
        for one in who:
            self.repository.import_signatures(self.signed(self.repository.requests()[0], role, one))

    def release(self, number: int, model: str = "garment-packing") -> None:
        with pytest.raises(SignaturesMissingError):
            self.repository.add_release([entry(number, model)])
        self.approve()


@pytest.fixture
def factory(tmp_path: Path) -> Factory:
    """A factory after its ceremony."""
    return Factory(tmp_path)


def pems(*signers: Signer) -> tuple[str, ...]:
    """Public keys as an order names them."""
    return tuple(public_pem(signer.public_key).decode() for signer in signers)


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
    said = "\n".join(ceremony.describe(lying))
    assert "garment-packing v2 for x86_64-ort-cpu" in said
    assert "keeps 1 others as they are" in said
    assert "needs 2 of 3 keys" in said
    swapped = msgspec.structs.replace(request.parts[0], role="root")
    with pytest.raises(SignatureRefusedError, match="holds something else"):
        ceremony.describe(msgspec.structs.replace(request, parts=(swapped,)))


def kills(*moments: str) -> Iterator[tuple[int, str]]:
    """Every write of a change, each at every of these moments."""
    yield from ((at, moment) for at in range(1, 12) for moment in moments)


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
