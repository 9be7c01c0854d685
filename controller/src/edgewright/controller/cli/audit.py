"""``edgewright audit ...``: look at the audit log, and find out whether somebody changed it."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from edgewright.controller.cli.client import DEFAULT_DATA, connect
from edgewright.controller.cli.options import AsJson, Data, Url
from edgewright.controller.cli.output import STYLES, console, print_json, print_table
from edgewright.controller.errors import DataFolderDamagedError
from edgewright.controller.web.words import NONE, audit_sentence, day, outcome_word

app = typer.Typer(no_args_is_help=True, help="Look at the audit log, export it and verify it.")

Out = Annotated[Path | None, typer.Option(help="File to write; without it standard output.")]
HeadFile = Annotated[
    list[Path] | None, typer.Option("--head", help="Signed head that was kept elsewhere; may be repeated.")
]
Fingerprint = Annotated[
    str, typer.Option(help="Fingerprint of the key that signs heads, as `audit head` shows it.")
]


@app.command("list")
def list_entries(
    search: Annotated[str, typer.Option(help="Words that have to stand in an entry.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many of the newest.")] = 30,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """List entries, newest first: who did what to what."""
    with connect(url, data) as client:
        found = client.get("/audit", search=search, limit=limit)
    if as_json:
        print_json(found)
        return
    print_table(
        ("entry>", "when", "who", "role", "what", "about", "outcome", "detail"),
        (
            (
                str(e["seq"]),
                day(e["at"]),
                e["actor"],
                e["role"] or NONE,
                e["action"],
                e["subject"],
                Text(outcome_word(e["outcome"]).text, style=STYLES[outcome_word(e["outcome"]).tone]),
                audit_sentence(e["detail"]),
            )
            for e in found
        ),
        "No entry has these words.",
    )


@app.command()
def export(out: Out = None, url: Url = None, data: Data = None) -> None:
    """Export the whole log as JSON lines, with a signed head as the last line."""
    with connect(url, data) as client:
        written = _write(client.download("/audit/export"), out)
    typer.echo(f"{written} bytes.", err=True)


@app.command()
def head(out: Out = None, url: Url = None, data: Data = None) -> None:
    """Export the signed head of the log; keep it on another machine."""
    from edgewright.controller.people.heads import read_head
    from edgewright.wire.canonical import canonical_json

    with connect(url, data) as client:
        found: dict[str, Any] = client.get("/audit/head")
    written = canonical_json(found)
    signed = read_head(written)
    _write(iter([written + b"\n"]), out)
    typer.echo(f"Entry {signed.head.seq}, signed by {signed.fingerprint}.", err=True)


@app.command()
def verify(
    data: Data = None,
    exported: Annotated[
        Path | None, typer.Option("--export", help="An export to verify instead of a data folder.")
    ] = None,
    head: HeadFile = None,
    fingerprint: Fingerprint = "",
) -> None:
    """Verify a data folder's log, or an export, whether its controller runs or not; nothing is written.

    Compared with the folder's own daily heads, and with the heads that are given.
    """
    from edgewright.controller.database.engine import Archive
    from edgewright.controller.people import audit, heads

    try:
        given = [heads.read_head(path.read_bytes(), fingerprint) for path in head or []]
        if exported:
            entries, last = heads.read_export(exported.read_bytes().splitlines(), fingerprint)
            known = [*given, last]
        else:
            folder = data or DEFAULT_DATA
            entries, known = audit.entries(Archive(folder)), [*given, *heads.kept_heads(folder)]
    except OSError as error:
        raise DataFolderDamagedError(f"{error.filename} cannot be read: {error.strerror}.") from error
    end = audit.verify(entries, (signed.head.tip for signed in known))
    console().print(f"The log is whole: {end.seq} entries, compared with {len(known)} signed heads.")
    console().print(f"Its end is {end.sha256}.", soft_wrap=True)


def _write(parts: Iterable[bytes], out: Path | None) -> int:
    if out is None:
        return sum(sys.stdout.buffer.write(part) for part in parts)
    try:
        with out.open("wb") as file:
            return sum(file.write(part) for part in parts)
    except OSError as error:
        raise DataFolderDamagedError(f"{out} cannot be written: {error.strerror}.") from error
