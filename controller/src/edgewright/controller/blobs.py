"""Content-addressed files: models, artifacts, golden vectors, samples.

A blob is named by its SHA-256, written to a temporary name, synchronised and renamed, so that a name that
exists is whole. Blobs never change. One that is secret can be sealed: it keeps its name, lies encrypted in a
file ``<sha256>.sealed``, and is read by whoever has the vault.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

from edgewright.controller.errors import DataFolderDamagedError, DigestMismatchError
from edgewright.wire.canonical import sha256_hex

_PART = ".part-"


class Vault(Protocol):
    """Encrypts blobs at rest."""

    def seal(self, plain: bytes, name: str) -> Iterable[bytes]:
        """The encrypted file of a blob, in parts."""
        ...

    def open(self, path: Path, name: str) -> bytes:
        """The blob in an encrypted file."""
        ...


class BlobStore:
    """Blobs below one folder, two levels deep.

    Args:
        root: the folder.
        vault: opens sealed blobs; a process that does not need them has none.
    """

    def __init__(self, root: Path, vault: Vault | None = None) -> None:
        self._root, self._vault = root, vault

    @property
    def root(self) -> Path:
        """The folder."""
        return self._root

    def clear_left_overs(self) -> None:
        """Remove what a process that was killed had begun to write; nobody may be writing."""
        for part in self._root.glob(f"{_PART}*"):
            part.unlink(missing_ok=True)

    def path(self, sha256: str) -> Path:
        """Where the blob lies or would lie."""
        return self._root / sha256[:2] / sha256

    def has(self, sha256: str) -> bool:
        """Whether the blob is here."""
        return self.path(sha256).is_file() or self._sealed(sha256).is_file()

    def seal(self, sha256: str) -> None:
        """Encrypt a blob at rest; one that is sealed already stays so.

        Raises:
            DataFolderDamagedError: it is not here, has changed, or this process has no vault.
        """
        plain = self.path(sha256)
        if self._vault is None:
            raise DataFolderDamagedError(f"The blob {sha256[:12]} cannot be sealed without a vault.")
        if plain.is_file():
            self._write(self._vault.seal(self.read(sha256), sha256), self._sealed(sha256))
            plain.unlink()

    def forget(self, sha256: str) -> None:
        """Delete a blob that nothing needs any more."""
        for path in (self.path(sha256), self._sealed(sha256)):
            path.unlink(missing_ok=True)

    def read(self, sha256: str) -> bytes:
        """The blob's bytes, verified.

        Raises:
            DataFolderDamagedError: it is not here, or its bytes changed.
        """
        try:
            if self._vault is not None and not self.path(sha256).exists() and self._sealed(sha256).exists():
                data = self._vault.open(self._sealed(sha256), sha256)
            else:
                data = self.path(sha256).read_bytes()
        except OSError as error:
            raise DataFolderDamagedError(
                f"The blob {sha256[:12]} cannot be read: {error.strerror}."
            ) from error
        if sha256_hex(data) != sha256:
            raise DataFolderDamagedError(f"The blob {sha256[:12]} has changed on disk.")
        return data

    def put(self, data: bytes) -> str:
        """Store bytes; returns their SHA-256."""
        return self.put_stream([data])

    def put_stream(self, parts: Iterable[bytes], expected: str | None = None) -> str:
        """Store bytes that come in parts; returns their SHA-256.

        Raises:
            DigestMismatchError: ``expected`` was given and is not their digest; nothing is stored.
        """
        digest = hashlib.sha256()

        def verified() -> Iterator[bytes]:
            for part in parts:
                digest.update(part)
                yield part
            found = digest.hexdigest()
            if expected not in (None, found):
                raise DigestMismatchError(f"The upload has the digest {found[:12]}, not {expected[:12]}.")

        self._write(verified(), lambda: self.path(digest.hexdigest()))
        return digest.hexdigest()

    def _sealed(self, sha256: str) -> Path:
        return self.path(sha256).with_suffix(".sealed")

    def _write(self, parts: Iterable[bytes], place: Path | Callable[[], Path]) -> None:
        """Write a file whole or not at all; its place may be known only when its parts have passed."""
        self._root.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self._root, prefix=_PART)
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                for part in parts:
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
            final = place if isinstance(place, Path) else place()
            final.parent.mkdir(parents=True, exist_ok=True)
            temporary.replace(final)
        finally:
            temporary.unlink(missing_ok=True)
