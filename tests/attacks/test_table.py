"""The table of attacks is true: every row has its tests, every test has its row, and the page shows it."""

import ast
from collections import Counter
from pathlib import Path

from tests.attacks.table import TABLE, markdown
from tests.house.sources import ROOT

PAGE = ROOT / "docs/explanation/security.md"


def _tests() -> list[str]:
    return [
        node.name
        for path in Path(__file__).parent.glob("test_*.py")
        if path != Path(__file__)
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]


def test_every_row_has_its_tests_and_every_test_its_row() -> None:
    """Rows and test functions name each other, each once."""
    named = Counter(test for row in TABLE for test in row.tests)
    assert all(row.tests for row in TABLE)
    assert named == Counter(_tests())


def test_attacks_are_named_once() -> None:
    """No attack stands in two rows."""
    assert len({row.attack for row in TABLE}) == len(TABLE)


def test_the_page_shows_the_table() -> None:
    """The documentation's table is this one, row by row."""
    assert markdown() in PAGE.read_text()
