"""The files of a TUF repository in one folder: ``<version>.<role>.json`` and ``timestamp.json``."""

import itertools
from collections.abc import Collection
from pathlib import Path
from typing import Final

from edgewright.controller.durable import Write
from edgewright.controller.errors import DataFolderDamagedError

TIMESTAMP_FILE: Final = "timestamp.json"


def file_name(version: int, role: str) -> str:
    """Name of a numbered file.

    >>> file_name(3, "targets")
    '3.targets.json'
    """
    return f"{version}.{role}.json"


class MetadataFolder:
    """Reads and writes by file name; a numbered file is never written twice."""

    def __init__(self, folder: Path, write: Write) -> None:
        self._folder = folder
        self._write = write

    def has(self, name: str) -> bool:
        """Whether the file is there."""
        return (self._folder / name).exists()

    def read(self, name: str) -> bytes:
        """The file's bytes.

        Raises:
            DataFolderDamagedError: it cannot be read.
        """
        try:
            return (self._folder / name).read_bytes()
        except OSError as error:
            raise DataFolderDamagedError(
                f"{self._folder / name} cannot be read: {error.strerror}."
            ) from error

    def write_numbered(self, version: int, role: str, data: bytes) -> None:
        """Write a new numbered file.

        Raises:
            DataFolderDamagedError: it cannot be written.
        """
        assert not self.has(file_name(version, role)), (version, role)
        self._write_file(file_name(version, role), data)

    def write_timestamp(self, data: bytes) -> None:
        """Replace the timestamp: the commit.

        Raises:
            DataFolderDamagedError: it cannot be written.
        """
        self._write_file(TIMESTAMP_FILE, data)

    def numbered(self) -> list[tuple[int, str]]:
        """Version and role of each numbered file."""
        found = []
        for path in self._folder.glob("[0-9]*.*.json"):
            version, _, role = path.name.removesuffix(".json").partition(".")
            if version.isdecimal():
                found.append((int(version), role))
        return found

    def free_version(self, role: str, above: int) -> int:
        """The next number that no file has, left-overs of a killed process included."""
        taken = {version for version, name in self.numbered() if name == role}
        return next(version for version in itertools.count(above + 1) if version not in taken)

    def delete(self, names: Collection[str]) -> None:
        """Delete files; those that are gone already do no harm."""
        for name in names:
            (self._folder / name).unlink(missing_ok=True)

    def _write_file(self, name: str, data: bytes) -> None:
        try:
            self._write(self._folder / name, data)
        except OSError as error:
            raise DataFolderDamagedError(
                f"{self._folder / name} cannot be written: {error.strerror}."
            ) from error
