"""Writing a file so that it is there whole, or not at all, after the process or the power goes."""

import os
from collections.abc import Callable
from pathlib import Path

Write = Callable[[Path, bytes], None]
"""The seam at which tests let a write fail."""


def write_durably(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` with mode 0600: synchronised, renamed, and the rename synchronised too."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    handle = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
