"""What may be an item, a class, and a chance in a label that somebody tells."""

from typing import Final

CHARACTERS_AT_MOST: Final = 256
"""Of an item's id and of a class, as for what a line tells its device."""


def why_no_label(item: str | None, truth: str, probability: float, *, may_be_empty: bool = False) -> str:
    """Why this cannot be taken as a label, as a sentence; empty where it can. No item: it needs no check.

    >>> why_no_label("r1-17", "Bag", 1.0), why_no_label("r1-17", "", 1.0)
    ('', 'It names no class.')
    """
    if item == "":
        return "It names no item."
    if not truth and not may_be_empty:
        return "It names no class."
    item = item or ""
    if max(len(item), len(truth)) > CHARACTERS_AT_MOST:
        return f"An item and a class have {CHARACTERS_AT_MOST} characters at most."
    if not (item.isprintable() and truth.isprintable()):
        return "An item and a class are printable text."
    if not 0.0 <= probability <= 1.0:
        return "The probability is a number from 0 to 1."
    return ""
