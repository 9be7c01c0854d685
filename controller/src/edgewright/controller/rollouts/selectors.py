"""Selectors: groups of devices by their tags, in the form ``site=lyon, line in (a, b), target!=x``.

All clauses have to hold. ``target`` and ``id`` are always there, next to the device's own tags. The empty
selector takes every device.

>>> matches("site=lyon, line in (a, b)", {"site": "lyon", "line": "b"})
True
>>> matches("line != a", {"line": "a"})
False
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from edgewright.controller.database.tables import Device
from edgewright.controller.errors import NoMatchingDeviceError

_CLAUSE = re.compile(
    r"\s*(?P<key>[\w.-]+)\s*(?:(?P<op>!=|=)\s*(?P<value>[\w.-]+)|(?P<not>not\s+)?in\s*\((?P<values>[^)]*)\))\s*"
)


class Clause(NamedTuple):
    """One condition: the tag's value is among ``values``, or is not."""

    key: str
    values: frozenset[str]
    negated: bool


@lru_cache(maxsize=1024)
def parse(selector: str) -> tuple[Clause, ...]:
    """Read a selector.

    Raises:
        NoMatchingDeviceError: it cannot be read; the sentence shows where.
    """
    clauses: list[Clause] = []
    at = 0
    while at < len(selector) and selector.strip():
        match = _CLAUSE.match(selector, at)
        if match is None or (match.end() < len(selector) and selector[match.end()] != ","):
            raise NoMatchingDeviceError(f"The selector cannot be read at {selector[at : at + 30]!r}.")
        if match["values"] is None:
            clauses.append(Clause(match["key"], frozenset({match["value"]}), match["op"] == "!="))
        else:
            values = frozenset(value.strip() for value in match["values"].split(","))
            clauses.append(Clause(match["key"], values, match["not"] is not None))
        at = match.end() + 1
    return tuple(clauses)


def matches(selector: str, tags: Mapping[str, str]) -> bool:
    """Whether a device with these tags belongs to the group.

    Raises:
        NoMatchingDeviceError: the selector cannot be read.
    """
    return all((tags.get(c.key, "") in c.values) is not c.negated for c in parse(selector))


def takes(selector: str, device: Device) -> bool:
    """Whether a device belongs to the group.

    Raises:
        NoMatchingDeviceError: the selector cannot be read.
    """
    return matches(selector, {**device.tags, "id": device.id, "target": device.target})
