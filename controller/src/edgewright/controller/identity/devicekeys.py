"""Whether a device said something: P-256 signatures (FIPS 186-5) by public keys in DER, each key loaded once.

Loading a key costs as much as verifying with it, and a fleet speaks with the same keys all day.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

CACHED_KEYS: Final = 20_000
"""About 1 KB each."""

_SIGNATURE: Final = ec.ECDSA(hashes.SHA256())


def verifies(keys: Iterable[bytes], data: bytes, signature: bytes) -> bool:
    """Whether ``signature`` is one of ``data`` by one of the keys; an empty key verifies nothing.

    Args:
        keys: SubjectPublicKeyInfo, DER.
        data: what was signed.
        signature: ECDSA over SHA-256, DER.
    """
    return any(_is_signed(der, data, signature) for der in keys if der)


def _is_signed(der: bytes, data: bytes, signature: bytes) -> bool:
    key = _load(der)
    if key is None:
        return False
    try:
        key.verify(signature, data, _SIGNATURE)
    except InvalidSignature:
        return False
    return True


@lru_cache(CACHED_KEYS)
def _load(der: bytes) -> ec.EllipticCurvePublicKey | None:
    try:
        key = load_der_public_key(der)
    except (ValueError, TypeError):
        return None
    return key if isinstance(key, ec.EllipticCurvePublicKey) else None
