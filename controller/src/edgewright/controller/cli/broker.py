"""``edgewright broker``: what lies on the broker, and the files of a site's own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from edgewright.controller.broker.probe import Address
from edgewright.controller.cli.client import connect
from edgewright.controller.cli.options import AsJson, Data, Url
from edgewright.controller.cli.output import console, print_json, print_table
from edgewright.controller.errors import InvalidRequestError
from edgewright.controller.web.words import count, size

app = typer.Typer(no_args_is_help=True, help="What lies on the broker; a site's own broker.")

Kind = Annotated[str, typer.Argument(help="mosquitto or nats.")]
Out = Annotated[Path, typer.Option(help="Folder for the files, as the broker will see it.")]
Folder = Annotated[Path, typer.Option(help="Data folder of the controller.")]


@app.command()
def config(
    kind: Kind,
    out: Out,
    data: Folder,
    name: Annotated[
        list[str] | None,
        typer.Option(help="Host name or address by which devices reach it; may be repeated."),
    ] = None,
    listen: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Address on which it listens; all without it.")
    ] = "",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on which it listens.")] = 8883,
) -> None:
    """Write configuration, access list, certificates and revocation lists for a broker."""
    from edgewright.controller.broker.site import broker_files

    if kind not in ("mosquitto", "nats"):
        raise InvalidRequestError(f"{kind!r} is no broker that this release knows: mosquitto or nats.")
    chosen: Literal["mosquitto", "nats"] = "mosquitto" if kind == "mosquitto" else "nats"
    broker_files(data, out).write(chosen, listen, port, name or ["localhost"])
    console().print(f"Start it with: {_command(kind, out.absolute())}", soft_wrap=True)
    address = f"{(name or ['localhost'])[0]}:{port}"
    said = f"Then: edgewright up --data {data} --broker {address} --broker-files {out}"
    console().print(said, soft_wrap=True)


@app.command()
def show(url: Url = None, data: Data = None, as_json: AsJson = False) -> None:
    """Show what lies on the broker, what it may take, and what the broker itself needs."""
    with connect(url, data) as client:
        found = client.get("/broker")
    if as_json:
        print_json(found)
        return
    kinds = [(kind, found["retained"][kind]) for kind in ("chunks", "metadata", "assignments")]
    rows = [[kind, count(figure["topics"]), size(figure["bytes"])] for kind, figure in kinds]
    print_table(("retained", "topics>", "bytes>"), rows, "")
    for sentence in _sentences(found):
        console().print(sentence, soft_wrap=True)


def _sentences(found: dict[str, Any]) -> Iterator[str]:
    taken, most = size(found["retained"]["bytes"]), found["most_bytes"]
    yield f"In all {taken} of {size(most)}." if most else f"In all {taken}; no bound is set."
    memory = found["memory_bytes"]
    needs = f"takes {size(memory)} of memory" if memory is not None else "does not say what memory it takes"
    reached = "connected" if found["connected"] else "not connected"
    yield f"The broker ({found['kind']}, {reached}) {needs}."
    if found["restarts"]:
        yield f"Restarts so far: {found['restarts']}. The last cause: {found['last_failure']}"
    wants, downloads = found["wants"], found["downloads"]
    yield (
        f"Of what devices missed, {count(wants['answered'])} chunks or files were published again, "
        f"{count(wants['limited'])} put off, {count(wants['unknown'])} unknown or retired."
    )
    yield f"Over HTTPS {count(downloads['requests'])} requests took {size(downloads['bytes'])}."


def read_address(text: str) -> Address:
    """A broker's address as people write it.

    Raises:
        InvalidRequestError: it is none.

    >>> read_address("mqtt.plant.example:8883")
    Address(host='mqtt.plant.example', port=8883)
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise InvalidRequestError(f"{text!r} is no address of a broker: write HOST:PORT.")
    return Address(host, int(port))


def _command(kind: str, folder: Path) -> str:
    return f"{'mosquitto' if kind == 'mosquitto' else 'nats-server'} -c {folder / f'{kind}.conf'}"
