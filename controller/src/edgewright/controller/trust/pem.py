"""Signing keys in PEM files: Ed25519, or P-256 where somebody has one already.

A private key is a PKCS#8 file of mode 0600, a public one a SubjectPublicKeyInfo file. A private file may have
a passphrase, which comes from EDGEWRIGHT_PIN like the PIN of a token: never from a command line.
"""

import os
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from securesystemslib.exceptions import Error as SecuresystemslibError
from securesystemslib.signer import CryptoSigner, Key, SSlibKey

from edgewright.controller.errors import KeyStoreError

PIN_VARIABLE: Final = "EDGEWRIGHT_PIN"

SCHEMES: Final = ("ed25519", "ecdsa-sha2-nistp256")
"""What this project signs with; agents verify both."""


def load_private(path: Path) -> CryptoSigner:
    """The key in a private PEM file.

    Raises:
        KeyStoreError: it cannot be read, needs a passphrase, or is of another kind.
    """
    try:
        key = _decoded(path.read_bytes())
    except OSError as error:
        raise KeyStoreError(f"The signing key {path} cannot be read: {error.strerror}.") from error
    except (ValueError, TypeError) as error:
        raise KeyStoreError(f"The signing key {path} cannot be read: {error}.") from error
    if isinstance(key, Ed25519PrivateKey):
        return CryptoSigner(key)
    if isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP256R1):
        return CryptoSigner(key)
    raise KeyStoreError(f"The signing key {path} is neither Ed25519 nor P-256.")


def _decoded(data: bytes) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(data, password=None)
    except TypeError:
        # It has a passphrase.
        pin = os.environ.get(PIN_VARIABLE, "")
        return load_pem_private_key(data, password=pin.encode())


def read_public(text: bytes) -> Key:
    """The key in a public PEM file; its id is made of its content.

    Raises:
        KeyStoreError: it is no such file, or a key of another kind.
    """
    try:
        key = SSlibKey.from_crypto(load_pem_public_key(text))
    except (ValueError, TypeError, SecuresystemslibError) as error:
        raise KeyStoreError("What was given is no public key in PEM.") from error
    if key.scheme not in SCHEMES:
        raise KeyStoreError(f"A key of {key.scheme} cannot sign here; make an Ed25519 or a P-256 key.")
    return key


def public_pem(key: Key) -> bytes:
    """The public PEM file of a key.

    Raises:
        KeyStoreError: the key is of another kind.
    """
    if key.scheme not in SCHEMES or "public" not in key.keyval:
        raise KeyStoreError(f"A key of {key.scheme} cannot sign here; make an Ed25519 or a P-256 key.")
    public = str(key.keyval["public"])
    if key.scheme != "ed25519":
        return public.encode()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    raw = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
    return raw.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
