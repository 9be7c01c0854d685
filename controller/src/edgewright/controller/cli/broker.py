"""``edgewright broker config``: the files of a site's own broker."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from edgewright.controller.broker.probe import Address
from edgewright.controller.cli.output import console
from edgewright.controller.errors import InvalidRequestError

app = typer.Typer(no_args_is_help=True, help="A site's own broker instead of the embedded one.")

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
