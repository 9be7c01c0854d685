"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Url = Annotated[
    str | None, typer.Option(help="Address of the controller, for example http://127.0.0.1:8420.")
]
Data = Annotated[
    Path | None, typer.Option(help="Data folder of a controller on this machine; its token is read there.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Reason = Annotated[str, typer.Option(help="Why, for the events.")]
