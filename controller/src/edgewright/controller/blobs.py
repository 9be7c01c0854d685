"""Content-addressed files: models, artifacts, golden vectors, samples.

A blob is named by its SHA-256, written to a temporary name, synchronised and renamed, so that a name that
exists is whole. Blobs never change.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from edgewright.controller.errors import DataFolderDamagedError, DigestMismatchError
from edgewright.wire.canonical import sha256_hex

_PART = ".part-"


class BlobStore:
    """Blobs below one folder, two levels deep."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def clear_left_overs(self) -> None:
        """Remove what a process that was killed had begun to write; nobody may be writing."""
        for part in self._root.glob(f"{_PART}*"):
            part.unlink(missing_ok=True)

    def path(self, sha256: str) -> Path:
        """Where the blob lies or would lie."""
        return self._root / sha256[:2] / sha256

    def has(self, sha256: str) -> bool:
        """Whether the blob is here."""
        return self.path(sha256).is_file()

    def read(self, sha256: str) -> bytes:
        """The blob's bytes, verified.

        Raises:
            DataFolderDamagedError: it is not here, or its bytes changed.
        """
        try:
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
        self._root.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        handle, name = tempfile.mkstemp(dir=self._root, prefix=_PART)
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                for part in parts:
                    digest.update(part)
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
            sha256 = digest.hexdigest()
            if expected not in (None, sha256):
                raise DigestMismatchError(f"The upload has the digest {sha256[:12]}, not {expected[:12]}.")
            final = self.path(sha256)
            final.parent.mkdir(parents=True, exist_ok=True)
            temporary.replace(final)
        finally:
            temporary.unlink(missing_ok=True)
        return sha256
