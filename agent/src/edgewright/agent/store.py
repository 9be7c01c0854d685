"""Content-addressed files on the device: manifests, artifacts, golden vectors, by SHA-256.

Rules:

- A file under its digest's name is complete: it was written beside it, checked, synced and then renamed.
- A blob on its way is ONE partial file of its final size, which becomes the blob. Which chunks it holds is
  not written down: on resume each piece is hashed and compared with the signed digests, so nothing can claim
  more than is there. A chunk is written to flash once, and at most one chunk is lost to a power cut.
- A byte of a download is hashed once, for its chunk, whose digest is signed. The digest of the whole is taken
  where a file is used: nothing is trusted because it is local, and a damaged file is removed.
- A name counts when its folder was synchronised, the store's own name in the data folder included. What a
  killed process left unsynchronised is synchronised before anything builds on it.
- Nothing is written that would take more than the quota, or the disk's last free bytes.
"""

import contextlib
import errno
import hashlib
import os
import re
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Final

from edgewright.agent.privatefiles import sync_folder
from edgewright.wire.canonical import sha256_hex
from edgewright.wire.errors import MalformedMessageError, StorageFullError, TamperedArtifactError
from edgewright.wire.manifest import CHUNK_BYTES, Blob

DEFAULT_QUOTA_BYTES: Final = 2 * 1024**3
_DIGEST = re.compile(r"[0-9a-f]{64}")
_PARTIAL: Final = ".partial"
_UNREADABLE: Final = (errno.EIO, errno.EBADMSG, errno.EUCLEAN)
"""What a disk says of blocks that it has lost; any other error may pass."""


