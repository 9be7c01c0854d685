"""Confidential models on the device: the content key is unwrapped, blobs are opened in memory.

The key comes wrapped for this device in the assignment (``Orders.content_key``), lies in the journal as it
came, and is unwrapped when it is needed. It goes to the line and to a runner over a socket or a pipe that
they inherit, never as an argument and never through the environment. The plaintext of a blob is made in the
process that runs it and lies on no disk.

A device that renews its key still has the last one (``identity``), and tries it: what was wrapped for it
opens until the renewal after. By then the controller has issued the assignment again, for the new key.

Source: HPKE, RFC 9180, base mode, DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM.
"""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from edgewright.agent.devicekey import DeviceKey
from edgewright.wire.assignment import Orders, TargetCustom
from edgewright.wire.encryption import (
    HEADER_BYTES,
    KEY_BYTES,
    Place,
    blob_key,
    frames,
    read_header,
    wrapping_info,
)
from edgewright.wire.errors import ConfidentialKeyError, IdentityError

SUITE: Final = Suite(KEM.P256, KDF.HKDF_SHA256, AEAD.AES_256_GCM)

_IDENTITIES: Final = "identity*/key.pem"


class ContentKeys:
    """Unwraps content keys for one device.

    Args:
        device: its id.
        keys: gives its private keys, any that may have been wrapped for.
    """

    def __init__(self, device: str, keys: Callable[[], Sequence[DeviceKey]]) -> None:
        self._device, self._keys = device, keys

    @classmethod
    def of(cls, device: str, data: Path) -> "ContentKeys":
        """The keys of the identities in a data folder: the one in force and the last."""
        return cls(device, lambda: load_keys(data))

    def unwrap(self, custom: TargetCustom, orders: Orders) -> bytes:
        """The content key of a release; empty for one that is not confidential.

        Raises:
            ConfidentialKeyError: there is none, or it was wrapped for another device, model or version.
        """
        if not custom.confidential:
            return b""
        named = f"{custom.model} v{custom.version}"
        try:
            wrapped = bytes.fromhex(orders.content_key)
        except ValueError as error:
            raise ConfidentialKeyError(f"The content key of {named} cannot be read.") from error
        if not wrapped:
            raise ConfidentialKeyError(f"{named} is confidential, and the assignment brings no content key.")
        info = wrapping_info(custom.model, custom.version, self._device)
        for key in self._keys():
            try:
                content_key = SUITE.decrypt(wrapped, key.private, info=info)
            except (InvalidTag, ValueError):
                continue
            if len(content_key) == KEY_BYTES:
                return content_key
        raise ConfidentialKeyError(f"The content key of {named} was not wrapped for this device.")


NO_KEYS: Final = ContentKeys("", list)
"""Of a device without an identity: it opens nothing."""


def load_keys(data: Path) -> list[DeviceKey]:
    """Private keys of a data folder, each once; one that cannot be read is left out."""
    keys: list[DeviceKey] = []
    for path in sorted({path.resolve() for path in data.glob(_IDENTITIES)}, reverse=True):
        try:
            keys.append(DeviceKey.load(path))
        except IdentityError:
            continue
    return keys


def open_blob(path: Path, content_key: bytes, place: Place) -> bytes:
    """The plaintext of a sealed file; takes one frame of memory beside it.

    Raises:
        ConfidentialKeyError: there is no key, or it is another version's.
        MalformedMessageError: the file is not encrypted.
        OSError: it cannot be read.
    """
    if len(content_key) != KEY_BYTES:
        raise ConfidentialKeyError(f"The content key of {place.model} v{place.version} is missing.")
    plain = io.BytesIO()
    with path.open("rb") as file:
        salt = read_header(file.read(HEADER_BYTES))
        cipher, context = AESGCM(blob_key(content_key, salt, place)), place.context
        for frame in frames(path.stat().st_size):
            try:
                plain.write(cipher.decrypt(frame.nonce, file.read(frame.length), context))
            except InvalidTag as error:
                raise ConfidentialKeyError(
                    f"The {place.role} of {place.model} v{place.version} does not open with its content key."
                ) from error
    return plain.getvalue()
