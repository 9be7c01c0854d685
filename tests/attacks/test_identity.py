"""The attacker wants to be a device: with a stolen token, an old certificate, somebody else's key."""

import base64
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from edgewright.agent.certificates import make_request
from edgewright.agent.devicekey import DeviceKey
from edgewright.controller.database import select
from edgewright.controller.database.tables import Device
from edgewright.controller.errors import (
    CertificateRequestError,
    DeviceRevokedError,
    EnrolmentRefusedError,
    NotAuthorisedError,
    TooManyAttemptsError,
)
from edgewright.controller.identity.authority import CertificateAuthority, Issued
from edgewright.controller.identity.certificates import spki_of
from edgewright.controller.identity.register import CERTIFICATES
from tests.controller.parts import Parts, make_parts

ROBOT, TARGET = "robot-1", "x86_64-ort-cpu"


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    """A controller's services."""
    made = make_parts(tmp_path)
    yield made
    made.db.close()


def request_of(key: DeviceKey, name: str = ROBOT) -> bytes:
    """A request for a certificate, DER."""
    return base64.b64decode(make_request(key, name))


def enrol(parts: Parts, token: str, device: str = ROBOT, key: DeviceKey | None = None) -> Issued:
    """Enrol; the certificate."""
    return parts.enrolment.admit(device, TARGET, {}, token, request_of(key or DeviceKey.generate(), device))[
        0
    ]


def assert_enrolled_as(parts: Parts, issued: Issued) -> None:
    """There is one device, and its key is the one that was enrolled first."""
    with parts.db.reading() as session:
        (device,) = session.exec(select(Device)).all()
    assert (device.id, device.public_key) == (ROBOT, issued.public_key)


def test_enrolment_token_replayed(parts: Parts) -> None:
    """A token that was used is refused, for its device and for any other; nobody's key changes."""
    token = parts.enrolment.new_token(device=ROBOT)
    issued = enrol(parts, token)
    for device in (ROBOT, "robot-2"):
        with pytest.raises(EnrolmentRefusedError, match="used"):
            enrol(parts, token, device)
    assert_enrolled_as(parts, issued)


def test_a_used_token_is_good_for_its_own_key_alone(parts: Parts) -> None:
    """A device that lost power before it had its answer asks again with its key, until it is revoked."""
    token, key = parts.enrolment.new_token(), DeviceKey.generate()
    enrol(parts, token, key=key)
    issued = enrol(parts, token, key=key)
    assert_enrolled_as(parts, issued)
    with pytest.raises(EnrolmentRefusedError, match="used"):
        enrol(parts, token, "robot-2", key)
    parts.register.revoke(ROBOT, "stolen")
    with pytest.raises(EnrolmentRefusedError, match="used"):
        enrol(parts, token, key=key)


def test_enrolment_token_guessed(parts: Parts) -> None:
    """A guess waits for no writer and holds none up; after ten the address waits, and a right one is good."""
    with parts.db.session() as busy:
        busy.add(Device(id="other", target="t"))
        busy.flush()
        for _ in range(10):
            with pytest.raises(EnrolmentRefusedError, match="unknown"):
                parts.enrolment.admit(ROBOT, TARGET, {}, "ewe_guess", b"no request", "192.0.2.7")
        with pytest.raises(TooManyAttemptsError):
            parts.enrolment.admit(ROBOT, TARGET, {}, "ewe_guess", b"no request", "192.0.2.7")
    request, token = request_of(DeviceKey.generate()), parts.enrolment.new_token()
    assert parts.enrolment.admit(ROBOT, TARGET, {}, token, request, "192.0.2.7")[0].expires > time.time()


