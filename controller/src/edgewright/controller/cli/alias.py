"""``edgewright alias ...``: names for versions that people move."""

from typing import Annotated

import typer

from edgewright.controller.cli.client import connect
from edgewright.controller.cli.naming import find_version
from edgewright.controller.cli.options import AsJson, Data, Url
from edgewright.controller.cli.output import console, print_json, print_table, version
from edgewright.controller.web.words import day

app = typer.Typer(no_args_is_help=True, help="Name versions: champion, challenger, or a name of your own.")

Name = Annotated[str, typer.Argument(metavar="ALIAS", help="For example challenger.")]


@app.command("set")
def set_alias(
    release: Annotated[str, typer.Argument(metavar="MODEL@VERSION", help="For example garment-packing@3.")],
    name: Name,
    url: Url = None,
    data: Data = None,
) -> None:
    """Point an alias at a version. The champion is moved by rollouts that finish, and by nothing else."""
    with connect(url, data) as client:
        model, number = find_version(client, release)
        client.put(f"/models/{model}/aliases/{name}", {"version": number})
    console().print(f"{model} v{number} is the {name}.")


@app.command("list")
def list_aliases(
    model: Annotated[str | None, typer.Argument(help="Only of this model.")] = None,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """List aliases with the versions that they name."""
    with connect(url, data) as client:
        names = [model] if model else [found["name"] for found in client.get("/models")]
        found = [row for name in names for row in client.get(f"/models/{name}/aliases")]
    if as_json:
        print_json(found)
        return
    print_table(
        ("model", "alias", "version", "since", "moved by"),
        ((a["model"], a["name"], version(a["version"]), day(a["moved_at"]), a["moved_by"]) for a in found),
        "No version has an alias. The first rollout that finishes names a champion.",
    )


@app.command("remove")
def remove_alias(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    name: Name,
    url: Url = None,
    data: Data = None,
) -> None:
    """Take an alias away."""
    with connect(url, data) as client:
        client.delete(f"/models/{model}/aliases/{name}")
    console().print(f"{model} has no {name} any more.")
