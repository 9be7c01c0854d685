"""Who holds which certificate: granting, renewing and revoking, written down before the broker is told.

The rules:

* A device has the certificate in force and, until its next renewal, the one before: the answer to a renewal
  may get lost, and then the device still has to reach the broker with what it holds. All others of it are
  revoked as superseded.
* A broker that cannot be told of a new certificate is told a little later, and the device tries to connect
  until then. One that cannot be told of a revocation is an error that a person sees, and can try again.
* Enrolment supersedes everything that the device held: it may have been stolen.
* A device has a bounded number of certificates in a month: each one that is superseded stays in the lists for
  a quarter, so a device that renewed without end would make them grow without end.
* What a person revokes stays in the lists until it has expired. A revoked device cannot renew; it comes back
  by a new enrolment only.
"""

import hashlib
import logging
import time
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from edgewright.controller.broker.access import Access, Admitted
from edgewright.controller.database import Session, col, select
from edgewright.controller.database.engine import Database
from edgewright.controller.database.tables import Certificate, Device
from edgewright.controller.errors import (
    CertificateRequestError,
    DeviceRevokedError,
    EnrolmentRefusedError,
    NotAuthorisedError,
    SurroundingsError,
    UnknownDeviceError,
)
from edgewright.controller.events import record
from edgewright.controller.identity.authority import CertificateAuthority, Issued
from edgewright.controller.identity.certificates import Revoked, spki_of
from edgewright.controller.identity.requests import key_in

GRACE_S: Final = 30 * 24 * 3600.0
"""How long after its expiry a certificate can still be renewed: a robot may have been stored for a winter."""

CERTIFICATES: Final = 8
WITHIN_S: Final = 30 * 24 * 3600.0
"""So many of one device in so long a time. An honest one needs one in two months, and one more for each
answer that gets lost; beyond that its old certificate has a month left, and a token helps at once."""

SUPERSEDED: Final = "superseded"

logger = logging.getLogger(__name__)


def admitted(db: Database) -> list[Admitted]:
    """Every key that may connect now."""
    with db.reading() as session:
        rows = session.exec(
            select(Certificate)
            .where(Certificate.revoked_at == 0, Certificate.expires > time.time())
            .order_by(col(Certificate.device), col(Certificate.issued_at))
        ).all()
    return list({row.public_key_sha256: Admitted(row.device, row.public_key_sha256) for row in rows}.values())


def revoked(db: Database) -> list[Revoked]:
    """Every certificate that was revoked and has not expired."""
    with db.reading() as session:
        rows = session.exec(
            select(Certificate).where(Certificate.revoked_at > 0, Certificate.expires > time.time())
        ).all()
    return [Revoked(int(row.serial, 16), row.revoked_at) for row in rows]


