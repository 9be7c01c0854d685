"""``edgewright people ...`` and ``edgewright whoami``: who may use the controller."""

import time
from typing import Annotated, Any

import typer
from rich.text import Text

from edgewright.controller.cli.client import connect
from edgewright.controller.cli.options import AsJson, Data, Url
from edgewright.controller.cli.output import console, print_json, print_table, styled
from edgewright.controller.web.words import NONE, age, day, token_word

app = typer.Typer(no_args_is_help=True, help="Give people and programs tokens, and take them back.")

TokenId = Annotated[str, typer.Argument(metavar="ID", help="Public id of the token, as `list` shows it.")]
Days = Annotated[int, typer.Option(min=1, max=365, help="Days until it ends.")]


@app.command("list")
def list_tokens(url: Url = None, data: Data = None, as_json: AsJson = False) -> None:
    """List tokens, newest first, with role, scope and when they were last used."""
    with connect(url, data) as client:
        found = client.get("/people/tokens")
    if as_json:
        print_json(found)
        return
    now = time.time()
    print_table(
        ("token", "name", "role", "models", "state", "until", "used>", "given by"),
        (
            (
                t["id"],
                t["name"],
                t["role"],
                ", ".join(t["models"]) or "all",
                styled(token_word(t["revoked_at"], t["expires"], now)),
                day(t["expires"]),
                age(t["last_used"], now),
                t["created_by"] or NONE,
            )
            for t in found
        ),
        "Nobody has a token yet. Give one with `edgewright people add NAME --role operator`.",
    )


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="Who will have it, for example a person or a program.")],
    role: Annotated[str, typer.Option(help="viewer, operator, engineer or admin.")] = "viewer",
    model: Annotated[
        list[str] | None, typer.Option(help="Model that it may change; may be repeated. Default: all.")
    ] = None,
    days: Days = 90,
    url: Url = None,
    data: Data = None,
) -> None:
    """Give somebody a token and print it; it is shown only now."""
    body = {"name": name, "role": role, "models": model or [], "days": days}
    with connect(url, data) as client:
        _print_new(client.post("/people/tokens", body))


@app.command()
def renew(token: TokenId, days: Days = 90, url: Url = None, data: Data = None) -> None:
    """Give a token a new secret and a new end, and print it; the old secret ends now."""
    with connect(url, data) as client:
        _print_new(client.post(f"/people/tokens/{public_id(token)}/renew", {"days": days}))


@app.command()
def revoke(token: TokenId, url: Url = None, data: Data = None) -> None:
    """End a token and its sessions."""
    with connect(url, data) as client:
        client.delete(f"/people/tokens/{public_id(token)}")
    console().print(f"Token {public_id(token)} is revoked.")


def public_id(text: str) -> str:
    """The id of a token that was given whole: its secret must not go into an address.

    >>> public_id("ewt_0123456789ab_secret"), public_id("0123456789ab")
    ('0123456789ab', '0123456789ab')
    """
    parts = text.split("_", 2)
    return parts[1] if len(parts) == 3 else text


def _print_new(made: dict[str, Any]) -> None:
    # The token alone stands on standard output, so that a program can take it.
    console().print(made["token"], soft_wrap=True)
    note = f"Token {made['id']} counts until {day(made['expires'])}. It is not shown again."
    typer.echo(note, err=True)


def whoami(url: Url = None, data: Data = None, as_json: AsJson = False) -> None:
    """Say whose token is used, with its role and its end."""
    with connect(url, data) as client:
        found = client.get("/whoami")
    if as_json:
        print_json(found)
        return
    said = Text(found["name"], style="bold")
    said.append(f" ({found['token']}): {found['role']}")
    said.append(f" for {', '.join(found['models'])}" if found["models"] else " for all models")
    said.append(f", until {day(found['expires'])}." if found["expires"] else ".")
    console().print(said, soft_wrap=True)
