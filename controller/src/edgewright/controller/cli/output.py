"""What commands print: tables for people, JSON for programs, and nothing else on standard output."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgewright.controller.web.words import NONE, Tone, Word

STYLES: dict[Tone, str] = {
    "quiet": "default",
    "move": "blue",
    "good": "green",
    "warn": "yellow",
    "bad": "red",
}


def console() -> Console:
    """Standard output; colours and widths follow the terminal.

    No markup: sentences of errors and devices hold brackets, which would vanish or raise.
    """
    return Console(highlight=False, markup=False)


def print_json(value: Any) -> None:
    """One JSON document."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]], empty: str) -> None:
    """A table, or one sentence where there is nothing to list. Columns that end in ``>`` align right."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for index, column in enumerate(columns):
        justify: Literal["left", "right"] = "right" if column.endswith(">") else "left"
        # The first column names the row, so a person may want to copy it; nothing is cut off.
        name = column.removesuffix(">")
        table.add_column(name, justify=justify, overflow="fold", no_wrap=index == 0)
    for row in rows:
        table.add_row(*row)
    console().print(table if table.row_count else empty)


def styled(word: Word) -> Text:
    """A state in its colour."""
    return Text(word.text, style=STYLES[word.tone])


def version(number: int) -> str:
    """A version for people.

    >>> version(3), version(0)
    ('v3', '–')
    """
    return f"v{number}" if number else NONE