class DeviceRegister:
    """Grants, renews and revokes."""

    def __init__(self, db: Database, authority: CertificateAuthority, access: Access) -> None:
        self._db = db
        self.authority = authority
        self.access = access

    def grant(self, session: Session, device: Device, key: ec.EllipticCurvePublicKey) -> Issued:
        """A device's first certificate, or its first after a new enrolment, in the caller's transaction.

        The caller commits, and then calls ``admit``.

        Raises:
            CertificateRequestError: another device has this key.
        """
        # First: one that enrols again after a power cut shows the key of a certificate that it never got.
        self._supersede(session, device.id, set())
        issued = self._issue(session, device.id, key)
        device.public_key, device.previous_public_key = issued.public_key, b""
        device.certificate_expires, device.revoked_at = issued.expires, 0.0
        session.add(device)
        return issued

    def renew(self, shown: bytes, request: bytes) -> Issued:
        """A new certificate for a new key; returns once the broker admits it.

        Args:
            shown: the certificate that the caller proved to hold, DER; its chain was verified.
            request: PKCS#10, DER.

        Raises:
            CertificateRequestError: the request cannot be granted, or is one too many.
            NotAuthorisedError: no certificate was shown, or none of a device.
            DeviceRevokedError: it, or the device, was revoked.
            EnrolmentRefusedError: it expired too long ago.
        """
        key = key_in(request)
        serial = _serial(shown)
        with self._db.session() as session:
            held = session.get(Certificate, serial)
            device = session.get(Device, held.device) if held else None
            if held is None or device is None:
                raise NotAuthorisedError("The certificate that was shown is no device's.")
            _check_renewable(held, device)
            self._check_budget(session, device.id)
            issued = self._issue(session, device.id, key)
            self._supersede(session, device.id, {issued.serial, held.serial})
            device.previous_public_key = spki_of(_key_of(shown))
            device.public_key, device.certificate_expires = issued.public_key, issued.expires
            session.add(device)
            record(session, "device.renewed", f"{device.id} renewed its certificate.", device=device.id)
        self.admit()
        return issued

    def verify_holder(self, shown: bytes) -> str:
        """The device that shows a certificate which counts now.

        Args:
            shown: the certificate that the caller proved to hold, DER; its chain was verified.

        Raises:
            NotAuthorisedError: no certificate was shown, none of a device, or one that has expired.
            DeviceRevokedError: it, or the device, was revoked.
        """
        serial = _serial(shown)
        with self._db.reading() as session:
            held = session.get(Certificate, serial)
            device = session.get(Device, held.device) if held else None
        if held is None or device is None:
            raise NotAuthorisedError("The certificate that was shown is no device's.")
        if device.revoked_at or held.revoked_at:
            raise DeviceRevokedError(f"The certificate of {device.id} was revoked.")
        if held.expires < time.time():
            raise NotAuthorisedError(f"The certificate of {device.id} has expired; it has to renew it first.")
        return device.id

    def admit(self) -> None:
        """Let the broker know of new certificates, now or as soon as it can be told."""
        try:
            self.access.refresh()
        except SurroundingsError as error:
            logger.warning("%s", error)

    def revoke(self, device: str, reason: str) -> None:
        """Refuse a device from now on; its live connection has ended when this returns.

        A device that is revoked already is only made known to the broker once more.

        Raises:
            UnknownDeviceError: there is none of this name.
            SurroundingsError: it is revoked, and the broker could not be told or its connection not be ended.
        """
        with self._db.session() as session:
            row = session.get(Device, device)
            if row is None:
                raise UnknownDeviceError(f"There is no device {device!r}.")
            if not row.revoked_at:
                self._write_revoked(session, row, reason)
        try:
            self.access.refresh()
        finally:
            self.access.end(device)

    def _write_revoked(self, session: Session, device: Device, reason: str) -> None:
        now = time.time()
        # Its goodbye would be dropped as a revoked device's.
        device.revoked_at, device.connected = now, False
        session.add(device)
        for held in self._held(session, device.id):
            held.revoked_at, held.reason = now, reason
            session.add(held)
        said = f"{device.id} was revoked: {reason}." if reason else f"{device.id} was revoked."
        record(session, "device.revoked", said, device=device.id)

    def _check_budget(self, session: Session, device: str) -> None:
        recent = select(Certificate).where(
            Certificate.device == device, Certificate.issued_at > time.time() - WITHIN_S
        )
        if len(session.exec(recent.limit(CERTIFICATES)).all()) >= CERTIFICATES:
            raise CertificateRequestError(f"{device} has had {CERTIFICATES} certificates within 30 days.")

    def _issue(self, session: Session, device: str, key: ec.EllipticCurvePublicKey) -> Issued:
        sha256 = hashlib.sha256(spki_of(key)).hexdigest()
        known = session.exec(select(Certificate).where(Certificate.public_key_sha256 == sha256)).first()
        if known is not None and (known.device != device or known.revoked_at == 0):
            raise CertificateRequestError("This key has a certificate already; make a new key.")
        issued = self.authority.issue_device(device, key)
        session.add(
            Certificate(
                serial=issued.serial,
                device=device,
                public_key_sha256=sha256,
                issued_at=issued.issued,
                expires=issued.expires,
            )
        )
        return issued

    def _supersede(self, session: Session, device: str, kept: set[str]) -> None:
        for held in self._held(session, device):
            if held.serial not in kept:
                held.revoked_at, held.reason = time.time(), SUPERSEDED
                session.add(held)

    def _held(self, session: Session, device: str) -> list[Certificate]:
        statement = select(Certificate).where(Certificate.device == device, Certificate.revoked_at == 0)
        return list(session.exec(statement).all())


def _check_renewable(held: Certificate, device: Device) -> None:
    if device.revoked_at or held.revoked_at:
        raise DeviceRevokedError(f"The certificate of {device.id} was revoked.")
    if held.expires + GRACE_S < time.time():
        raise EnrolmentRefusedError(f"The certificate of {device.id} expired too long ago to be renewed.")


def _serial(shown: bytes) -> str:
    if not shown:
        raise NotAuthorisedError("No device certificate was shown.")
    return f"{x509.load_der_x509_certificate(shown).serial_number:x}"


def _key_of(shown: bytes) -> ec.EllipticCurvePublicKey:
    key = x509.load_der_x509_certificate(shown).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key
