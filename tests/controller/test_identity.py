"""The certificate authority and the register: what is granted, to whom, and what is refused."""

import base64
import stat
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edgewright.agent.certificates import make_request
from edgewright.agent.devicekey import DeviceKey
from edgewright.controller.broker.access import BatchedAccess
from edgewright.controller.broker.probe import Address
from edgewright.controller.broker.site import broker_files
from edgewright.controller.database import select
from edgewright.controller.database.engine import Database
from edgewright.controller.database.tables import Certificate, Device, EnrolmentToken, Event
from edgewright.controller.enrolment import Enrolment
from edgewright.controller.errors import (
    BrokerNotToldError,
    BrokerStartError,
    CertificateAuthorityError,
    CertificateRequestError,
    DeviceRevokedError,
    EnrolmentRefusedError,
    NotAuthorisedError,
    UnknownDeviceError,
)
from edgewright.controller.identity.authority import CONTROLLER, CertificateAuthority, Issued
from edgewright.controller.identity.register import GRACE_S, SUPERSEDED, DeviceRegister, admitted, revoked
from tests.controller.parts import SimulatedAccess
from tests.controller.test_authority import lists_of

ROBOT = "press.left-1"


class Parts(NamedTuple):
    """A controller's register and enrolment."""

    db: Database
    register: DeviceRegister
    enrolment: Enrolment


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    """Them on an empty folder."""
    db = Database.in_folder(tmp_path)
    db.create()
    authority = CertificateAuthority(tmp_path / "ca")
    authority.ensure()
    register = DeviceRegister(db, authority, SimulatedAccess())
    return Parts(db, register, Enrolment(db, register, lambda host: Address(host, 1), bytes, bytes))


def request(key: DeviceKey | None = None, name: str = ROBOT) -> bytes:
    """A request for a certificate, DER."""
    return base64.b64decode(make_request(key or DeviceKey.generate(), name))


def enrol(parts: Parts, key: DeviceKey | None = None, device: str = ROBOT) -> Issued:
    """Take a device in with a token that is bound to it."""
    token = parts.enrolment.new_token(device=device)
    issued, _ = parts.enrolment.admit(device, "t", {}, token, request(key))
    return issued


def der(issued: Issued) -> bytes:
    """The certificate as it is shown in TLS."""
    return issued.certificate.public_bytes(serialization.Encoding.DER)


def row(parts: Parts, device: str = ROBOT) -> Device:
    """The device as it is written down."""
    with parts.db.reading() as session:
        found = session.get(Device, device)
        assert found is not None
        return found


def expire(parts: Parts, issued: Issued, seconds_ago: float) -> None:
    """Let a certificate's term have ended in the register."""
    with parts.db.session() as session:
        held = session.get(Certificate, issued.serial)
        assert held is not None
        held.expires = time.time() - seconds_ago
        session.add(held)


# The authority


def test_the_authority_is_made_once_and_private(tmp_path: Path) -> None:
    """A second start keeps root and server certificate; every file is its owner's only."""
    first = CertificateAuthority(tmp_path / "ca")
    assert first.ensure(["plant.example"])
    again = CertificateAuthority(tmp_path / "ca")
    assert not again.ensure(["plant.example"])
    assert again.fingerprint == first.fingerprint
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "ca").iterdir()}
    assert modes == {0o600}


def test_a_new_name_makes_a_new_server_certificate(tmp_path: Path) -> None:
    """A controller that is started under another name gets a certificate with it, below the same root."""
    authority = CertificateAuthority(tmp_path / "ca")
    authority.ensure()
    assert authority.ensure(["plant.example", "10.0.0.7"])
    served = x509.load_pem_x509_certificates(authority.server.read_bytes())[0]
    san = served.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"localhost", "plant.example"} <= set(san.get_values_for_type(x509.DNSName))
    assert {"127.0.0.1", "10.0.0.7"} <= set(map(str, san.get_values_for_type(x509.IPAddress)))
    served.verify_directly_issued_by(authority.authorities[1])


