"""``edgewright compare``: versions of a model side by side."""

from collections.abc import Sequence
from typing import Annotated, Any, Final

import typer
from rich.table import Table
from rich.text import Text

from edgewright.controller.cli.client import connect
from edgewright.controller.cli.naming import read_name
from edgewright.controller.cli.options import AsJson, Data, Url
from edgewright.controller.cli.output import STYLES, console, print_json
from edgewright.controller.errors import InvalidRequestError
from edgewright.controller.web.words import mark_word


def compare(
    releases: Annotated[
        list[str],
        typer.Argument(metavar="MODEL@VERSION...", help="Two or more; the first is what others are held to."),
    ],
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Compare versions of a model: sizes, latencies, agreement, classes, gates, data and robots."""
    named = [read_name(text) for text in releases]
    models = {model for model, _ in named}
    if len(models) > 1:
        raise InvalidRequestError(f"Compare versions of one model, not of {' and '.join(sorted(models))}.")
    versions = ",".join(word for _, word in named)
    with connect(url, data) as client:
        found = client.get(f"/models/{named[0][0]}/compare", versions=versions)
    if as_json:
        print_json(found)
        return
    columns = [f"v{number}" for number in found["versions"]]
    console().print(comparison_table(found["model"], columns, found["sections"]))


def comparison_table(model: str, columns: Sequence[str], sections: Sequence[dict[str, Any]]) -> Table:
    """Sections of a comparison as the API gives them, one column each for what is compared."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(model, no_wrap=True)
    for column in columns:
        table.add_column(column, overflow="fold")
    for section in sections:
        table.add_row()
        table.add_row(Text(section["title"], style="bold"))
        for row in section["rows"]:
            table.add_row(f"{DIFFERS if row['differs'] else '  '}{row['what']}", *map(_cell, row["cells"]))
    return table


DIFFERS: Final = "* "
"""Before what differs, so that a file without colours shows it too."""


def _cell(cell: dict[str, Any]) -> Text:
    word = mark_word(cell["mark"], cell["by"])
    if cell["mark"] in ("", "same"):
        return Text(cell["text"])
    return Text.assemble(cell["text"], " ", (word.text, STYLES[word.tone]))
