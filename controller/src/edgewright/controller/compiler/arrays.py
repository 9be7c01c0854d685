"""Reading a NumPy ``.npz`` that anybody may have written: what it announces is looked at before it is read.

NumPy's own reader believes its file. A header of sixty bytes asks for a terabyte, a member that deflate made
small fills the memory, and what is damaged ends in a dozen kinds of exceptions. Here an archive's members are
plain or deflated arrays of numbers and text, all of them together fit into ``LARGEST_ARRAYS_BYTES``, and each
has as many bytes as its header says. Everything else is one error with one sentence. Format: NumPy
Enhancement Proposal 1.
"""

import io
import zipfile
import zlib
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

LARGEST_ARRAYS_BYTES: Final = 4 << 30
"""Of all arrays of one file; twenty-eight thousand frames of 224 x 224."""

_ENDING: Final = ".npy"
_METHODS: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_ENCRYPTED: Final = 1
"""Bit of a member's flags."""

_KINDS: Final = frozenset("biufUS")
_LONGEST_HEADER_BYTES: Final = 10_000
_PIECE_BYTES: Final = 1 << 20


class BadArraysError(ValueError):
    """The file is no archive of arrays; the text says why. Front ends give it their own number."""


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of an archive by name; members that are no ``.npy`` are left out.

    Raises:
        BadArraysError: it is none, it is damaged, or it is larger than any data that a build takes.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if member.filename.endswith(_ENDING)]
            left = LARGEST_ARRAYS_BYTES
            arrays: dict[str, NDArray[Any]] = {}
            for member in members:
                array, weight = _read_member(archive, member, left)
                arrays[member.filename.removesuffix(_ENDING)] = array
                left -= weight
            return arrays
    except BadArraysError:
        raise
    # zipfile raises all of these for damage; NotImplementedError is a RuntimeError.
    except (
        OSError, EOFError, MemoryError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error
    ) as error:  # fmt: skip
        raise BadArraysError(str(error) or "it ends too early") from error


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, left: int) -> tuple[NDArray[Any], int]:
    """One array, and the room that it takes; ``left`` is the room that there is."""
    name = member.filename[:80]
    if member.flag_bits & _ENCRYPTED or member.compress_type not in _METHODS:
        raise BadArraysError(f"{name} is encrypted, or packed by something else than deflate")
    with archive.open(member) as file:
        start = file.read(_LONGEST_HEADER_BYTES)
        shape, fortran, dtype, length = _header(name, start)
        if dtype.kind not in _KINDS:
            raise BadArraysError(f"{name} holds {dtype}, and neither numbers nor text")
        # Empty axes and texts count as one: a loop over them takes its time all the same.
        weight = prod(max(1, size) for size in shape) * max(1, dtype.itemsize)
        if weight > left:
            raise BadArraysError(f"its arrays take more than {LARGEST_ARRAYS_BYTES >> 30} GiB")
        count = prod(shape) * dtype.itemsize
        if member.file_size != length + count:
            raise BadArraysError(f"{name} has another length than its header says")
        values = np.empty(count, np.uint8)
        _fill(file, values, start[length:])
    # A view of no bytes has no shape of its own, so an empty array is made.
    array = (
        values.view(dtype).reshape(shape, order="F" if fortran else "C") if count else np.empty(shape, dtype)
    )
    return array, weight


def _header(name: str, start: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Shape, order, element type and where the values begin."""
    file = io.BytesIO(start)
    try:
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except Exception as error:
        raise BadArraysError(f"{name} has no header of an array") from error
    if any(size < 0 for size in shape):
        raise BadArraysError(f"{name} has a negative size")
    return shape, fortran, dtype, file.tell()


def _fill(file: Any, values: NDArray[np.uint8], first: bytes) -> None:
    """Read piece by piece, because a file's end may come before its header's."""
    values[: len(first)] = np.frombuffer(first, np.uint8)
    at = len(first)
    while at < len(values):
        piece = file.read(min(_PIECE_BYTES, len(values) - at))
        if not piece:
            raise BadArraysError("it ends too early")
        values[at : at + len(piece)] = np.frombuffer(piece, np.uint8)
        at += len(piece)
    # The checksum is looked at where the file ends.
    file.read(1)