@pytest.mark.parametrize("name", ["issuing.pem", "ca.pem"])
def test_a_damaged_authority_is_a_clear_error(tmp_path: Path, name: str) -> None:
    """A file that is gone or no key ends with E068 and never with a new authority."""
    authority = CertificateAuthority(tmp_path / "ca")
    authority.ensure()
    (tmp_path / "ca" / name).write_text("nothing")
    (tmp_path / "ca" / "server.pem").unlink()
    fresh = CertificateAuthority(tmp_path / "ca")
    with pytest.raises(CertificateAuthorityError, match="E068"):
        _ = fresh.ensure() and fresh.fingerprint


def test_a_lost_authority_is_not_replaced_in_silence(parts: Parts, tmp_path: Path) -> None:
    """Where devices hold certificates and the folder is gone, E068 says so; nothing is made in its place."""
    enrol(parts)
    (tmp_path / "ca").rename(tmp_path / "lost")
    with pytest.raises(CertificateAuthorityError, match=r"E068 .*is gone"):
        broker_files(tmp_path, tmp_path / "site")
    assert not (tmp_path / "ca").exists()


def test_lost_revocation_lists_are_made_again(parts: Parts, tmp_path: Path) -> None:
    """Whatever lost ``crl.pem``, a broker's files have the lists, with all that is revoked."""
    enrol(parts)
    parts.register.revoke(ROBOT, "stolen")
    (tmp_path / "ca" / "crl.pem").unlink()
    broker_files(tmp_path, tmp_path / "site")
    issuing, _ = lists_of(CertificateAuthority(tmp_path / "ca"))
    assert len(list(issuing)) == 1


def test_the_root_key_is_not_needed(tmp_path: Path) -> None:
    """With the root's key moved away, devices are still taken in, revoked, and the lists renewed."""
    authority = CertificateAuthority(tmp_path / "ca")
    authority.ensure()
    (tmp_path / "ca" / "root.pem").rename(tmp_path / "elsewhere.pem")
    fresh = CertificateAuthority(tmp_path / "ca")
    fresh.ensure(["another"])
    fresh.issue_device(ROBOT, DeviceKey.generate().private.public_key())
    fresh.publish_revoked(())
    assert fresh.revocation_lists.read_text().count("BEGIN X509 CRL") == 2


def test_a_device_certificate_is_of_one_profile(parts: Parts) -> None:
    """The subject is the token's device whatever the request says; the key signs as a client, for 90 days."""
    token = parts.enrolment.new_token(device=ROBOT)
    issued, _ = parts.enrolment.admit(ROBOT, "t", {}, token, request(name="edgewright-controller"))
    made = issued.certificate
    names = [str(name.value) for name in made.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    assert names == [ROBOT]
    san = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    key_urn = f"urn:edgewright:key:{issued.key_sha256}"
    assert san.get_values_for_type(x509.UniformResourceIdentifier) == [
        f"urn:edgewright:device:{ROBOT}",
        key_urn,
    ]
    usage = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    life = made.not_valid_after_utc - made.not_valid_before_utc
    assert timedelta(days=90) <= life <= timedelta(days=90, minutes=6)
    root, issuing = parts.register.authority.authorities
    made.verify_directly_issued_by(issuing)
    issuing.verify_directly_issued_by(root)


# Requests


def _signed_by_another() -> bytes:
    good = bytearray(request())
    good[-1] ^= 1
    return bytes(good)


def _with(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ROBOT)])
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    made = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, digest)
    return made.public_bytes(serialization.Encoding.DER)


BAD_REQUESTS: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "noise": lambda: bytes(range(256)),
    "cut": lambda: request()[:-10],
    "longer": lambda: request() + b"\0",
    "huge": lambda: request() + b"\0" * 5000,
    "a certificate instead": lambda: b"\x30\x82\x01\x00" + b"\0" * 256,
    "wrong signature": _signed_by_another,
    "P-384": lambda: _with(ec.generate_private_key(ec.SECP384R1())),
    "RSA": lambda: _with(rsa.generate_private_key(65537, 2048)),
    "Ed25519": lambda: _with(ed25519.Ed25519PrivateKey.generate()),
}


