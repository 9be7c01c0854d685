"""X.509 certificates of the fleet: how each kind is made. Pure: keys and times in, certificates out.

Profile (RFC 5280): a root on P-384, below it one issuing authority on P-256, below that leaves on P-256 or
on the key that a device made. A device's certificate has its id as common name, the name
``urn:edgewright:device:<id>`` for people and programs, and ``urn:edgewright:key:<SHA-256 of its public key>``
by which a broker that cannot read revocation lists admits exactly this key.
"""

import hashlib
import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CLIENT: Final = ExtendedKeyUsageOID.CLIENT_AUTH
SERVER: Final = ExtendedKeyUsageOID.SERVER_AUTH

BACKDATED: Final = timedelta(minutes=5)
"""A broker on another machine may have a clock that is a little behind."""

ROOT_LIFE: Final = timedelta(days=20 * 365)
ISSUING_LIFE: Final = timedelta(days=10 * 365)


class Pair(NamedTuple):
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        """Key and certificate in one text, so that they cannot part."""
        key = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return key + pem_of(self.certificate)


class Revoked(NamedTuple):
    """One line of a revocation list."""

    serial: int
    at: float


def pem_of(certificate: x509.Certificate) -> bytes:
    """A certificate as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def spki_of(public_key: ec.EllipticCurvePublicKey) -> bytes:
    """A public key as SubjectPublicKeyInfo, DER."""
    return public_key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def fingerprint_of(certificate: x509.Certificate) -> str:
    """SHA-256 of a certificate's DER, hexadecimal."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def key_urn(key_sha256: str) -> str:
    """The name of a key in its certificate."""
    return f"urn:edgewright:key:{key_sha256}"


def device_urn(device: str) -> str:
    """The name of a device in its certificate."""
    return f"urn:edgewright:device:{device}"


def make_root(now: datetime) -> Pair:
    """A new root; it signs itself."""
    key = ec.generate_private_key(ec.SECP384R1())
    name = _name("Edgewright root")
    builder = _builder(name, name, key.public_key(), now, now + ROOT_LIFE)
    return Pair(_authority(builder, key.public_key(), key.public_key(), 1).sign(key, hashes.SHA384()), key)


def make_issuing(root: Pair, now: datetime) -> Pair:
    """A new issuing authority below a root; no further authority can stand below it."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(
        _name("Edgewright issuing"), root.certificate.subject, key.public_key(), now, now + ISSUING_LIFE
    )
    signed = _authority(builder, key.public_key(), root.key.public_key(), 0)
    return Pair(signed.sign(root.key, hashes.SHA384()), key)


def make_leaf(
    issuing: Pair,
    public_key: ec.EllipticCurvePublicKey,
    common_name: str,
    alternatives: Sequence[x509.GeneralName],
    usage: x509.ObjectIdentifier,
    now: datetime,
    life: timedelta,
) -> x509.Certificate:
    """A certificate that can sign for one usage, and for nothing else."""
    expires = min(now + life, issuing.certificate.not_valid_after_utc)
    return (
        _builder(_name(common_name), issuing.certificate.subject, public_key, now, expires)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuing.key.public_key()), critical=False
        )
        .sign(issuing.key, hashes.SHA256())
    )


def key_names(public_key: ec.EllipticCurvePublicKey) -> list[x509.GeneralName]:
    """The name of a key, for its certificate."""
    sha256 = hashlib.sha256(spki_of(public_key)).hexdigest()
    return [x509.UniformResourceIdentifier(key_urn(sha256))]


def host_names(names: Sequence[str]) -> list[x509.GeneralName]:
    """Names and addresses of a server, for its certificate.

    >>> [type(name).__name__ for name in host_names(["localhost", "127.0.0.1"])]
    ['DNSName', 'IPAddress']
    """
    found: list[x509.GeneralName] = []
    for name in names:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))
    return found


def make_revocation_list(
    authority: Pair, revoked: Sequence[Revoked], number: int, now: datetime, life: timedelta
) -> bytes:
    """A revocation list of an authority, PEM (RFC 5280, section 5)."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(now - BACKDATED)
        .next_update(now + life)
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False
        )
    )
    for serial, at in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(serial)
        builder = builder.add_revoked_certificate(
            entry.revocation_date(datetime.fromtimestamp(at, UTC)).build()
        )
    return builder.sign(authority.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    now: datetime,
    expires: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(expires)
    )


def _authority(
    builder: x509.CertificateBuilder,
    own: ec.EllipticCurvePublicKey,
    issuer: ec.EllipticCurvePublicKey,
    below: int,
) -> x509.CertificateBuilder:
    return (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=below), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(own), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer), critical=False)
    )


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )
