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
