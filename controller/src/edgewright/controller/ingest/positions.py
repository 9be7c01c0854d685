"""Which message of a stream comes next: the rule that makes telemetry count once.

A device numbers its messages without gaps and sends again from the last acknowledged one when
acknowledgements stay away (go-back-N, RFC 3366 section 2). So exactly the next number is stored; a
smaller one is a repetition; a larger one means that something between is missing, and it will come again.
What a device says in its hello about the oldest number it still holds moves the position forward: it
never holds those again.

>>> place(through=7, seq=8), place(through=7, seq=7), place(through=7, seq=9)
(<Place.NEXT: 'next'>, <Place.REPEATED: 'repeated'>, <Place.BEYOND_GAP: 'beyond-gap'>)
"""

from enum import StrEnum
from hashlib import sha256
from typing import Final

RECENT: Final = 128
"""How many of a stream's newest messages are compared with their repetitions; a device sends at most 64 ahead
of an acknowledgement."""

_DIGEST_BYTES: Final = 8
"""Enough against chance; against a forger there is the device's signature."""


class Place(StrEnum):
    """Where a message stands in its stream."""

    NEXT = "next"
    REPEATED = "repeated"
    BEYOND_GAP = "beyond-gap"


def place(through: int, seq: int) -> Place:
    """Where ``seq`` stands in a stream that is stored up to ``through``."""
    if seq == through + 1:
        return Place.NEXT
    return Place.REPEATED if seq <= through else Place.BEYOND_GAP


def after_hello(through: int, oldest: int) -> int:
    """The position after a device has said that ``oldest`` is the smallest number that it holds.

    >>> after_hello(7, 5), after_hello(7, 12)
    (7, 11)
    """
    return max(through, oldest - 1)


def remember(recent: bytes, body: bytes) -> bytes:
    """The digests of the newest messages with one more at their end.

    >>> len(remember(remember(b"", b"one"), b"two"))
    16
    """
    return (recent + _digest(body))[-RECENT * _DIGEST_BYTES :]


def is_other(recent: bytes, through: int, seq: int, body: bytes) -> bool:
    """Whether message ``seq`` of a stream that is stored up to ``through`` was stored with other content.

    >>> recent = remember(remember(b"", b"one"), b"two")
    >>> is_other(recent, 2, 1, b"one"), is_other(recent, 2, 1, b"another"), is_other(recent, 200, 1, b"x")
    (False, True, False)
    """
    begin = len(recent) - (through - seq + 1) * _DIGEST_BYTES
    return begin >= 0 and recent[begin : begin + _DIGEST_BYTES] != _digest(body)


def _digest(body: bytes) -> bytes:
    return sha256(body).digest()[:_DIGEST_BYTES]
