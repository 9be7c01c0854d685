"""Whether a version lies in a half-open range: what a device checks, and what the controller foresees.

Versions are those of Python packages (PyPA, "Version specifiers"; PEP 440), and the range is read as
``>=minimum,<below`` is there: a pre-release of the minimum is before it, a pre-release of what the range ends
with is not in it, a post-release and a local part (``1.24.1+cu12``) change nothing.

>>> [is_within(version, "1.24", "2.0") for version in ("1.24.1", "1.24rc1", "2.0rc1")]
[True, False, False]
>>> is_within("the newest", "1.24", "2.0") is None
True
"""

import re
from typing import Final, NamedTuple

MAX_CHARACTERS: Final = 128
"""Of a version: as much as a hello has for a whole runtime."""

_VERSION: Final = re.compile(
    r"v?(?:(?P<epoch>\d+)!)?(?P<release>\d+(?:\.\d+)*)"
    r"(?P<pre>[-_.]?(?:alpha|a|beta|b|preview|pre|c|rc)[-_.]?\d*)?"
    r"(?P<post>-\d+|[-_.]?(?:post|rev|r)[-_.]?\d*)?"
    r"(?P<dev>[-_.]?dev[-_.]?\d*)?"
    r"(?:\+[a-z0-9]+(?:[-_.][a-z0-9]+)*)?",
    re.ASCII | re.IGNORECASE,
)
"""PEP 440, appendix B."""


class _Version(NamedTuple):
    release: tuple[int, ...]
    early: bool
    """Before the release itself: a pre-release, or a development release of it."""


def is_within(version: str, minimum: str, below: str) -> bool | None:
    """Whether ``version`` is at least ``minimum`` and before ``below``; None where one is no version."""
    read = [_read(text) for text in (version, minimum, below)]
    here, least, end = read
    if here is None or least is None or end is None:
        return None
    first = (here.release, not here.early) >= (least.release, not least.early)
    return first and here.release < end.release


def _read(text: str) -> _Version | None:
    """Epoch and numbers without trailing zeros, so that 1.31 equals 1.31.0."""
    found = _VERSION.fullmatch(text.strip()) if len(text) <= MAX_CHARACTERS else None
    if found is None:
        return None
    numbers = [int(found["epoch"] or 0), *map(int, found["release"].split("."))]
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    early = found["pre"] is not None or (found["dev"] is not None and found["post"] is None)
    return _Version(tuple(numbers), early)
