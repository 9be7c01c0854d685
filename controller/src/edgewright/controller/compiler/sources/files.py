"""Reading a model's file, with its size looked at first."""

from pathlib import Path
from typing import Final

from edgewright.controller.errors import ModelTooLargeError, NotAModelError

LARGEST_SOURCE_BYTES: Final = 960_000_000
"""Four times the largest artifact: int8 takes a quarter of float32."""


def read_file(path: Path) -> bytes:
    """A model's file.

    Raises:
        NotAModelError: it cannot be read.
        ModelTooLargeError: no artifact of it could be released.
    """
    try:
        size = path.stat().st_size
        if size > LARGEST_SOURCE_BYTES:
            raise ModelTooLargeError(f"{path.name} has {size / 1e6:.0f} MB.")
        return path.read_bytes()
    except OSError as error:
        raise NotAModelError(f"{path.name} cannot be read: {error.strerror}.") from error
