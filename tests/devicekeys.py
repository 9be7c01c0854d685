"""Verifying what a device key signed, as a controller does."""

from collections.abc import Callable

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from edgewright.agent.devicekey import DeviceKey


def verifier(key: DeviceKey) -> Callable[[bytes, bytes], bool]:
    """Whether the second argument is the key's signature of the first."""

    def verify(data: bytes, signature: bytes) -> bool:
        try:
            key.private.public_key().verify(signature, data, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True

    return verify
