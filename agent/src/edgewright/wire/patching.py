"""The form of a patch: where in the base each piece of the result is looked for.

A patch is one zstd frame (RFC 8878) a segment of the result, in order, each with a region of the base around
the segment's own place as its prefix. So a device never holds more of a blob than one region and one segment,
however large it is. Weights keep their places from version to version: what moved further than the margin is
sent anew.

>>> [str(region) for region in regions(base_length=330_000, length=300_000)]
['0:196608+131072', '65536:327680+131072', '196608:330000+37856']
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

SEGMENT_BYTES: Final = 128 * 1024
"""Of the result in one frame; the decoder's window is never larger."""

MARGIN_BYTES: Final = 64 * 1024
"""Of the base before and after the segment's own place."""

SHORTEST_PREFIX: Final = 8
"""Bytes; zstd takes none that is shorter, and such a segment has none."""


class Region(NamedTuple):
    """Where a segment's base lies, from ``start`` to before ``end``, and how long the segment is, bytes."""

    start: int
    end: int
    length: int

    def __str__(self) -> str:
        return f"{self.start}:{self.end}+{self.length}"


def regions(base_length: int, length: int) -> Iterator[Region]:
    """The regions of a base for each segment of a result, lengths in bytes."""
    for place in range(0, length, SEGMENT_BYTES):
        start = min(max(0, place - MARGIN_BYTES), base_length)
        end = min(place + SEGMENT_BYTES + MARGIN_BYTES, base_length)
        yield Region(start, max(start, end), min(SEGMENT_BYTES, length - place))
