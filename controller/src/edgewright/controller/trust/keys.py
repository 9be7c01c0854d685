"""Signing keys that this machine can use, in one folder; where they are is behind one seam.

::

    keys/image/root, targets, release, snapshot, timestamp     the image repository
    keys/director/root, targets                                the assignments

``release`` signs the delegated roles of all models that have no keys of their own: own keys for each model
would make the targets metadata fifty times larger (they do not compress). A folder holds any number of keys,
each of them one file named after its id: ``<id>.pem`` is a private key, mode 0600; ``<id>.token`` says where
in which PKCS#11 token a key is. Which keys count, and how many of them, does not stand here: that is signed
in the metadata. A key that the metadata names and that is not here is somebody else's, and its signature is
asked for (``requests``).

Keys that this store makes by itself are **laboratory keys**: one a role, threshold 1, all on the machine that
serves the fleet. That is right for a demonstration and for a bench, and wrong for a factory, where root and
release keys lie offline with two of three people. So the store says it loudly: a file beside the keys, a
warning at each start, and ``laboratory`` for whoever shows the controller's state.
"""

import logging
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

import msgspec
from securesystemslib.signer import CryptoSigner, Key, Signer

from edgewright.controller.durable import Write, write_durably
from edgewright.controller.errors import DataFolderDamagedError, KeyStoreError
from edgewright.controller.trust.pem import load_private
from edgewright.controller.trust.pkcs11 import TokenReference, has_pin, open_token

__all__ = ["DIRECTOR_ROLES", "IMAGE_ROLES", "CryptoSigner", "KeyStore", "Signer"]

IMAGE_ROLES: Final = ("image/root", "image/targets", "image/release", "image/snapshot", "image/timestamp")
DIRECTOR_ROLES: Final = ("director/root", "director/targets")

_MARKER: Final = "LABORATORY.txt"
_NOTICE: Final = """\
The keys in this folder were made by the controller at its first start: one key a role, threshold 1, all on
one machine. Whoever can read this folder can sign models for the whole fleet.
Use them on a bench, not in a factory: docs/how-to/key-ceremony.md says how to replace them.
"""

logger = logging.getLogger(__name__)


class KeyStore:
    """The keys below one folder."""

    def __init__(self, folder: Path, write: Write = write_durably) -> None:
        self._folder = folder
        self._write = write
        self._loaded: dict[Path, Signer] = {}

    @property
    def laboratory(self) -> bool:
        """Whether the controller made these keys by itself: not fit for a factory."""
        return (self._folder / _MARKER).exists()

    def ensure(self, roles: tuple[str, ...]) -> None:
        """Make one key for each role that has none, and say that they are laboratory keys.

        Raises:
            DataFolderDamagedError: the folder cannot be written.
        """
        for role in roles:
            if not self._files(role):
                # The notice first: no moment at which such keys lie here without it.
                self._put(_MARKER, _NOTICE.encode())
                self.generate(role)

    def warn(self) -> None:
        """Say that laboratory keys are in use, if they are; a controller calls it once at each start."""
        if self.laboratory:
            logger.warning(
                "LABORATORY KEYS: this controller made its own signing keys, one a role, all on this "
                "machine. Whoever can read %s can sign for the whole fleet. Do not use them in a factory.",
                self._folder,
            )

    def graduate(self) -> None:
        """Take the laboratory's notice away: these keys alone can no longer replace a root."""
        (self._folder / _MARKER).unlink(missing_ok=True)

    def generate(self, role: str) -> Key:
        """Make an Ed25519 key for a role and keep it.

        Raises:
            DataFolderDamagedError: the folder cannot be written.
        """
        return self.keep(role, CryptoSigner.generate_ed25519())

    def keep(self, role: str, signer: CryptoSigner) -> Key:
        """Keep a private key.

        Raises:
            DataFolderDamagedError: the folder cannot be written.
        """
        self._put(f"{role}/{_stem(signer.public_key)}.pem", signer.private_bytes)
        return signer.public_key

    def keep_token(self, role: str, reference: TokenReference) -> Key:
        """Remember a key that lies in a token.

        Raises:
            KeyStoreError: the reference holds no usable public key.
            DataFolderDamagedError: the folder cannot be written.
        """
        key = open_token(reference).public_key
        self._put(f"{role}/{_stem(key)}.token", msgspec.json.encode(reference))
        return key

    def signers(self, role: str) -> list[Signer]:
        """All keys of a role.

        Raises:
            DataFolderDamagedError: there is none, or one cannot be read.
        """
        files = self._files(role)
        if not files:
            raise DataFolderDamagedError(f"The signing key of {role} is gone from {self._folder}.")
        return [self._load(path) for path in files]

    def present(self, part: str, keyids: Collection[str]) -> list[Signer]:
        """Those of the named keys that can sign here and now, in the order of their ids.

        A key in a token counts only where a PIN was given.

        Args:
            part: ``image`` or ``director``: a half never signs with the keys of the other.
            keyids: ids of keys.

        Raises:
            DataFolderDamagedError: a key's file cannot be read.
        """
        found = {signer.public_key.keyid: signer for path, signer in self._known(part) if _usable(path)}
        return [found[keyid] for keyid in sorted(keyids) if keyid in found]

    def store_of(self, part: str, keyid: str) -> str:
        """Where a key is, in a word or two: ``file``, ``token <label>`` or ``elsewhere``."""
        for path, signer in self._known(part):
            if signer.public_key.keyid == keyid:
                return "file" if path.suffix == ".pem" else f"token {_read_reference(path).label}".strip()
        return "elsewhere"

    def _known(self, part: str) -> Iterator[tuple[Path, Signer]]:
        for pattern in ("*.pem", "*.token"):
            for path in sorted((self._folder / part).rglob(pattern)):
                yield path, self._load(path)

    def _files(self, role: str) -> list[Path]:
        folder = self._folder / role
        return sorted([*folder.glob("*.pem"), *folder.glob("*.token")])

    def _load(self, path: Path) -> Signer:
        if path not in self._loaded:
            try:
                token = path.suffix == ".token"
                self._loaded[path] = open_token(_read_reference(path)) if token else load_private(path)
            except KeyStoreError as error:
                raise DataFolderDamagedError(error.sentence) from error
        return self._loaded[path]

    def _put(self, name: str, data: bytes) -> None:
        try:
            self._write(self._folder / name, data)
        except OSError as error:
            raise DataFolderDamagedError(f"The keys cannot be written: {error.strerror}.") from error


def _read_reference(path: Path) -> TokenReference:
    try:
        return msgspec.json.decode(path.read_bytes(), type=TokenReference)
    except (OSError, msgspec.DecodeError) as error:
        raise KeyStoreError(f"The reference {path} cannot be read.") from error


def _usable(path: Path) -> bool:
    return path.suffix == ".pem" or has_pin()


def _stem(key: Key) -> str:
    return key.keyid[:16]