def test_stolen_enrolment_token(parts: Parts) -> None:
    """A token that is bound to a device or to tags, or whose time is over, enrols nobody else."""
    issued = enrol(parts, parts.enrolment.new_token(device=ROBOT))
    bound = parts.enrolment.new_token(device="robot-9")
    tagged = parts.enrolment.new_token(tags={"line": "7"})
    old = parts.enrolment.new_token(-1.0)
    for token, tags in ((bound, {}), (tagged, {"line": "8"}), (old, {})):
        with pytest.raises(EnrolmentRefusedError):
            parts.enrolment.admit("robot-2", TARGET, tags, token, request_of(DeviceKey.generate()))
    assert_enrolled_as(parts, issued)


def test_free_token_takes_no_devices_place(parts: Parts) -> None:
    """A token that is bound to nothing cannot take the place of a device that has enrolled."""
    issued = enrol(parts, parts.enrolment.new_token())
    with pytest.raises(EnrolmentRefusedError, match="enrolled before"):
        enrol(parts, parts.enrolment.new_token())
    assert_enrolled_as(parts, issued)


def test_request_names_another_subject(parts: Parts) -> None:
    """Who the certificate is for comes from the token: a name in the request is not looked at."""
    token = parts.enrolment.new_token(device=ROBOT)
    request = request_of(DeviceKey.generate(), "edgewright-controller")
    issued, _ = parts.enrolment.admit(ROBOT, TARGET, {}, token, request)
    assert issued.certificate.subject.rfc4514_string() == f"CN={ROBOT}"


def test_anothers_public_key(parts: Parts) -> None:
    """A request with a key whose private half one does not hold, or that another device has, is refused."""
    key = DeviceKey.generate()
    issued = enrol(parts, parts.enrolment.new_token(), key=key)
    with pytest.raises(CertificateRequestError, match="certificate already"):
        enrol(parts, parts.enrolment.new_token(), "robot-2", key)
    honest = request_of(DeviceKey.generate())
    forged = honest.replace(honest[-8:], bytes(8))
    with pytest.raises(CertificateRequestError):
        parts.enrolment.admit("robot-2", TARGET, {}, parts.enrolment.new_token(), forged)
    assert_enrolled_as(parts, issued)


def test_revoked_certificate_renewed(parts: Parts) -> None:
    """A device that was revoked cannot renew: it needs a new token."""
    issued = enrol(parts, parts.enrolment.new_token())
    shown = issued.certificate.public_bytes(Encoding.DER)
    assert parts.register.renew(shown, request_of(DeviceKey.generate())).expires > time.time()
    parts.register.revoke(ROBOT, "stolen")
    with pytest.raises(DeviceRevokedError):
        parts.register.renew(shown, request_of(DeviceKey.generate()))


def test_certificate_renewed_without_end(parts: Parts) -> None:
    """After eight certificates in a month a device waits, whichever it shows; a token is good at once."""
    held = [enrol(parts, parts.enrolment.new_token())]
    for _ in range(CERTIFICATES - 1):
        shown = held[-1].certificate.public_bytes(Encoding.DER)
        held.append(parts.register.renew(shown, request_of(DeviceKey.generate())))
    assert len(held) == 8
    for old in held[-2:]:
        shown = old.certificate.public_bytes(Encoding.DER)
        with pytest.raises(CertificateRequestError, match="within 30 days"):
            parts.register.renew(shown, request_of(DeviceKey.generate()))
    assert enrol(parts, parts.enrolment.new_token(device=ROBOT)).expires > time.time()


def test_certificate_of_another_authority_renewed(parts: Parts, tmp_path: Path) -> None:
    """A certificate that the attacker's own authority made out to the device renews nothing."""
    issued = enrol(parts, parts.enrolment.new_token())
    stranger = CertificateAuthority(tmp_path / "stranger")
    stranger.ensure()
    key = DeviceKey.generate()
    forged = stranger.issue_device(ROBOT, key.private.public_key())
    assert spki_of(key.private.public_key()) == forged.public_key
    with pytest.raises(NotAuthorisedError):
        parts.register.renew(forged.certificate.public_bytes(Encoding.DER), request_of(DeviceKey.generate()))
    assert_enrolled_as(parts, issued)
