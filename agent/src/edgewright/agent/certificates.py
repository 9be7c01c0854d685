"""X.509 on the device: the only file of the agent that imports it, for short-lived processes only.

Nothing is believed because it came over TLS: an answer's certificate has to be this device's key, made out to
this device, and signed by the authority that was pinned at enrolment.
"""

import base64
import binascii
from collections.abc import Sequence
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import NameOID

from edgewright.agent.devicekey import DeviceKey
from edgewright.wire.errors import IdentityError

_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion)


class Granted(NamedTuple):
    """A certificate that was verified to be this device's.

    Attributes:
        chain: it and its issuer, PEM.
        issued: seconds since the epoch.
        expires: seconds since the epoch.
    """

    chain: bytes
    issued: float
    expires: float


def make_request(key: DeviceKey, device: str) -> bytes:
    """A request for a certificate: PKCS#10, DER in base64 (RFC 2986, RFC 7030 section 4.2.1)."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, device)])
    made = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key.private, hashes.SHA256())
    return base64.b64encode(made.public_bytes(serialization.Encoding.DER))


def read_certificates(answer: bytes) -> list[x509.Certificate]:
    """The certificates in a certs-only PKCS#7, base64 (RFC 7030, sections 4.1.3 and 4.2.3).

    Raises:
        IdentityError: it is none.
    """
    try:
        return pkcs7.load_der_pkcs7_certificates(base64.b64decode(b"".join(answer.split()), validate=True))
    except (binascii.Error, *_UNREADABLE) as error:
        raise IdentityError("The answer holds no certificates.") from error


def read_pem(text: bytes) -> list[x509.Certificate]:
    """The certificates in a PEM text.

    Raises:
        IdentityError: it holds none.
    """
    try:
        return x509.load_pem_x509_certificates(text)
    except _UNREADABLE as error:
        raise IdentityError("The text holds no certificates.") from error


def pinned(certificates: Sequence[x509.Certificate], fingerprint: str) -> bytes:
    """The certificate that has a fingerprint (SHA-256 of its DER, hexadecimal), PEM.

    Raises:
        IdentityError: none of them has it.
    """
    for certificate in certificates:
        if certificate.fingerprint(hashes.SHA256()).hex() == fingerprint.lower():
            return certificate.public_bytes(serialization.Encoding.PEM)
    raise IdentityError("The fleet's authority does not have the fingerprint that the token carries.")


def verify_granted(
    certificates: Sequence[x509.Certificate], authority: bytes, key: DeviceKey, device: str
) -> Granted:
    """Check an answer.

    Args:
        certificates: the device's certificate first, then issuing authorities.
        authority: the pinned root, PEM.
        key: the key that the request was for.
        device: the id that it has to be made out to.

    Raises:
        IdentityError: it is not this device's, or not signed by the authority.
    """
    if not certificates:
        raise IdentityError("The answer holds no certificate.")
    own, *others = certificates
    der = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    try:
        names = [name.value for name in own.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        shown = own.public_key().public_bytes(*der)
    except _UNREADABLE as error:
        raise IdentityError("The certificate in the answer cannot be read.") from error
    if shown != key.public_der() or names != [device]:
        raise IdentityError("The certificate in the answer is made out to somebody else.")
    (root,) = read_pem(authority)
    for issuer in others:
        if _issued_by(own, issuer) and _issued_by(issuer, root):
            chain = b"".join(part.public_bytes(serialization.Encoding.PEM) for part in (own, issuer))
            issued, expires = own.not_valid_before_utc, own.not_valid_after_utc
            return Granted(chain, issued.timestamp(), expires.timestamp())
    raise IdentityError("The certificate in the answer is not signed by the fleet's authority.")


def _issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, *_UNREADABLE):
        return False
    return True