class Store:
    """Files by digest.

    Args:
        folder: created if it is missing; one process writes it.
        quota_bytes: what all files together may take.
        sync_chunks: chunks written between two syncs of a partial file; the loss at a power cut.
        free_bytes: what stays free on the disk.

    Raises:
        OSError: the folder cannot be made.
    """

    def __init__(
        self,
        folder: Path,
        quota_bytes: int = DEFAULT_QUOTA_BYTES,
        sync_chunks: int = 1,
        *,
        free_bytes: int = 0,
    ) -> None:
        self._folder = folder
        self._quota_bytes, self._free_bytes = quota_bytes, free_bytes
        self._sync_chunks = sync_chunks
        folder.mkdir(parents=True, exist_ok=True)
        for changed in (folder, folder.parent):
            sync_folder(changed)

    def has(self, digest: str) -> bool:
        """Whether the complete file is there."""
        return self._path(digest).exists()

    def lacking_bytes(self, blob: Blob) -> int:
        """Bytes of a blob that are not here; nothing is created by asking."""
        if self.has(blob.sha256) or not self._part(blob.sha256).exists():
            return 0 if self.has(blob.sha256) else blob.length
        with self.partial(blob) as partial:
            return partial.missing_bytes

    def digests(self) -> set[str]:
        """Digests of all complete files."""
        return {path.name for path in self._folder.iterdir() if _DIGEST.fullmatch(path.name)}

    def used_bytes(self) -> int:
        """Size of all files, partial ones by what is written."""
        return sum(_blocks(path) for path in self._folder.iterdir())

    def put(self, data: bytes) -> str:
        """Store bytes durably; the digest.

        Raises:
            StorageFullError: there is no room.
        """
        digest = sha256_hex(data)
        if self.has(digest):
            return digest
        with self.draft(Blob(digest, len(data), ())) as draft:
            draft.write(data)
            draft.finish()
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
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            if error.errno not in _UNREADABLE:
                raise
            found = ""
        if found != digest:
            with contextlib.suppress(OSError):  # A disk that lost it may not let go of its name either.
                path.unlink()
            raise TamperedArtifactError(f"The stored file {digest[:12]} is damaged; it was removed.")
        return path

    @contextlib.contextmanager
    def partial(self, blob: Blob) -> Iterator["Partial"]:
        """A blob on its way by chunks; what it holds survives the block, finished or not.

        Raises:
            StorageFullError: there is no room for it.
        """
        with self._open_part(blob) as descriptor:
            yield Partial(self, descriptor, blob, self._sync_chunks)

    @contextlib.contextmanager
    def draft(self, blob: Blob) -> Iterator["Draft"]:
        """A blob that is made here, from its first byte to its last; what it held before is written over.

        Raises:
            StorageFullError: there is no room for it.
        """
        with self._open_part(blob) as descriptor:
            yield Draft(self, descriptor, blob)

    def collect(self, keep: Set[str]) -> int:
        """Remove every file, complete or partial, whose digest is not in ``keep``; the number removed."""
        removed = 0
        for path in list(self._folder.iterdir()):
            if path.stem not in keep:
                path.unlink(missing_ok=True)
                removed += 1
        return removed

    @contextlib.contextmanager
    def _open_part(self, blob: Blob) -> Iterator[int]:
        """The partial file, made durable as it is; without it there would be nothing to resume from."""
        part = self._part(blob.sha256)
        is_new = not part.exists()
        self._reserve(max(0, blob.length - (0 if is_new else _blocks(part))))
        with _mapped_errors(), part.open("x+b" if is_new else "r+b", buffering=0) as file:
            os.ftruncate(file.fileno(), blob.length)
            os.fsync(file.fileno())
            sync_folder(self._folder)
            yield file.fileno()

    def _publish(self, descriptor: int, digest: str) -> None:
        """Give a partial file its name, durably."""
        os.fsync(descriptor)
        self._part(digest).rename(self._path(digest))
        sync_folder(self._folder)

    def _discard(self, digest: str) -> None:
        self._part(digest).unlink(missing_ok=True)

    def _reserve(self, length: int) -> None:
        used = self.used_bytes()
        if used + length > self._quota_bytes:
            raise StorageFullError(
                f"The store holds {used} of {self._quota_bytes} bytes and has no room for {length} more."
            )
        disk = os.statvfs(self._folder)
        free = disk.f_bavail * disk.f_frsize
        if free < length + self._free_bytes:
            raise StorageFullError(
                f"The disk of the store has {free} bytes free, of which {self._free_bytes} stay free, and no "
                f"room for {length} more."
            )

    def _path(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise MalformedMessageError(f"{digest[:80]!r} is no SHA-256.")
        return self._folder / digest

    def _part(self, digest: str) -> Path:
        return self._path(digest).with_suffix(_PARTIAL)


class Partial:
    """One blob's partial file, filled by its chunks; made by ``Store.partial``."""

    def __init__(self, store: Store, descriptor: int, blob: Blob, sync_chunks: int) -> None:
        self._store, self._descriptor = store, descriptor
        self._blob = blob
        self._sync_chunks = sync_chunks
        self._unsynced = 0
        self._missing = self._find_missing(is_new=os.fstat(descriptor).st_blocks == 0)

    @property
    def missing(self) -> list[str]:
        """Digests of the chunks that are not here yet, each once, in the order of the blob."""
        return list(self._missing)

    @property
    def missing_bytes(self) -> int:
        """Bytes of these chunks, each once."""
        return sum(self._length(places[0]) for places in self._missing.values())

    def write(self, digest: str, data: bytes) -> None:
        """Store one chunk wherever the blob has it.

        Raises:
            TamperedArtifactError: the bytes do not have the digest, or not the length of their place.
            StorageFullError: there is no room.
        """
        if sha256_hex(data) != digest:
            raise TamperedArtifactError(f"A chunk that should be {digest[:12]} has other bytes.")
        places = self._missing.get(digest, ())
        for index in places:
            if len(data) != self._length(index):
                raise TamperedArtifactError(f"The chunk {digest[:12]} does not fit its place in the blob.")
            _write(self._descriptor, data, index * CHUNK_BYTES)
        self._missing.pop(digest, None)
        self._unsynced += len(places)
        if self._unsynced >= self._sync_chunks:
            os.fdatasync(self._descriptor)
            self._unsynced = 0

    def finish(self) -> None:
        """Give the blob its name: each of its chunks has its signed digest."""
        assert not self._missing, "all chunks are here before the blob is finished"
        self._store._publish(self._descriptor, self._blob.sha256)  # noqa: SLF001 - the store's own half

    def _find_missing(self, *, is_new: bool) -> dict[str, list[int]]:
        """Hash what is there; a new file has only holes, and is not read."""
        missing: dict[str, list[int]] = {}
        for index, digest in enumerate(self._blob.chunks):
            piece = b"" if is_new else os.pread(self._descriptor, self._length(index), index * CHUNK_BYTES)
            if len(piece) != self._length(index) or sha256_hex(piece) != digest:
                missing.setdefault(digest, []).append(index)
        return missing

    def _length(self, index: int) -> int:
        return min(CHUNK_BYTES, self._blob.length - index * CHUNK_BYTES)


class Draft:
    """One blob's partial file, written from its beginning; made by ``Store.draft``."""

    def __init__(self, store: Store, descriptor: int, blob: Blob) -> None:
        self._store, self._descriptor, self._blob = store, descriptor, blob
        self._hash = hashlib.sha256()
        self._length = 0

    def write(self, data: bytes) -> None:
        """Add the next bytes.

        Raises:
            TamperedArtifactError: these are more than the blob has.
            StorageFullError: there is no room.
        """
        if self._length + len(data) > self._blob.length:
            raise TamperedArtifactError(f"More than {self._blob.length} bytes came for a blob of so many.")
        _write(self._descriptor, data, self._length)
        self._hash.update(data)
        self._length += len(data)

    def finish(self) -> None:
        """Verify the whole and give it its name.

        Raises:
            TamperedArtifactError: it does not have its digest; it has been removed.
        """
        if self._length != self._blob.length or self._hash.hexdigest() != self._blob.sha256:
            self._store._discard(self._blob.sha256)  # noqa: SLF001 - the store's own half
            raise TamperedArtifactError(f"The blob {self._blob.sha256[:12]} does not have its digest.")
        self._store._publish(self._descriptor, self._blob.sha256)  # noqa: SLF001 - the store's own half


def _blocks(path: Path) -> int:
    """Bytes that a file takes on the disk; none where it has just been collected."""
    try:
        return path.stat().st_blocks * 512
    except FileNotFoundError:
        return 0


def _write(descriptor: int, data: bytes, offset: int) -> None:
    """Write all of it: a disk that is nearly full takes a part without a word."""
    rest = memoryview(data)
    with _mapped_errors():
        while rest:
            count = os.pwrite(descriptor, rest, offset)
            rest, offset = rest[count:], offset + count


@contextlib.contextmanager
def _mapped_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFullError(f"The disk of the store is full: {error}.") from error
        raise
