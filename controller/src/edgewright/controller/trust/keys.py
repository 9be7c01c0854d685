"""Signing keys: Ed25519, one PEM file a key, mode 0600, one folder a role.

::

    keys/image/root, targets, release, snapshot, timestamp     the image repository
    keys/director/root, targets                                the assignments

The two halves share no key, so that a stolen one of either is refused by the other. ``release`` signs the
delegated roles of all models: own keys for each model would make the targets metadata fifty times larger
(they do not compress), and can be given to a model that needs them.

Keys that this store makes by itself are **laboratory keys**: one a role, threshold 1, all on the machine that
serves the fleet. That is right for a demonstration and for a bench, and wrong for a factory, where root and
release keys lie offline with two of three people. So the store says it loudly: a file beside the keys, a
warning at each start, and ``laboratory`` for whoever shows the controller's state.
"""

import logging
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner

from edgewright.controller.errors import DataFolderDamagedError
from edgewright.controller.trust.durable import Write, write_durably

__all__ = ["DIRECTOR_ROLES", "IMAGE_ROLES", "CryptoSigner", "KeyStore"]

IMAGE_ROLES: Final = ("image/root", "image/targets", "image/release", "image/snapshot", "image/timestamp")
DIRECTOR_ROLES: Final = ("director/root", "director/targets")

_MARKER: Final = "LABORATORY.txt"
_NOTICE: Final = """\
The keys in this folder were made by the controller at its first start: one key a role, threshold 1, all on
one machine. Whoever can read this folder can sign models for the whole fleet.
Use them on a bench, not in a factory.
"""

logger = logging.getLogger(__name__)


class KeyStore:
    """The private keys below one folder."""

    def __init__(self, folder: Path, write: Write = write_durably) -> None:
        self._folder = folder
        self._write = write
        self._loaded: dict[str, list[CryptoSigner]] = {}

    @property
    def laboratory(self) -> bool:
        """Whether the controller made these keys by itself: not fit for a factory."""
        return (self._folder / _MARKER).exists()

    def ensure(self, roles: tuple[str, ...]) -> None:
        """Make one key for each role that has none, and warn as long as laboratory keys are in use.

        Raises:
            DataFolderDamagedError: the folder cannot be written.
        """
        try:
            for role in roles:
                if not self._files(role):
                    # The notice first: no moment at which such keys lie here without it.
                    self._write(self._folder / _MARKER, _NOTICE.encode())
                    signer = CryptoSigner.generate_ed25519()
                    name = f"{signer.public_key.keyid[:16]}.pem"
                    self._write(self._folder / role / name, signer.private_bytes)
        except OSError as error:
            raise DataFolderDamagedError(f"The keys cannot be written: {error.strerror}.") from error

    def warn(self) -> None:
        """Say that laboratory keys are in use, if they are; a controller calls it once at each start."""
        if self.laboratory:
            logger.warning(
                "LABORATORY KEYS: this controller made its own signing keys, one a role, all on this "
                "machine. Whoever can read %s can sign for the whole fleet. Do not use them in a factory.",
                self._folder,
            )

    def signers(self, role: str) -> list[CryptoSigner]:
        """All keys of a role.

        Raises:
            DataFolderDamagedError: there is none, or one cannot be read.
        """
        if role not in self._loaded:
            files = self._files(role)
            if not files:
                raise DataFolderDamagedError(f"The signing key of {role} is gone from {self._folder}.")
            self._loaded[role] = [_load(path) for path in files]
        return self._loaded[role]

    def _files(self, role: str) -> list[Path]:
        return sorted((self._folder / role).glob("*.pem"))


def _load(path: Path) -> CryptoSigner:
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise DataFolderDamagedError(f"The signing key {path} cannot be read.") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise DataFolderDamagedError(f"The signing key {path} is no Ed25519 key.")
    return CryptoSigner(key)
