"""Reading tables of a FlatBuffer that may be damaged or hostile: every offset is checked before it is used.

The generated readers of the format trust their file, and native ones crash on a bad offset. A source is read
before any runtime sees it, so it is read here. Format: flatbuffers.dev, "FlatBuffer internals".
"""

import struct
from typing import Final, NamedTuple

_OFFSET_BYTES: Final = 4
_MOST_ENTRIES: Final = 1 << 24


class Damaged(ValueError):  # noqa: N818 - it never leaves the adapter that reads a format
    """An offset or a length points out of the file."""


class Table(NamedTuple):
    """One table; fields are numbered as in the schema, and a missing one has its default."""

    data: bytes
    at: int

    def _field(self, number: int) -> int:
        """Where a field's value lies, 0 where it is missing."""
        start = self.at - _read(self.data, "<i", self.at)
        length = _read(self.data, "<H", start)
        entry = 4 + 2 * number
        if entry + 2 > length:
            return 0
        offset = _read(self.data, "<H", start + entry)
        return self.at + offset if offset else 0

    def number(self, field: int, code: str, default: int = 0) -> int:
        """A scalar; ``code`` as in ``struct``, little-endian."""
        at = self._field(field)
        return int(_read(self.data, f"<{code}", at)) if at else default

    def table(self, field: int) -> "Table | None":
        """A table."""
        at = self._field(field)
        return Table(self.data, _follow(self.data, at)) if at else None

    def _vector(self, field: int, size: int) -> tuple[int, int]:
        at = self._field(field)
        if not at:
            return 0, 0
        start = _follow(self.data, at)
        count = _read(self.data, "<I", start)
        start += _OFFSET_BYTES
        if start + count * size > len(self.data):
            raise Damaged
        return start, count

    def raw(self, field: int) -> bytes:
        """A vector of bytes."""
        start, count = self._vector(field, 1)
        return self.data[start : start + count]

    def text(self, field: int) -> str:
        """A string."""
        return self.raw(field).decode(errors="replace")

    def numbers(self, field: int, code: str) -> tuple[int, ...] | tuple[float, ...]:
        """A vector of scalars."""
        start, count = self._vector(field, struct.calcsize(f"<{code}"))
        return struct.unpack_from(f"<{count}{code}", self.data, start) if count else ()

    def tables(self, field: int) -> tuple["Table", ...]:
        """A vector of tables."""
        start, count = self._vector(field, _OFFSET_BYTES)
        if count > _MOST_ENTRIES:
            raise Damaged
        return tuple(
            Table(self.data, _follow(self.data, start + _OFFSET_BYTES * number)) for number in range(count)
        )


def root(data: bytes) -> Table:
    """The file's root table.

    Raises:
        Damaged: the file is too short for one.
    """
    return Table(data, _follow(data, 0))


def _follow(data: bytes, at: int) -> int:
    return at + int(_read(data, "<I", at))


def _read(data: bytes, code: str, at: int) -> int:
    if not 0 <= at <= len(data) - struct.calcsize(code):
        raise Damaged
    return int(struct.unpack_from(code, data, at)[0])
