"""Pictures of captured frames that are too large for the database: files named by their SHA-256.

The line writes the large ones itself, because they are too large for the control socket as well, and names
them in the sample. Its files have a suffix: they are the line's until it hears that the sample is taken. What
the outbox does not name is nobody's: it is deleted when the agent starts.
"""

import contextlib
import hashlib
import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Final

from edgewright.agent.privatefiles import sync_folder
from edgewright.wire.errors import StorageFullError
from edgewright.wire.messages import MAX_IMAGE_BYTES, PIECE_BYTES

_NAME: Final = re.compile(r"[0-9a-f]{64}")
_HANDED_OVER: Final = ".line"


def hand_over(folder: Path, image: bytes) -> str:
    """Write a picture for the supervisor, without waiting for the disk; its SHA-256. Between two frames.

    Raises:
        OSError: it cannot be written.
    """
    sha256 = hashlib.sha256(image).hexdigest()
    _write(folder, image, sha256 + _HANDED_OVER)
    return sha256


def forget_handed_over(folder: Path, sha256: str = "") -> None:
    """Delete the line's file of a picture, or all that another line has left."""
    names = [sha256 + _HANDED_OVER] if sha256 else [path.name for path in folder.glob(f"*{_HANDED_OVER}")]
    for name in names:
        with contextlib.suppress(OSError):
            (folder / name).unlink()


def _write(folder: Path, image: bytes, name: str) -> None:
    part = folder / f"{name}.new"
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(image)
        part.rename(folder / name)
    except OSError:
        # What it has is in no quota, and on a full disk it is what others lack.
        with contextlib.suppress(OSError):
            part.unlink()
        raise


class SampleFiles:
    """The folder ``samples`` of the data folder; made when it is missing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def keep(self, image: bytes) -> str:
        """Write a picture durably; its SHA-256.

        Raises:
            StorageFullError: the disk does not take it.
        """
        sha256 = hashlib.sha256(image).hexdigest()
        try:
            _write(self.folder, image, sha256)
        except OSError as error:
            raise StorageFullError(f"A sample's picture cannot be written: {error.strerror}.") from error
        self.adopt(sha256)
        return sha256

    def adopt(self, sha256: str) -> int:
        """Make a picture durable that the line has written; its length, 0 where it is not there.

        Raises:
            StorageFullError: the disk does not take it.
        """
        path = self._path(sha256)
        if path is None:
            return 0
        with contextlib.suppress(FileExistsError, FileNotFoundError):
            os.link(self.folder / (sha256 + _HANDED_OVER), path)
        if not path.is_file():
            return 0
        try:
            with path.open("rb") as file:
                os.fsync(file.fileno())
                size = os.fstat(file.fileno()).st_size
            sync_folder(self.folder)
        except OSError as error:
            raise StorageFullError(f"A sample's picture cannot be kept: {error.strerror}.") from error
        return size if size <= MAX_IMAGE_BYTES else 0

    def read_piece(self, sha256: str, offset: int) -> bytes:
        """A part of a picture; empty where it is gone or cannot be read."""
        path = self._path(sha256)
        if path is None:
            return b""
        try:
            with path.open("rb") as file:
                file.seek(offset)
                return file.read(PIECE_BYTES)
        except OSError:
            return b""

    def forget(self, sha256: str) -> None:
        """Delete a picture; one that cannot be deleted now is nobody's at the next start."""
        if path := self._path(sha256):
            with contextlib.suppress(OSError):
                path.unlink()

    def sweep(self, named: Collection[str]) -> None:
        """Delete every picture that is not named and not the line's."""
        for path in self.folder.iterdir():
            if path.name not in named and path.suffix != _HANDED_OVER:
                with contextlib.suppress(OSError):
                    path.unlink()

    def _path(self, sha256: str) -> Path | None:
        return self.folder / sha256 if _NAME.fullmatch(sha256) else None
