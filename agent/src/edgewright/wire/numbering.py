"""Which numbers of a stream have come: the rule that makes telemetry count once, in whatever order it comes.

A device numbers a message when it first sends it, from 1 without gaps, and sends a number again until it is
acknowledged. The controller stores a number within ``AHEAD`` of the first one that it lacks, and says what it
has: everything up to ``through``, and a bitmap of what it has beyond (selective acknowledgement, RFC 2018).
So one lost message costs one message, and what either side remembers of a stream is sixteen bytes.

>>> received = Received(7).with_number(9)
>>> received.place(8), received.place(9), received.place(7), received.place(8 + AHEAD)
(<Place.NEW: 'new'>, <Place.REPEATED: 'repeated'>, <Place.REPEATED: 'repeated'>, <Place.TOO_FAR: 'too-far'>)
>>> received.with_number(8)
Received(through=9, beyond=0)
"""

from enum import StrEnum
from typing import Final

import msgspec

AHEAD: Final = 128
"""Numbers beyond ``through`` that are taken; the bitmap has as many bits."""


class Place(StrEnum):
    """Where a number stands."""

    NEW = "new"
    REPEATED = "repeated"
    TOO_FAR = "too-far"


class Received(msgspec.Struct, frozen=True):
    """Numbers of one stream that have come.

    Attributes:
        through: all up to and including this one.
        beyond: bit ``n`` says that ``through + 1 + n`` has come too; bit 0 is never set.
    """

    through: int = 0
    beyond: int = 0

    def place(self, number: int) -> Place:
        """Where a number stands that comes now."""
        if self.has(number):
            return Place.REPEATED
        return Place.NEW if number <= self.through + AHEAD else Place.TOO_FAR

    def has(self, number: int) -> bool:
        """Whether a number has come."""
        ahead = number - self.through - 1
        return ahead < 0 or (ahead < AHEAD and bool(self.beyond >> ahead & 1))

    def with_number(self, number: int) -> "Received":
        """With one more number, which ``place`` called new."""
        return _settled(self.through, self.beyond | 1 << (number - self.through - 1))

    def from_oldest(self, oldest: int) -> "Received":
        """With everything before ``oldest``, which its sender has no more.

        >>> Received(7, 0b100).from_oldest(9), Received(7).from_oldest(5), Received(7).from_oldest(12)
        (Received(through=8, beyond=2), Received(through=7, beyond=0), Received(through=11, beyond=0))
        """
        if oldest <= self.through + 1:
            return self
        return _settled(oldest - 1, self.beyond >> (oldest - 1 - self.through))

    def bitmap(self) -> bytes:
        r"""``beyond`` as it travels: little-endian, without trailing zeros.

        >>> Received(0, 2).bitmap(), Received.of(0, Received(0, 2).bitmap())
        (b'\x02', Received(through=0, beyond=2))
        """
        return self.beyond.to_bytes((self.beyond.bit_length() + 7) // 8, "little")

    @staticmethod
    def of(through: int, bitmap: bytes) -> "Received":
        """What was written as ``bitmap``; bits that no bitmap has are not looked at."""
        beyond = int.from_bytes(bitmap[: AHEAD // 8], "little")
        return _settled(through, beyond)


def _settled(through: int, beyond: int) -> Received:
    while beyond & 1:
        through, beyond = through + 1, beyond >> 1
    return Received(through, beyond)
