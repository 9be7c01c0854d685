"""Content keys: one of 256 random bits for each confidential version, each in a file of its own, mode 0600.

``<data>/keys/content/<model>/<version>``. They are nowhere else: not in the database, not in the blob store,
not in a log. A backup without ``keys/`` opens no confidential model, and a lost file makes its version
unusable, for no device and no build can be given the key again.
"""

import os
from pathlib import Path
from typing import Final

from edgewright.controller.durable import write_durably
from edgewright.controller.errors import DataFolderDamagedError
from edgewright.wire.encryption import KEY_BYTES

_FOLDER: Final = Path("keys") / "content"


class ContentKeys:
    """The content keys of one data folder."""

    def __init__(self, data: Path) -> None:
        self._folder = data / _FOLDER

    def ensure(self, model: str, version: int) -> bytes:
        """The key of a version, made at the first call.

        Raises:
            DataFolderDamagedError: it cannot be read or written.
        """
        return read_or_make(self._path(model, version))

    def read(self, model: str, version: int) -> bytes:
        """The key of a version.

        Raises:
            DataFolderDamagedError: it is missing or damaged.
        """
        return _read(self._path(model, version))

    def _path(self, model: str, version: int) -> Path:
        return self._folder / model / str(version)


def read_or_make(path: Path) -> bytes:
    """The key in a file, which is made where it is missing.

    Raises:
        DataFolderDamagedError: it cannot be read or written.
    """
    if not path.exists():
        try:
            write_durably(path, os.urandom(KEY_BYTES))
        except OSError as error:
            raise DataFolderDamagedError(f"{path} cannot be written: {error.strerror}.") from error
    return _read(path)


def _read(path: Path) -> bytes:
    try:
        key = path.read_bytes()
    except OSError as error:
        raise DataFolderDamagedError(f"The content key {path} cannot be read: {error.strerror}.") from error
    if len(key) != KEY_BYTES:
        raise DataFolderDamagedError(f"The content key {path} is damaged.")
    return key
