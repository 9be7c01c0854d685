"""The fleet in numbers, and one page of it: a fleet of ten thousand is never loaded to show fifty rows."""

from collections.abc import Mapping
from typing import Final

import msgspec

PAGE_ROWS: Final = 50


class FleetCounts(msgspec.Struct, frozen=True):
    """The whole fleet, counted.

    Attributes:
        versions: version to the number of devices that run it; those that run none are left out.
        away: ids of some devices that are not connected, in order.
        first: the first device's id; empty without one.
    """

    total: int = 0
    connected: int = 0
    versions: Mapping[int, int] = {}
    away: tuple[str, ...] = ()
    first: str = ""

    def commonest_version(self) -> int:
        """What most devices run; 0 where none runs anything."""
        return max(self.versions, key=lambda version: self.versions[version], default=0)


class Page(msgspec.Struct, frozen=True):
    """Which rows of a long list are shown; numbers count from 1."""

    number: int
    pages: int
    total: int

    @classmethod
    def of(cls, total: int, wanted: int) -> "Page":
        """The page that was asked for, or the last one where there are fewer.

        >>> Page.of(120, 9)
        Page(number=3, pages=3, total=120)
        """
        pages = max(-(-total // PAGE_ROWS), 1)
        return cls(min(max(wanted, 1), pages), pages, total)

    @property
    def offset(self) -> int:
        """How many rows stand before the page."""
        return (self.number - 1) * PAGE_ROWS

    @property
    def last(self) -> int:
        """Number of its last row."""
        return min(self.offset + PAGE_ROWS, self.total)
