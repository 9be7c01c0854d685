"""``edgewright rebuild ...``: start, approve and end rebuilds, and hold their runs side by side."""

from typing import Annotated, Any

import typer

from edgewright.controller.cli.client import connect
from edgewright.controller.cli.compare import comparison_table
from edgewright.controller.cli.naming import read_name
from edgewright.controller.cli.options import AsJson, Data, Reason, Url
from edgewright.controller.cli.output import console, print_json, print_table, version
from edgewright.controller.errors import InvalidRequestError
from edgewright.controller.web.words import NONE, day, duration, percent

app = typer.Typer(no_args_is_help=True, help="Start, approve and end rebuilds, and compare their runs.")

Number = Annotated[int, typer.Argument(help="Number of the rebuild.")]


@app.command()
def start(
    model: Annotated[
        str, typer.Argument(metavar="MODEL[@VERSION]", help="A version or alias to start from may follow.")
    ],
    reason: Reason = "",
    url: Url = None,
    data: Data = None,
) -> None:
    """Ask for a rebuild; it does not wait for the cooldown."""
    name, word = read_name(model) if "@" in model else (model, "0")
    base: int | str = int(word) if word.isdecimal() else word
    body = {"reason": reason, "from_version": base, "in_person": True}
    with connect(url, data) as client:
        made = client.post(f"/models/{name}/rebuilds", body)
    console().print(f"Rebuild {made['id']} of {name} is under way.")


@app.command("list")
def list_rebuilds(
    model: Annotated[str, typer.Argument(help="A model; all where none is named.")] = "",
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """List rebuilds, newest first."""
    with connect(url, data) as client:
        found = client.get("/rebuilds", model=model)
    if as_json:
        print_json(found)
        return
    print_table(
        ("rebuild", "model", "from", "to", "asked by", "state", "asked", "detail"),
        (
            (
                str(r["id"]),
                r["model"],
                version(r["from_version"]),
                version(r["new_version"]) if r["new_version"] else NONE,
                _asked_by(r),
                r["state"],
                day(r["queued_at"]),
                r["detail"] or r["cause"],
            )
            for r in found
        ),
        "Nothing was rebuilt yet.",
    )


@app.command()
def show(number: Number, url: Url = None, data: Data = None, as_json: AsJson = False) -> None:
    """Show a rebuild with its runs."""
    with connect(url, data) as client:
        found = client.get(f"/rebuilds/{number}")
    if as_json:
        print_json(found)
        return
    head = f"Rebuild {number} of {found['model']} v{found['from_version']}, asked by {_asked_by(found)}: "
    console().print(f"{head}{found['state']}. {found['cause']}", soft_wrap=True)
    if found["detail"]:
        console().print(found["detail"], soft_wrap=True)
    for source, why in found["gates"].get("set_aside", {}).items():
        console().print(f"set aside: {source}: {why}", soft_wrap=True)
    print_table(
        ("run", "rung", "attempt", "outcome", "fresh>", "old>", "took>", "said"),
        (
            (
                str(run["id"]),
                run["rung"],
                str(run["attempt"]),
                run["outcome"] or "under way",
                _share(run, "fresh_accuracy"),
                _share(run, "old_accuracy"),
                duration(run["metrics"]["took_s"]) if "took_s" in run["metrics"] else NONE,
                run["detail"],
            )
            for run in found["runs"]
        ),
        "No rung was tried yet.",
    )


@app.command()
def approve(number: Number, reason: Reason = "", url: Url = None, data: Data = None) -> None:
    """Let a rebuild that waits for a person go to the line."""
    with connect(url, data) as client:
        client.post(f"/rebuilds/{number}/approve", {"reason": reason})
    console().print(f"Rebuild {number} is approved.")


@app.command()
def cancel(number: Number, reason: Reason = "", url: Url = None, data: Data = None) -> None:
    """End a rebuild that has not gone to the line."""
    with connect(url, data) as client:
        client.post(f"/rebuilds/{number}/cancel", {"reason": reason})
    console().print(f"Rebuild {number} is cancelled.")


@app.command()
def compare(
    runs: Annotated[list[int], typer.Argument(metavar="RUN RUN...", help="Numbers of runs; see show.")],
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Hold runs side by side: parameters, metrics and artifacts; the first is the base."""
    if len(runs) < 2:
        raise InvalidRequestError("Name two runs or more.")
    with connect(url, data) as client:
        found = client.get("/rebuild-runs/compare", runs=",".join(map(str, runs)))
    if as_json:
        print_json(found)
        return
    console().print(comparison_table(found["model"], [f"run {n}" for n in found["runs"]], found["sections"]))


def _asked_by(rebuild: dict[str, Any]) -> str:
    """What asked, and who, where somebody did; an older row does not say."""
    trigger = rebuild["trigger"] or ("harm" if rebuild["alarm"] else "")
    return f"{trigger}, {rebuild['asked_by']}" if rebuild["asked_by"] else trigger or NONE


def _share(run: dict[str, Any], name: str) -> str:
    return percent(run["metrics"][name]) if name in run["metrics"] else NONE
