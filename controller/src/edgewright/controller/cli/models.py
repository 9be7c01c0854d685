"""``edgewright models``: list models and their versions, and withdraw one.

The word after ``models`` may be a model's name: ``edgewright models garment-packing`` lists its versions.
"""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from edgewright.controller.cli.client import connect
from edgewright.controller.cli.fleet import ModelName
from edgewright.controller.cli.naming import find_version
from edgewright.controller.cli.options import AsJson, Data, Url
from edgewright.controller.cli.output import console, print_json, print_table, styled, version
from edgewright.controller.web.words import day, version_word


class NamedOrListed(TyperGroup):
    """A group whose unknown commands are names to list."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put ``list`` before whatever is no command."""
        if not args or (args[0] not in self.commands and args[0] != "--help"):
            args = ["list", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=NamedOrListed, help="List models and versions; withdraw a version.")


@app.command(name="list")
def models(model: ModelName = None, url: Url = None, data: Data = None, as_json: AsJson = False) -> None:
    """List models, or the versions of one model."""
    with connect(url, data) as client:
        names = [model] if model else [found["name"] for found in client.get("/models")]
        found = [row for name in names for row in client.get(f"/models/{name}/versions")]
    if as_json:
        print_json(found)
        return
    print_table(
        ("model", "version", "state", "source", "pushed", "detail"),
        (
            (
                v["model"],
                version(v["version"]),
                styled(version_word(v["state"])),
                f"rebuilt from v{v['parent']}" if v["parent"] else v["source"],
                day(v["created_at"]),
                f"E{v['error']:03d} {v['detail']}" if v["error"] else v["detail"],
            )
            for v in found
        ),
        "No model was pushed. Push one with `edgewright push PATH`.",
    )


@app.command()
def withdraw(
    which: Annotated[str, typer.Argument(metavar="MODEL@VERSION", help="For example garment-packing@3.")],
    reason: Annotated[str, typer.Option(help="Why, for the events.")] = "",
    url: Url = None,
    data: Data = None,
) -> None:
    """Take a version out of circulation; devices that run it go on until they are given another."""
    with connect(url, data) as client:
        model, number = find_version(client, which)
        made = client.post(f"/models/{model}/versions/{number}/withdraw", {"reason": reason})
    console().print(made["sentence"], soft_wrap=True)
