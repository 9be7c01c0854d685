"""The recorder: built from C on this machine, preloaded into a process, read as a list of operations."""

import ctypes
import enum
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

SOURCE: Final = Path(__file__).with_name("recorder.c")
_HEAD: Final = struct.Struct("<BIIIQQ")


class Kind(enum.IntEnum):
    """What a call did; the numbers of ``recorder.c``."""

    CREATE = 1
    WRITE = 2
    TRUNCATE = 3
    SYNC = 4
    SYNC_FOLDER = 5
    RENAME = 6
    UNLINK = 7
    MKDIR = 8
    RMDIR = 9
    SYMLINK = 10
    MARK = 11
    UNSEEN = 12
    LINK = 13


class Operation(NamedTuple):
    """One recorded call.

    Attributes:
        path: below the folder, ``""`` for the folder itself; of a mark its text.
        second: new path of a rename or of a further name, target of a link, the unseen call's name.
        inode: of the file that was changed.
        number: offset of a write, length of a truncation, mode of a creation.
    """

    kind: Kind
    path: str
    second: str
    inode: int
    number: int
    data: bytes


def compiler() -> str | None:
    """The C compiler of this machine, if it has one."""
    return shutil.which("cc") or shutil.which("gcc")


def build(folder: Path) -> Path:
    """Compile the recorder into a folder.

    Raises:
        RuntimeError: there is no C compiler, or it refuses.
    """
    command = compiler()
    if command is None:
        raise RuntimeError("The recorder needs a C compiler: install Debian's gcc and libc6-dev.")
    library = folder / "recorder.so"
    arguments = [command, "-O2", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl", "-pthread"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"The recorder cannot be built: {done.stderr.strip()}")
    return library


def preloading(library: Path) -> Mapping[str, str]:
    """Environment of a process that is recorded."""
    return os.environ | {"LD_PRELOAD": str(library)}


class Recorder:
    """The recorder of this process.

    Raises:
        RuntimeError: this process was started without it.
    """

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        if not hasattr(self._library, "disk_record"):
            raise RuntimeError("This process does not preload the recorder.")
        self._library.disk_log.restype = ctypes.POINTER(ctypes.c_ubyte)
        self._folder = ""

    def begin(self, folder: Path) -> None:
        """Record what happens below a folder from now on; what was recorded before is forgotten."""
        self._folder = str(folder.resolve())
        self._library.disk_record(self._folder.encode())

    def mark(self, text: str) -> None:
        """Write a word of one's own between the operations."""
        self._library.disk_mark(text.encode())

    def end(self) -> list[Operation]:
        """Stop; what was recorded.

        Raises:
            RuntimeError: a file was changed in a way that the recorder does not see.
        """
        self._library.disk_stop()
        count = ctypes.c_size_t()
        start = self._library.disk_log(ctypes.byref(count))
        operations = list(self._read(ctypes.string_at(start, count.value)))
        if unseen := [found for found in operations if found.kind is Kind.UNSEEN]:
            raise RuntimeError(f"Nobody records {unseen[0].second} of {unseen[0].path}.")
        return operations

    def _read(self, log: bytes) -> Iterator[Operation]:
        at = 0
        while at < len(log):
            kind, first, second, count, inode, number = _HEAD.unpack_from(log, at)
            at += _HEAD.size
            path = log[at : at + first].decode()
            other = log[at + first : at + first + second].decode()
            at += first + second
            found = Operation(
                Kind(kind), self._below(path), self._below(other), inode, number, log[at : at + count]
            )
            at += count
            if not _is_shared_index(found.path):
                yield found

    def _below(self, path: str) -> str:
        return path.removeprefix(self._folder).removeprefix("/") if path.startswith(self._folder) else path


def _is_shared_index(path: str) -> bool:
    """SQLite's shared memory: no state, whoever opens a database first writes it (sqlite.org/walformat)."""
    return path.endswith("-shm")
