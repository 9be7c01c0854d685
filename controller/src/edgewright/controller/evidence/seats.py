"""Which sources of labels are listened to one by one: each is trusted, or set aside, by itself.

A source is a name that a device writes, so a device can invent names: each one would be trusted until it was
audited, and each makes all need more evidence. Seats are therefore few, and the line's truths without a name
and people's audits have their own. A robot that is the only one to use a name holds few of them. Names
without a seat count together, and are judged together.

>>> seats = Seats()
>>> [seats.of(name, "r1") for name in ("", "scanner", "gripper", "third")]
['', 'scanner', 'gripper', 'others']
>>> seats.of("third", "r2")
'third'
"""

from typing import Final

MOST_SOURCES: Final = 8
"""With a name, of one version."""

MOST_ALONE: Final = 2
"""Of those, used by one robot only: what a station has of its own."""

OTHER_SOURCES: Final = "others"
_POOLED: Final = frozenset({OTHER_SOURCES, "other"})
"""A device puts names beyond its own bound together as well."""

_KEPT: Final = frozenset({"", "audit"})


class Seats:
    """See the module's text."""

    def __init__(self) -> None:
        self._only: dict[str, str] = {}

    def of(self, source: str, device: str) -> str:
        """The name that labels of a source count under; ``device`` tells them."""
        if source in _KEPT:
            return source
        if source in _POOLED:
            return OTHER_SOURCES
        only = self._only.get(source)
        if only is None:
            alone = sum(one == device for one in self._only.values())
            if len(self._only) >= MOST_SOURCES or alone >= MOST_ALONE:
                return OTHER_SOURCES
            self._only[source] = device
        elif only != device:
            self._only[source] = ""
        return source
