"""Commands about the director's keys: ``edgewright director``."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from edgewright.controller.cli.client import connect
from edgewright.controller.cli.options import AsJson, Data, Url
from edgewright.controller.cli.output import console, print_json, print_table
from edgewright.controller.errors import KeyStoreError, SignatureRefusedError

app = typer.Typer(no_args_is_help=True, help="The keys that sign what each device shall run.")


@app.command()
def show(url: Url = None, data: Data = None, as_json: AsJson = False) -> None:
    """List which keys sign assignments and acknowledgements."""
    with connect(url, data) as client:
        found = client.get("/director")
    if as_json:
        print_json(found)
        return
    _print(found)


@app.command()
def rotate(
    role: Annotated[str, typer.Argument(help="root, targets, or timestamp: the acknowledgements' key.")],
    public: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Public key (PEM); may be repeated.")
    ] = None,
    threshold: Annotated[int, typer.Option(min=1, help="How many of them have to sign.")] = 1,
    url: Url = None,
    data: Data = None,
) -> None:
    """Replace the keys of a role; without --public a new key is made where the old one lay."""
    try:
        keys = [path.read_text() for path in public or ()]
    except (OSError, UnicodeDecodeError) as error:
        raise KeyStoreError(f"A public key cannot be read: {error}.") from error
    with connect(url, data) as client:
        _print(client.post("/director/rotate", {"role": role, "public": keys, "threshold": threshold}))


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="Where the request is written; an old one is overwritten.")],
    url: Url = None,
    data: Data = None,
) -> None:
    """Write the next root that waits for signatures to a file, for `edgewright keys sign`."""
    with connect(url, data) as client:
        text = json.dumps(client.get("/director/request"))
    try:
        file.write_text(text)
    except OSError as error:
        raise KeyStoreError(f"{file} cannot be written: {error.strerror}.") from error
    console().print(f"{file}: have it signed with `edgewright keys sign`.", soft_wrap=True)


@app.command(name="import")
def bring(
    file: Annotated[Path, typer.Argument(help="The file that `edgewright keys sign` has signed.")],
    url: Url = None,
    data: Data = None,
) -> None:
    """Bring the signatures back; with enough of them the root is published and devices follow."""
    try:
        request = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise SignatureRefusedError(f"{file} cannot be read: {error}.") from error
    with connect(url, data) as client:
        _print(client.post("/director/request", request))


def _print(found: dict[str, Any]) -> None:
    print_table(
        ("role", "key", "store", "threshold>"),
        ((row["role"], row["keyid"][:16], row["store"], str(row["threshold"])) for row in found["keys"]),
        "There is none.",
    )
    day = datetime.fromtimestamp(found["expires"], UTC).date().isoformat()
    console().print(f"Root {found['root']}, good until {day}; {found['devices']} devices have a document.")
    if found["waits_for"]:
        console().print(f"The next root waits for {found['waits_for']}.", soft_wrap=True)
    if found["laboratory"]:
        console().print(
            "LABORATORY KEYS: the root can be replaced with keys on this machine alone. Do not use them in a "
            "factory: `edgewright director rotate root --public FILE ... --threshold 2`.",
            soft_wrap=True,
        )
