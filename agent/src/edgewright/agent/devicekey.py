"""The device's key: P-256, made on the device and never leaving it; the agent's only file for raw signatures.

It signs what the device says (``wire.sealed``) and stands behind its certificate. It lies in a PEM file of
mode 0600. Only what is needed is imported: the supervisor holds this module, and X.509 belongs to short-lived
processes.
"""

from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edgewright.wire.errors import IdentityError

_SIGNATURE = ec.ECDSA(hashes.SHA256())


class DeviceKey:
    """One P-256 key; see ``load`` and ``generate``."""

    def __init__(self, private: ec.EllipticCurvePrivateKey) -> None:
        self.private = private

    @classmethod
    def generate(cls) -> "DeviceKey":
        """A new key."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def load(cls, path: Path) -> "DeviceKey":
        """Read a PEM file.

        Raises:
            IdentityError: it is missing, unreadable, or holds no P-256 key.
        """
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except OSError as error:
            raise IdentityError(f"The device key {path} cannot be read: {error.strerror}.") from error
        except (ValueError, TypeError) as error:
            raise IdentityError(f"The device key {path} is no key.") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise IdentityError(f"The device key {path} is no P-256 key.")
        return cls(key)

    def pem(self) -> bytes:
        """The private key as PKCS#8; for its file only."""
        return self.private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def public_der(self) -> bytes:
        """The public key as SubjectPublicKeyInfo (RFC 5280, section 4.1)."""
        return self.private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def sign(self, data: bytes) -> bytes:
        """ECDSA over SHA-256 (FIPS 186-5), DER."""
        return self.private.sign(data, _SIGNATURE)


def verifies_ed25519(public: bytes, data: bytes, signature: bytes) -> bool:
    """Whether ``signature`` is one of ``data`` by the raw Ed25519 key ``public`` (RFC 8032)."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True
