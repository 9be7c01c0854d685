"""Groups of devices by tags."""

import pytest

from edgewright.controller.errors import NoMatchingDeviceError
from edgewright.controller.rollouts.selectors import matches

TAGS = {"site": "lyon", "line": "b", "target": "x86_64-ort-cpu", "id": "r1"}


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("", True),
        ("   ", True),
        ("site=lyon", True),
        ("site = lyon , line in (a, b)", True),
        ("site=lyon,line not in (a,b)", False),
        ("line!=b", False),
        ("shift=night", False),
        ("shift!=night", True),
        ("target=x86_64-ort-cpu", True),
    ],
)
def test_selectors(selector: str, expected: bool) -> None:
    """All clauses have to hold; a tag that a device lacks equals nothing."""
    assert matches(selector, TAGS) is expected


@pytest.mark.parametrize(
    "selector", ["site", "site==lyon", "site=lyon;line=b", "line in a,b", "=x", "a=b,,c=d"]
)
def test_nonsense_is_refused_with_its_place(selector: str) -> None:
    """A selector that cannot be read raises; it never selects the whole fleet by accident."""
    with pytest.raises(NoMatchingDeviceError, match="cannot be read at"):
        matches(selector, TAGS)
