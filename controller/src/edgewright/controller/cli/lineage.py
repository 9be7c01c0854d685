"""``edgewright lineage``: where a version comes from, back to its root."""

from typing import Annotated, Any

import typer
from rich.text import Text
from rich.tree import Tree

from edgewright.controller.cli.client import connect
from edgewright.controller.cli.naming import find_version
from edgewright.controller.cli.options import AsJson, Data, Url
from edgewright.controller.cli.output import console, print_json
from edgewright.controller.web.words import day


def lineage(
    release: Annotated[
        str, typer.Argument(metavar="MODEL@VERSION", help="For example garment-packing@champion.")
    ],
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Show what a version was made from: who, which data, which recipe, and so on back to the root."""
    with connect(url, data) as client:
        model, number = find_version(client, release)
        found = client.get(f"/models/{model}/versions/{number}/lineage")
    if as_json:
        print_json(found)
        return
    first, *others = found["chain"]
    tree = branch = Tree(_title(model, first))
    _grow(branch, first)
    for step in others:
        branch = branch.add(_title(model, step))
        _grow(branch, step)
    console().print(tree)


def _title(model: str, step: dict[str, Any]) -> Text:
    how = f"rebuilt from v{step['parent']}" if step["parent"] else "pushed"
    title = Text(f"{model} v{step['version']}", style="bold")
    if step["aliases"]:
        title.append(f" ({', '.join(step['aliases'])})", style="not bold")
    return title.append(f", {how} {day(step['created_at'])}", style="not bold dim")


def _grow(branch: Tree, step: dict[str, Any]) -> None:
    for line in step["told"]:
        branch.add(Text.assemble((f"{line['about']}: ", "dim"), line["said"]))
    if not step["told"]:
        branch.add(Text("It is older than the records of lineage.", style="dim"))