@pytest.mark.parametrize("bad", BAD_REQUESTS)
def test_a_bad_request_changes_nothing(parts: Parts, bad: str) -> None:
    """E109, no device is made, and the token is still good for a right request."""
    token = parts.enrolment.new_token()
    with pytest.raises(CertificateRequestError, match="E109"):
        parts.enrolment.admit(ROBOT, "t", {}, token, BAD_REQUESTS[bad]())
    with parts.db.reading() as session:
        assert session.get(Device, ROBOT) is None
    parts.enrolment.admit(ROBOT, "t", {}, token, request())


# Tokens


def test_a_token_takes_one_device_in(parts: Parts) -> None:
    """The second who shows a token is refused, even under the same id, and gets no certificate."""
    token = parts.enrolment.new_token()
    parts.enrolment.admit(ROBOT, "t", {}, token, request())
    for device in (ROBOT, "other"):
        with pytest.raises(EnrolmentRefusedError, match="E095"):
            parts.enrolment.admit(device, "t", {}, token, request())
    assert len(admitted(parts.db)) == 1


def test_a_token_is_stored_as_a_digest_and_ends(parts: Parts) -> None:
    """The database never holds a token's text, and an old token is refused."""
    token = parts.enrolment.new_token(device=ROBOT)
    secret = token.partition(".")[0]
    with parts.db.session() as session:
        (kept,) = session.exec(select(EnrolmentToken)).all()
        assert secret not in repr(kept)
        kept.expires = time.time() - 1
        session.add(kept)
    with pytest.raises(EnrolmentRefusedError, match="too old"):
        parts.enrolment.admit(ROBOT, "t", {}, token, request())


def test_a_token_is_bound_to_its_device(parts: Parts) -> None:
    """A token for one device takes no other in, and is still good for its own."""
    token = parts.enrolment.new_token(device=ROBOT)
    with pytest.raises(EnrolmentRefusedError, match="another device"):
        parts.enrolment.admit("other", "t", {}, token, request())
    parts.enrolment.admit(ROBOT, "t", {}, token, request())


def test_a_token_is_bound_to_its_tags(parts: Parts) -> None:
    """A device cannot claim another value of a bound tag; it gets the token's, beside its own."""
    token = parts.enrolment.new_token(tags={"site": "lyon"})
    with pytest.raises(EnrolmentRefusedError, match="tag 'site'"):
        parts.enrolment.admit(ROBOT, "t", {"site": "paris"}, token, request())
    _, tags = parts.enrolment.admit(ROBOT, "t", {"line": "a"}, token, request())
    assert tags == row(parts).tags == {"site": "lyon", "line": "a"}


def test_a_place_that_is_taken_needs_a_token_for_it(parts: Parts) -> None:
    """A token that is bound to nobody cannot replace an enrolled device, revoked or not."""
    enrol(parts)
    with pytest.raises(EnrolmentRefusedError, match="bound to it"):
        parts.enrolment.admit(ROBOT, "t", {}, parts.enrolment.new_token(), request())
    parts.register.revoke(ROBOT, "stolen")
    with pytest.raises(EnrolmentRefusedError, match="bound to it"):
        parts.enrolment.admit(ROBOT, "t", {}, parts.enrolment.new_token(), request())


@pytest.mark.parametrize("device", ["", "a/b", "#", "+", "a b", "x" * 65, CONTROLLER])
def test_an_id_that_cannot_be_is_refused(parts: Parts, device: str) -> None:
    """An id that cannot stand in a topic, or that is the controller's own name, is refused by number."""
    with pytest.raises(EnrolmentRefusedError, match="E095"):
        parts.enrolment.admit(device, "t", {}, parts.enrolment.new_token(), request())


