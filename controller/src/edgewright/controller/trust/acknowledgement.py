"""The key that signs acknowledgements: Ed25519, in ``<data>/keys/ack``, with the controller.

A device deletes what was acknowledged, so an acknowledgement has to be signed; and it has to be signed within
the second, so this key is online. The director's root names it in its ``timestamp`` role: devices learn of a
new one as they learn of every other key. What a thief can do with it: make devices forget telemetry.
"""

from collections.abc import Collection
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from edgewright.controller.durable import write_durably
from edgewright.controller.errors import DataFolderDamagedError
from edgewright.wire.messages import Ack, encode
from edgewright.wire.sealed import seal


class AcknowledgementKey:
    """The keys in one folder, one of them in use; any thread may seal."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._private: Ed25519PrivateKey | None = None

    def ensure(self) -> str:
        """The public key, PEM, of a key that is here; one is made where there is none.

        Raises:
            DataFolderDamagedError: it cannot be made or read.
        """
        found = self._all()
        self._private = found[0] if found else self._make()
        return _pem(self._private)

    def another(self) -> str:
        """Make one more key; its public half, PEM. It seals once ``use`` names it."""
        return _pem(self._make())

    def use(self, acknowledgers: Collection[str], *, forget_others: bool = False) -> None:
        """Seal with the key that the director's root names.

        Args:
            acknowledgers: raw public keys, hexadecimal.
            forget_others: whether the files of all other keys are deleted.

        Raises:
            DataFolderDamagedError: none of them is here.
        """
        for key in self._all():
            if _hex(key) in acknowledgers:
                self._private = key
                break
        else:
            raise DataFolderDamagedError(f"The acknowledgement key is gone from {self._folder}.")
        for path in self._folder.glob("*.pem") if forget_others else ():
            if not any(public.startswith(path.stem) for public in acknowledgers):
                path.unlink()

    def seal(self, ack: Ack) -> bytes:
        """An acknowledgement as it travels."""
        key = self._private
        assert key is not None, "ensure comes first"
        return seal(encode(ack), "down", key.sign)

    def _make(self) -> Ed25519PrivateKey:
        key = Ed25519PrivateKey.generate()
        data = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        try:
            write_durably(self._folder / f"{_hex(key)[:16]}.pem", data)
        except OSError as error:
            raise DataFolderDamagedError(
                f"The acknowledgement key cannot be written: {error.strerror}."
            ) from error
        return key

    def _all(self) -> list[Ed25519PrivateKey]:
        return [_load(path) for path in sorted(self._folder.glob("*.pem"))]


def _load(path: Path) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise DataFolderDamagedError(f"The acknowledgement key {path} cannot be read.") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise DataFolderDamagedError(f"The acknowledgement key {path} is no Ed25519 key.")
    return key


def _hex(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def _pem(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
