"""Blobs of confidential models at rest on the controller: what was pushed is as secret as what is published.

The source model of a confidential version is sealed from the beginning of its build, and a rebuild's
candidates as soon as they are stored. They keep their digests, so provenance and deduplication stay as they
are. The key is one for the data folder, in ``<data>/keys/storage``; a backup without ``keys/`` opens nothing.
Frames of the line and the other files of a model folder are not sealed.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from edgewright.controller.confidential.keys import read_or_make
from edgewright.controller.confidential.sealing import open_sealed, seal
from edgewright.controller.errors import DataFolderDamagedError
from edgewright.wire.encryption import Place
from edgewright.wire.errors import ConfidentialKeyError, MalformedMessageError

_KEY: Final = Path("keys") / "storage" / "blobs"


class StorageVault:
    """The vault of one data folder; its key is made at the first use."""

    def __init__(self, data: Path) -> None:
        self._path = data / _KEY

    def seal(self, plain: bytes, name: str) -> Iterator[bytes]:
        """The encrypted file of a blob, in parts.

        Raises:
            DataFolderDamagedError: the key cannot be had.
        """
        return seal(plain, read_or_make(self._path), _place(name))

    def open(self, path: Path, name: str) -> bytes:
        """The blob in an encrypted file.

        Raises:
            DataFolderDamagedError: the key cannot be had, or does not open it.
        """
        try:
            return open_sealed(path, read_or_make(self._path), _place(name))
        except (ConfidentialKeyError, MalformedMessageError) as error:
            raise DataFolderDamagedError(f"The blob {name[:12]} does not open: {error.sentence}") from error


def _place(name: str) -> Place:
    return Place("", 0, name, "source")