def test_enrolling_again_supersedes_what_was_held(parts: Parts) -> None:
    """After a new enrolment the old key is admitted no more and stands in the revocation list."""
    before = enrol(parts)
    after = enrol(parts)
    assert [key.key_sha256 for key in admitted(parts.db)] == [after.key_sha256]
    assert [entry.serial for entry in revoked(parts.db)] == [int(before.serial, 16)]
    device = row(parts)
    assert (device.public_key, device.previous_public_key) == (after.public_key, b"")


def test_a_key_belongs_to_one_device(parts: Parts) -> None:
    """A copy of a device's key cannot enrol as another device."""
    key = DeviceKey.generate()
    enrol(parts, key)
    with pytest.raises(CertificateRequestError, match="make a new key"):
        parts.enrolment.admit("other", "t", {}, parts.enrolment.new_token(), request(key))


# Renewal


def test_a_renewal_keeps_the_key_before(parts: Parts) -> None:
    """Both keys are admitted until the next renewal, which drops the first."""
    one = enrol(parts)
    two = parts.register.renew(der(one), request())
    assert {key.key_sha256 for key in admitted(parts.db)} == {one.key_sha256, two.key_sha256}
    device = row(parts)
    assert (device.public_key, device.previous_public_key) == (two.public_key, one.public_key)
    assert device.certificate_expires == two.expires
    three = parts.register.renew(der(two), request())
    assert {key.key_sha256 for key in admitted(parts.db)} == {two.key_sha256, three.key_sha256}
    with pytest.raises(DeviceRevokedError, match="E104"):
        parts.register.renew(der(one), request())


def test_a_lost_answer_can_be_asked_for_again(parts: Parts) -> None:
    """A device that never got its new certificate renews with the old one, and is not locked out."""
    one = enrol(parts)
    parts.register.renew(der(one), request())
    again = parts.register.renew(der(one), request())
    assert {key.key_sha256 for key in admitted(parts.db)} == {one.key_sha256, again.key_sha256}
    assert row(parts).previous_public_key == one.public_key


def test_a_renewal_needs_a_new_key(parts: Parts) -> None:
    """The key of the certificate in force is not certified again."""
    key = DeviceKey.generate()
    issued = enrol(parts, key)
    with pytest.raises(CertificateRequestError, match="make a new key"):
        parts.register.renew(der(issued), request(key))


def test_a_revoked_device_cannot_renew(parts: Parts) -> None:
    """E104, and nothing is admitted."""
    issued = enrol(parts)
    parts.register.revoke(ROBOT, "stolen")
    with pytest.raises(DeviceRevokedError, match="E104"):
        parts.register.renew(der(issued), request())
    assert admitted(parts.db) == []


def test_an_expired_certificate_renews_for_a_while(parts: Parts) -> None:
    """A robot that was stored for a winter comes back; after the grace it needs a token."""
    issued = enrol(parts)
    expire(parts, issued, GRACE_S + 60)
    with pytest.raises(EnrolmentRefusedError, match="too long ago"):
        parts.register.renew(der(issued), request())
    expire(parts, issued, GRACE_S - 60)
    parts.register.renew(der(issued), request())


def test_only_a_device_renews(parts: Parts) -> None:
    """Neither the controller's own certificate nor none is one."""
    own = x509.load_pem_x509_certificates(parts.register.authority.controller.read_bytes())[0]
    for shown in (b"", own.public_bytes(serialization.Encoding.DER)):
        with pytest.raises(NotAuthorisedError, match="E094"):
            parts.register.renew(shown, request())


# Revocation


def test_revoking_is_written_down_and_the_broker_told(parts: Parts) -> None:
    """The device is marked, its certificates stand in the list, one event tells why, its connection ends."""
    one = enrol(parts)
    two = parts.register.renew(der(one), request())
    parts.register.revoke(ROBOT, "stolen from line 3")
    serials = {entry.serial for entry in revoked(parts.db)}
    assert serials == {int(one.serial, 16), int(two.serial, 16)}
    assert row(parts).revoked_at > 0
    access = parts.register.access
    assert isinstance(access, SimulatedAccess)
    assert access.ended == [ROBOT]
    with parts.db.reading() as session:
        (event,) = session.exec(select(Event).where(Event.kind == "device.revoked")).all()
        reasons = {held.reason for held in session.exec(select(Certificate)).all()}
    assert event.sentence == f"{ROBOT} was revoked: stolen from line 3."
    assert reasons == {"stolen from line 3"}
    with pytest.raises(UnknownDeviceError):
        parts.register.revoke("nobody", "")


