"""The program: all commands, and the one place where an error becomes a sentence and an exit status.

The exit status is the error's number; 2 is a wrong command line, 130 an interrupt. A traceback is shown only
with the hidden option --debug.
"""

import logging
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated, Final

import typer
from typer.exceptions import TyperException

from edgewright.controller.cli import (
    alias,
    audit,
    broker,
    compare,
    compiling,
    director,
    exchange,
    fleet,
    health,
    init,
    keys,
    labels,
    lineage,
    models,
    people,
    provenance,
    push,
    qualify,
    rebuild,
    rollouts,
    toolchain,
)
from edgewright.controller.cli.client import RefusedError
from edgewright.controller.cli.output import console
from edgewright.controller.datadir import read_endpoint
from edgewright.controller.ingest.retention import Retention
from edgewright.wire.errors import EdgewrightError

DEFAULT_PORT: Final = 8420
DEFAULT_BROKER_MB: Final = 2048
"""A NATS server holds in memory what was published or fetched within two minutes, a mosquitto everything."""
USAGE_STATUS: Final = 2
INTERRUPTED_STATUS: Final = 130

app = typer.Typer(
    name="edgewright",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Take a model from your push to every robot on the line, and keep it right.",
)


@app.command()
def up(
    data: Annotated[Path, typer.Option(help="Data folder; it is made where there is none.")],
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of page and API; 0 takes a free one.")
    ] = DEFAULT_PORT,
    broker_port: Annotated[
        int,
        typer.Option(min=0, max=65535, help="Port of the embedded broker; 0 takes a free one, or the last."),
    ] = 0,
    https_port: Annotated[
        int,
        typer.Option(min=0, max=65535, help="Port of the HTTPS door; 0 takes a free one, or the last."),
    ] = 0,
    listen: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Where door and broker listen; 0.0.0.0 for other machines.")
    ] = "127.0.0.1",
    name: Annotated[
        list[str] | None,
        typer.Option(help="Host name or address of this machine for its certificates; may be repeated."),
    ] = None,
    site_broker: Annotated[
        str,
        typer.Option("--broker", metavar="HOST:PORT", help="A site's broker instead of the embedded one."),
    ] = "",
    broker_files: Annotated[
        Path | None, typer.Option(help="Folder that `edgewright broker config` wrote for it.")
    ] = None,
    broker_memory_mb: Annotated[
        int,
        typer.Option(min=0, help="What may lie on the broker, MB; a release beyond is refused, 0 for any."),
    ] = DEFAULT_BROKER_MB,
    keep_windows_days: Annotated[
        int, typer.Option(min=1, help="How long single telemetry windows are kept; sums of them stay.")
    ] = Retention.windows_days,
    keep_samples_days: Annotated[
        int, typer.Option(min=1, help="How long captured frames are kept; those that a person labelled stay.")
    ] = Retention.samples_days,
    keep_samples_mb: Annotated[
        int, typer.Option(min=1, help="What pictures of captured frames may take, MiB; the oldest go first.")
    ] = Retention.samples_mb,
    workflows_database: Annotated[
        str,
        typer.Option(
            envvar="EDGEWRIGHT_WORKFLOWS_DATABASE",
            metavar="URL",
            help="PostgreSQL database for builds and rebuilds under way, postgresql://...; "
            "default: a file in the data folder. A password belongs into the variable or into ~/.pgpass.",
        ),
    ] = "",
) -> None:
    """Run the controller: API, page, HTTPS door, broker, compiler and everything else."""
    from edgewright.controller.rebuild.workflows import check_database
    from edgewright.controller.up import Options, serve

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    reached = broker.read_address(site_broker) if site_broker else None
    retention = Retention(keep_windows_days, keep_samples_days, keep_samples_mb)
    names = tuple(name or ())
    addresses = (port, https_port, broker_port, listen, names, reached, broker_files)
    options = Options(*addresses, broker_memory_mb, retention, check_database(workflows_database))
    serve(data, options, lambda address: _announce(address, data))


def _announce(address: str, data: Path) -> None:
    """Say where the page is; the link with the token goes to a terminal only, never into a log."""
    if sys.stdout.isatty():
        token = (data / "api-token").read_text().strip()
        console().print(f"Edgewright runs: {address}/?token={token}", soft_wrap=True)
    else:
        console().print(f"Edgewright runs: {address}/", soft_wrap=True)
    console().print(f"Devices enrol at: {read_endpoint(data).door}", soft_wrap=True)


@app.command()
def version() -> None:
    """Print the version."""
    console().print(installed_version("edgewright-controller"))


app.command(name="compile")(compiling.compile_model)
app.command()(init.init)
app.command()(push.push)
app.command()(fleet.devices)
app.command()(fleet.device)
app.add_typer(models.app, name="models")
app.add_typer(alias.app, name="alias")
app.command()(fleet.targets)
app.add_typer(rollouts.app, name="rollout")
app.add_typer(rebuild.app, name="rebuild")
app.add_typer(labels.app, name="labels")
app.add_typer(keys.app, name="keys")
app.add_typer(director.app, name="director")
app.command()(health.health)
app.command()(fleet.drift)
app.command()(fleet.events)
app.command()(fleet.token)
app.command()(fleet.revoke)
app.command()(fleet.trust)
app.add_typer(broker.app, name="broker")
app.add_typer(people.app, name="people")
app.command()(people.whoami)
app.add_typer(audit.app, name="audit")
app.add_typer(toolchain.app, name="toolchain")
app.add_typer(exchange.app, name="mlflow")
app.command()(lineage.lineage)
app.command()(compare.compare)
app.command()(qualify.qualify)
app.command()(provenance.provenance)
app.command()(provenance.export)
app.command()(provenance.verify)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command line and end the process with its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    status = _run([argument for argument in given if argument != "--debug"], debug=debug)
    sys.stdout.flush()
    sys.exit(status)


def _run(arguments: list[str], *, debug: bool) -> int:
    try:
        result = app(args=arguments, prog_name="edgewright", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except TyperException as error:
        return _fail(f"{error.format_message()} Look at `edgewright --help`.", USAGE_STATUS)
    except (EdgewrightError, RefusedError) as error:
        if debug:
            raise
        return _fail(str(error), error.number)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED_STATUS
    except BrokenPipeError:
        # The reader of our output has gone, as in `edgewright events | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # the top of the process: a user is shown a sentence, never a traceback
        if debug:
            raise
        said = f"{type(error).__name__}: {error}"
        return _fail(f"E001 A defect of edgewright ended the command ({said}). Run it again with --debug.", 1)


def _fail(sentence: str, status: int) -> int:
    sys.stderr.write(f"{sentence}\n")
    return status
