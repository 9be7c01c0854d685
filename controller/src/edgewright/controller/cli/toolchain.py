"""``edgewright toolchain``: compilers and runtimes in environments of their own, on this machine.

These commands need no controller: they work on the folder in which a controller on this machine, and
``edgewright compile``, look for toolchains.
"""

from typing import Annotated, Final

import typer
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from edgewright.controller.cli.options import AsJson
from edgewright.controller.cli.output import STYLES, console, print_json, print_table
from edgewright.controller.errors import ToolchainFailedError, ToolchainMissingError
from edgewright.controller.web.words import NONE

app = typer.Typer(
    no_args_is_help=True, help="Install, list and examine compilers and runtimes that live apart."
)

Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="As `toolchain list` names them.")]
MISSING: Final = "not installed"


@app.command()
def install(
    names: Names,
    python: Annotated[
        str, typer.Option(metavar="PATH", help="Python to make it with; without it one is looked for.")
    ] = "",
) -> None:
    """Install toolchains by hash, each in an environment of its own; what is there already stays."""
    from edgewright.controller.compiler.toolchains.installing import install as install_one
    from edgewright.controller.compiler.toolchains.table import find_toolchain

    for toolchain in [find_toolchain(name) for name in names]:
        with _progress() as progress:
            task = progress.add_task(toolchain.name, total=1.0, said="")
            place = install_one(
                toolchain,
                python,
                lambda words, share, task=task, progress=progress: progress.update(  # type: ignore[misc]  # mypy has no type for a lambda's default
                    task, said=words, completed=share
                ),
            )
        console().print(f"{toolchain.name} {place.version}: {place.python}", soft_wrap=True)


@app.command(name="list")
def list_toolchains(as_json: AsJson = False) -> None:
    """List toolchains: which are there, where, and which targets need them."""
    from edgewright.controller.compiler.toolchains.places import find_place
    from edgewright.controller.compiler.toolchains.table import TOOLCHAINS

    places = {name: find_place(toolchain) for name, toolchain in TOOLCHAINS.items()}
    if as_json:
        print_json(
            [
                {
                    "name": name,
                    "summary": TOOLCHAINS[name].summary,
                    "python": list(TOOLCHAINS[name].python),
                    "targets": _targets_of(name),
                    "version": place.version if place else "",
                    "interpreter": str(place.python) if place else "",
                }
                for name, place in places.items()
            ]
        )
        return
    print_table(
        ("toolchain", "version", "where", "Python", "targets"),
        (
            (
                name,
                place.version if place else NONE,
                _where(place.own if place else None),
                ", ".join(TOOLCHAINS[name].python),
                ", ".join(_targets_of(name)) or NONE,
            )
            for name, place in places.items()
        ),
        "There are no toolchains.",
    )


@app.command()
def doctor(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME...]", help="Only these; without it all.")
    ] = None,
) -> None:
    """Make each toolchain do its work on something tiny.

    A broken one fails the command, and so does a missing one that was named.
    """
    from edgewright.controller.compiler.toolchains.proving import examine
    from edgewright.controller.compiler.toolchains.table import TOOLCHAINS, find_toolchain

    chosen = [find_toolchain(name) for name in names or TOOLCHAINS]
    broken, missing = [], []
    for toolchain in chosen:
        health = examine(toolchain)
        if health.place is None:
            missing.append(toolchain.name)
            said = Text(f"{MISSING}; `edgewright toolchain install {toolchain.name}` brings it")
        elif health.words:
            broken.append(toolchain.name)
            again = f"edgewright toolchain remove {toolchain.name}` and `toolchain install {toolchain.name}"
            remedy = (
                "correct the environment that it is in" if health.place.own else f"`{again}` make it anew"
            )
            said = Text(f"{health.words} To mend it: {remedy}.", style=STYLES["bad"])
        else:
            said = Text(f"{health.place.version} works", style=STYLES["good"])
        console().print(Text(f"{toolchain.name:<18} ").append(said), soft_wrap=True)
    if broken:
        raise ToolchainFailedError(f"Broken: {', '.join(broken)}.")
    if names and missing:
        raise ToolchainMissingError(f"Not installed: {', '.join(missing)}.")


@app.command()
def remove(names: Names) -> None:
    """Remove toolchains' environments; the targets that need them are refused from then on."""
    from edgewright.controller.compiler.toolchains.installing import remove as remove_one
    from edgewright.controller.compiler.toolchains.table import find_toolchain

    for toolchain in [find_toolchain(name) for name in names]:
        was_there = remove_one(toolchain)
        console().print(
            f"{toolchain.name} {'was removed' if was_there else 'has no environment of its own'}."
        )


def _targets_of(name: str) -> list[str]:
    from edgewright.controller.compiler.targets import TARGETS

    return [target.name for target in TARGETS.values() if name in (target.environment, *target.needs)]


def _where(own: bool | None) -> str:
    match own:
        case None:
            return MISSING
        case True:
            return "beside the controller"
        case False:
            return "on its own"


def _progress() -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description:<18}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[said]:<32.32}"),
        TimeElapsedColumn(),
        console=console(),
        transient=True,
    )
