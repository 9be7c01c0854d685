"""Content-addressed files on the device: manifests, artifacts, golden vectors, by SHA-256.

Rules:

- A file under its digest's name is complete: it was written beside it, hashed, synced and then renamed.
- A blob on its way is ONE partial file of its final size. Which chunks it holds is not written down: on
  resume each piece is hashed and compared with the signed digests, so nothing can claim more than is there.
  A chunk is written to flash once, and at most one chunk is lost to a power cut.
- A blob is hashed while its chunks come. Only what came far out of order is read back once before the end.
- Nothing is trusted because it is local: reading verifies, and a damaged file is removed.
"""

import contextlib
import errno
import hashlib
import os
import re
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Final

from edgewright.wire.canonical import sha256_hex
from edgewright.wire.errors import MalformedMessageError, StorageFullError, TamperedArtifactError
from edgewright.wire.manifest import CHUNK_BYTES, Blob

DEFAULT_QUOTA_BYTES: Final = 2 * 1024**3
_DIGEST = re.compile(r"[0-9a-f]{64}")
_PARTIAL: Final = ".partial"

EARLY_CHUNKS: Final = 8
"""Chunks that are kept in memory until those before them have come; a download's window, 1 MiB."""


class Store:
    """Files by digest.

    Args:
        folder: created if it is missing; one process writes it.
        quota_bytes: what all files together may take.
        sync_chunks: chunks written between two syncs of a partial file; the loss at a power cut.
    """

    def __init__(self, folder: Path, quota_bytes: int = DEFAULT_QUOTA_BYTES, sync_chunks: int = 1) -> None:
        self._folder = folder
        self._quota_bytes = quota_bytes
        self._sync_chunks = sync_chunks
        folder.mkdir(parents=True, exist_ok=True)

    def has(self, digest: str) -> bool:
        """Whether the complete file is there."""
        return self._path(digest).exists()

    def digests(self) -> set[str]:
        """Digests of all complete files."""
        return {path.name for path in self._folder.iterdir() if _DIGEST.fullmatch(path.name)}

    def used_bytes(self) -> int:
        """Size of all files, partial ones by what is written."""
        return sum(path.stat().st_blocks * 512 for path in self._folder.iterdir())

    def put(self, data: bytes) -> str:
        """Store bytes durably; the digest.

        Raises:
            StorageFullError: there is no room.
        """
        digest = sha256_hex(data)
        path = self._path(digest)
        if path.exists():
            return digest
        self._reserve(len(data))
        part = path.with_suffix(_PARTIAL)
        with _mapped_errors(), part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        self._publish(part, path)
        return digest

    def read(self, digest: str) -> bytes:
        """Verified bytes of a small file.

        Raises:
            FileNotFoundError: it is not here.
            TamperedArtifactError: it is damaged; it has been removed.
        """
        return self.verified(digest).read_bytes()

    def verified(self, digest: str) -> Path:
        """Path of a file whose bytes have just been hashed.

        Raises:
            FileNotFoundError: it is not here.
            TamperedArtifactError: it is damaged; it has been removed.
        """
        path = self._path(digest)
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != digest:
            path.unlink()
            raise TamperedArtifactError(f"The stored file {digest[:12]} is damaged; it was removed.")
        return path

    @contextlib.contextmanager
    def partial(self, blob: Blob) -> Iterator["Partial"]:
        """A blob on its way; what it holds survives the block, finished or not.

        Raises:
            StorageFullError: there is no room for it.
        """
        part = self._path(blob.sha256).with_suffix(_PARTIAL)
        taken = part.stat().st_blocks * 512 if part.exists() else 0
        self._reserve(max(0, blob.length - taken))
        with _mapped_errors(), part.open("r+b" if part.exists() else "w+b", buffering=0) as file:
            yield Partial(self, file.fileno(), part, blob, self._sync_chunks)

    def collect(self, keep: Set[str]) -> int:
        """Remove every file, complete or partial, whose digest is not in ``keep``; the number removed."""
        removed = 0
        for path in list(self._folder.iterdir()):
            if path.stem not in keep:
                path.unlink()
                removed += 1
        return removed

    def _publish(self, part: Path, path: Path) -> None:
        """Give a synced file its name, durably."""
        part.rename(path)
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _reserve(self, length: int) -> None:
        used = self.used_bytes()
        if used + length > self._quota_bytes:
            raise StorageFullError(
                f"The store holds {used} of {self._quota_bytes} bytes and has no room for {length} more."
            )

    def _path(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise MalformedMessageError(f"{digest[:80]!r} is no SHA-256.")
        return self._folder / digest


class Partial:
    """One blob's partial file; made by ``Store.partial``."""

    def __init__(self, store: Store, descriptor: int, part: Path, blob: Blob, sync_chunks: int) -> None:
        self._store, self._descriptor, self._part = store, descriptor, part
        self._blob = blob
        self._sync_chunks = sync_chunks
        self._unsynced = 0
        self._running = _RunningDigest()
        is_new = os.fstat(descriptor).st_blocks == 0
        os.ftruncate(descriptor, blob.length)
        self._missing = self._find_missing(is_new=is_new)

    @property
    def missing(self) -> list[str]:
        """Digests of the chunks that are not here yet, each once, in the order of the blob."""
        return list(self._missing)

    def write(self, digest: str, data: bytes) -> None:
        """Store one chunk wherever the blob has it.

        Raises:
            TamperedArtifactError: the bytes do not have the digest, or not the length of their place.
            StorageFullError: there is no room.
        """
        if sha256_hex(data) != digest:
            raise TamperedArtifactError(f"A chunk that should be {digest[:12]} has other bytes.")
        for index in self._missing.get(digest, ()):
            if len(data) != self._length(index):
                raise TamperedArtifactError(f"The chunk {digest[:12]} does not fit its place in the blob.")
            with _mapped_errors():
                os.pwrite(self._descriptor, data, index * CHUNK_BYTES)
            self._running.add(index, data)
        self._missing.pop(digest, None)
        self._unsynced += 1
        if self._unsynced >= self._sync_chunks:
            os.fdatasync(self._descriptor)
            self._unsynced = 0

    def finish(self) -> None:
        """Verify the whole and give it its name.

        Raises:
            TamperedArtifactError: the chunks are right and the whole is not; it has been removed.
        """
        assert not self._missing, "all chunks are here before the blob is finished"
        for index in range(self._running.chunks, len(self._blob.chunks)):
            if index == self._running.chunks:
                self._running.add(index, self._read(index))
        if self._running.hexdigest() != self._blob.sha256:
            self._part.unlink()
            raise TamperedArtifactError(f"The blob {self._blob.sha256[:12]} does not have its digest.")
        os.fsync(self._descriptor)
        self._store._publish(self._part, self._part.with_suffix(""))  # noqa: SLF001 - the store's own half

    def _find_missing(self, *, is_new: bool) -> dict[str, list[int]]:
        """Hash what is there; a new file has only holes, and is not read."""
        missing: dict[str, list[int]] = {}
        for index, digest in enumerate(self._blob.chunks):
            piece = b"" if is_new else self._read(index)
            if len(piece) == self._length(index) and sha256_hex(piece) == digest:
                self._running.add(index, piece)
            else:
                missing.setdefault(digest, []).append(index)
        return missing

    def _read(self, index: int) -> bytes:
        return os.pread(self._descriptor, self._length(index), index * CHUNK_BYTES)

    def _length(self, index: int) -> int:
        return min(CHUNK_BYTES, self._blob.length - index * CHUNK_BYTES)


class _RunningDigest:
    """SHA-256 of a blob while its chunks come, nearly in order.

    Attributes:
        chunks: how many of the first ones are hashed.
    """

    def __init__(self) -> None:
        self.chunks = 0
        self._hash = hashlib.sha256()
        self._early: dict[int, bytes] = {}

    def add(self, index: int, data: bytes) -> None:
        """Hash a chunk, or keep it for later; one too many is forgotten, and read back at the end."""
        if index != self.chunks:
            if index > self.chunks and len(self._early) < EARLY_CHUNKS:
                self._early[index] = data
            return
        following: bytes | None = data
        while following is not None:
            self._hash.update(following)
            self.chunks += 1
            following = self._early.pop(self.chunks, None)

    def hexdigest(self) -> str:
        """Of the chunks that are hashed."""
        return self._hash.hexdigest()


@contextlib.contextmanager
def _mapped_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFullError(f"The disk of the store is full: {error}.") from error
        raise
