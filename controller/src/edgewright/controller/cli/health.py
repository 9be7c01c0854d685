"""``edgewright health``: the seven questions about a model, answered; harm is an exit status of its own."""

from typing import Annotated, Any

import typer
from rich.text import Text

from edgewright.controller.cli.client import connect
from edgewright.controller.cli.naming import find_version
from edgewright.controller.cli.options import AsJson, Data, Url
from edgewright.controller.cli.output import STYLES, console, print_json
from edgewright.controller.errors import HarmError
from edgewright.controller.web.words import clock


def health(
    which: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="Or MODEL@VERSION, for another than most devices run."),
    ],
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Answer the seven questions about a model. Ends with status 19 where it does harm, else with 0."""
    with connect(url, data) as client:
        model, version = find_version(client, which) if "@" in which else (which, 0)
        found = client.get(f"/models/{model}/health", version=version)
    if as_json:
        print_json(found)
    else:
        _print_health(found)
    if found["status"] == "harm":
        raise HarmError(found["sentence"])


def _print_health(found: dict[str, Any]) -> None:
    style = {"harm": "bold red", "healthy": "bold green"}.get(found["status"], "bold")
    console().print(Text(found["sentence"], style=style), soft_wrap=True)
    for number, answer in enumerate(found["answers"], start=1):
        console().print()
        console().print(Text(f"{number} {answer['question']}", style="bold"), soft_wrap=True)
        said = Text(answer["sentence"], style=STYLES[answer["tone"]])
        if answer["certainty"]:
            said.append(f" {answer['certainty']}", style="dim")
        console().print(said, soft_wrap=True)
        for detail in answer["details"]:
            when = f"{clock(detail['at'])}  " if detail["at"] else ""
            line = Text(f"  {when}", style="dim").append(detail["sentence"], style=STYLES[detail["tone"]])
            console().print(line, soft_wrap=True)
        if answer["command"]:
            console().print(f"  {answer['command']}", soft_wrap=True)