def test_the_list_names_the_revoked_and_verifies(parts: Parts) -> None:
    """Each authority signs its own list; what was superseded stands in it too, what is in force does not."""
    before, after = enrol(parts), enrol(parts)
    authority = parts.register.authority
    authority.publish_revoked(revoked(parts.db))
    texts = authority.revocation_lists.read_bytes().split(b"-----END X509 CRL-----\n")
    issuing, root = (x509.load_pem_x509_crl(text + b"-----END X509 CRL-----\n") for text in texts[:2])
    for made, signer in zip((root, issuing), authority.authorities, strict=True):
        key = signer.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        assert made.is_signature_valid(key)
    assert issuing.get_revoked_certificate_by_serial_number(int(before.serial, 16)) is not None
    assert issuing.get_revoked_certificate_by_serial_number(int(after.serial, 16)) is None
    with parts.db.reading() as session:
        held = session.get(Certificate, before.serial)
        assert held is not None
        assert held.reason == SUPERSEDED


def test_an_expired_certificate_leaves_the_list(parts: Parts) -> None:
    """A revocation list does not grow for ever."""
    issued = enrol(parts)
    parts.register.revoke(ROBOT, "")
    expire(parts, issued, 1)
    assert revoked(parts.db) == []


# Telling the broker


def test_refreshes_are_batched_and_nobody_returns_early() -> None:
    """Fifty who ask at once wait for a few refreshes, each for one that began after it asked."""
    began: list[float] = []

    def refresh() -> None:
        began.append(time.monotonic())
        time.sleep(0.05)

    access = BatchedAccess(refresh)
    access.start()
    late: list[float] = []

    def ask() -> None:
        asked = time.monotonic()
        access.refresh()
        if not any(start >= asked for start in list(began)):
            late.append(asked)

    threads = [threading.Thread(target=ask) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    access.stop()
    assert not late
    assert len(began) < 10


def test_a_revocation_that_the_broker_does_not_know_is_an_error(parts: Parts) -> None:
    """It is written down and says so; the broker is told again by itself, and by whoever revokes again."""
    enrol(parts)
    wrong = ["The embedded broker refuses its list."]
    told = threading.Event()
    ended: list[str] = []

    def refresh() -> None:
        if wrong:
            raise BrokerStartError(wrong[0])
        told.set()

    access = BatchedAccess(refresh, ended.append, retry_s=0.05)
    access.start()
    register = DeviceRegister(parts.db, parts.register.authority, access)
    with pytest.raises(BrokerNotToldError, match="refuses its list"):
        register.revoke(ROBOT, "stolen")
    with pytest.raises(BrokerNotToldError):
        register.revoke(ROBOT, "stolen")
    assert row(parts).revoked_at > 0
    wrong.clear()
    assert told.wait(20)
    register.revoke(ROBOT, "stolen")
    access.stop()
    assert set(ended) == {ROBOT}
    with parts.db.reading() as session:
        assert len(session.exec(select(Event).where(Event.kind == "device.revoked")).all()) == 1


def test_a_device_enrols_while_the_broker_cannot_be_told(parts: Parts) -> None:
    """The token is not lost: the device has its certificate, and gets in as soon as the broker knows."""

    def refresh() -> None:
        raise BrokerStartError("It is not there.")

    access = BatchedAccess(refresh)
    access.start()
    parts.register.access = access
    issued = enrol(parts)
    assert admitted(parts.db)[0].device == ROBOT
    assert parts.register.renew(der(issued), request()).expires > time.time()
    access.stop()
