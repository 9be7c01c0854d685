"""How much one device may make the controller store. An enrolled device may be hostile too.

Names are ids and labels, sentences are what a page shows; both are short where nobody is up to something.
"""

from collections.abc import Mapping
from typing import Final

TAGS: Final = 32
TAG_LETTERS: Final = 64


def own_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags that a device may give itself: the first thirty-two that are short.

    >>> own_tags({"site": "lyon", "note": "x" * 65})
    {'site': 'lyon'}
    """
    short = [(k, v) for k, v in tags.items() if len(k) <= TAG_LETTERS and len(v) <= TAG_LETTERS]
    return dict(short[:TAGS])
