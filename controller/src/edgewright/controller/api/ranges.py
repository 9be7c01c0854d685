"""Single byte ranges of RFC 9110, section 14: what part of a file a request asks for.

Several ranges at once are not served: such a request gets the whole file, as the RFC allows. So does one
whose ``Range`` nobody can read, and one whose ``If-Range`` names another file than this.
"""

import re
from typing import Final, NamedTuple

_RANGE: Final = re.compile(r"bytes=[ \t]*([0-9]{0,1000})-([0-9]{0,1000})[ \t]*", re.IGNORECASE)
"""Positions far behind the end of any file are read too: no byte is there, which is another answer."""


class Part(NamedTuple):
    """Bytes ``first`` up to but not including ``end``; ``whole`` where no range was asked for."""

    first: int
    end: int
    whole: bool


def wanted_part(asked: str | None, if_range: str | None, etag: str, length: int) -> Part | None:
    """The part of a file of ``length`` bytes that is to be sent; None where no byte of it is in the range.

    >>> wanted_part("bytes=0-99", None, '"a"', 1000)
    Part(first=0, end=100, whole=False)
    >>> wanted_part("bytes=-100", None, '"a"', 1000)
    Part(first=900, end=1000, whole=False)
    >>> wanted_part("bytes=1000-", None, '"a"', 1000) is None
    True
    >>> wanted_part("bytes=99999999999999999999-", None, '"a"', 1000) is None
    True
    >>> wanted_part("bytes=0-99", '"b"', '"a"', 1000)
    Part(first=0, end=1000, whole=True)
    """
    whole = Part(0, length, whole=True)
    found = _RANGE.fullmatch(asked or "")
    if found is None or found[1] == found[2] == "" or if_range not in (None, etag):
        return whole
    if not found[1]:
        first, end = max(0, length - int(found[2])), length
    else:
        first, end = int(found[1]), min(length, int(found[2]) + 1) if found[2] else length
        if found[2] and int(found[2]) < int(found[1]):
            return whole  # no range at all, by the RFC's grammar
    return Part(first, end, whole=False) if first < end else None
