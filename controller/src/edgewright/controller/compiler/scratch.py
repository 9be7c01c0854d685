"""Private folders for what lies on disk for as long as something is compiled, and not a moment longer.

A quantiser, a converter and a runtime in another environment get a model as a file, also one that is
confidential. A process that is killed removes none of its files, so its parent does: it gives the child a
folder of its own as ``TMPDIR``, and removes it once the child is gone. Where the parent was killed too, the
next one does: a folder is locked for as long as its parent lives, and whoever gets the lock removes it.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

PREFIX: Final = "build-scratch-"
"""A data folder's start clears all that begins with ``build-``; see ``rebuild.steps``."""


@contextmanager
def scratch(parent: Path | None = None) -> Iterator[Path]:
    """A folder that nobody else can read, for as long as the block lasts.

    Args:
        parent: where it is made, and where what others left behind is removed; None for the system's place.
    """
    root = parent or Path(tempfile.gettempdir())
    root.mkdir(parents=True, exist_ok=True)
    clear_scratch(root)
    folder, lock = _locked(root)
    try:
        yield folder
    finally:
        # What a dying grandchild writes in this moment is left to whoever clears next.
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def clear_scratch(root: Path) -> None:
    """Remove the folders of processes that are gone."""
    for folder in root.glob(f"{PREFIX}*"):
        with suppress(OSError):  # it is in use, another user's, or another process removes it now
            lock = _lock(folder)
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def _locked(root: Path) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(dir=root, prefix=PREFIX))
        with suppress(BlockingIOError, FileNotFoundError):  # somebody who clears was faster than the lock
            lock = _lock(folder)
            if folder.is_dir():
                return folder, lock
            os.close(lock)


def _lock(folder: Path) -> int:
    """A descriptor that holds the folder's lock; no child inherits it.

    Raises:
        OSError: it is locked, gone or another user's.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(descriptor).st_uid != os.geteuid():
            raise PermissionError(folder)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
