"""``edgewright rollout ...``: start and steer rollouts."""

import re
from typing import Annotated, Any

import typer
from rich.text import Text

from edgewright.controller.cli.client import connect
from edgewright.controller.cli.naming import find_version
from edgewright.controller.cli.options import AsJson, Data, Reason, Url
from edgewright.controller.cli.output import console, print_json, print_table, styled, version
from edgewright.controller.errors import InvalidRequestError
from edgewright.controller.web.words import day, deployment_word, duration, rollout_word, size

app = typer.Typer(no_args_is_help=True, help="Start and steer rollouts.")

Number = Annotated[int, typer.Argument(help="Number of the rollout.")]
_WAVE = re.compile(r"(?P<size>\d+(?:\.\d+)?%|\d+|all)(?::(?P<gate>install|quality))?(?::(?P<soak>\d+)s)?")


def read_wave(text: str) -> dict[str, Any]:
    """A wave as people write it: ``SIZE[:GATE][:SECONDSs]``, for example ``1:quality``, ``10%:install:60s``.

    Raises:
        InvalidRequestError: it is none.

    >>> read_wave("10%:quality:60s")
    {'name': '10%', 'percent': 10.0, 'gate': 'quality', 'soak_s': 60.0}
    """
    match = _WAVE.fullmatch(text)
    if match is None:
        raise InvalidRequestError(
            f"{text!r} is no wave: write SIZE[:install|quality][:SECONDSs], SIZE as 1, 10% or all."
        )
    wave: dict[str, Any] = {"name": match["size"]}
    if match["size"].endswith("%"):
        wave["percent"] = float(match["size"][:-1])
    elif match["size"] != "all":
        wave["count"] = int(match["size"])
    return {**wave, "gate": match["gate"] or "install", "soak_s": float(match["soak"] or 0)}


@app.command()
def create(
    model: Annotated[
        str, typer.Argument(metavar="MODEL[@VERSION]", help="For example garment-packing@challenger.")
    ],
    number: Annotated[
        str, typer.Argument(metavar="[VERSION]", help="Version or alias, where the model is named alone.")
    ] = "",
    selector: Annotated[
        str, typer.Option(help="Which devices, for example 'site=lyon, line in (a, b)'.")
    ] = "",
    wave: Annotated[
        list[str] | None,
        typer.Option(help="A wave as SIZE[:install|quality][:SECONDSs]; repeat it. Default: 1, then all."),
    ] = None,
    reason: Reason = "",
    url: Url = None,
    data: Data = None,
) -> None:
    """Roll a version out."""
    release = f"{model}@{number}" if number else model
    body: dict[str, Any] = {"selector": selector, "reason": reason}
    if wave:
        body["waves"] = [read_wave(text) for text in wave]
    with connect(url, data) as client:
        name, found = find_version(client, release)
        made = client.post("/rollouts", {**body, "model": name, "version": found})
    console().print(f"Rollout {made['id']} of {name} v{found} has begun.")


@app.command("list")
def list_rollouts(url: Url = None, data: Data = None, as_json: AsJson = False) -> None:
    """List rollouts, newest first."""
    with connect(url, data) as client:
        found = client.get("/rollouts")
    if as_json:
        print_json(found)
        return
    print_table(
        ("rollout", "model", "version", "state", "wave", "begun", "reason"),
        (
            (
                str(r["id"]),
                r["model"],
                version(r["version"]),
                styled(rollout_word(r["state"])),
                f"{r['wave'] + 1} of {len(r['waves'])}",
                day(r["created_at"]),
                r["reason"],
            )
            for r in found
        ),
        "Nothing was rolled out yet.",
    )


@app.command()
def show(number: Number, url: Url = None, data: Data = None, as_json: AsJson = False) -> None:
    """Show a rollout, wave by wave and device by device."""
    with connect(url, data) as client:
        found = client.get(f"/rollouts/{number}")
    if as_json:
        print_json(found)
        return
    head = Text(f"Rollout {number} of {found['model']} v{found['version']}: ")
    head.append(styled(rollout_word(found["state"])))
    head.append(f". {found['reason']}" if found["reason"] else "")
    console().print(head)
    if found["gate"].get("sentence"):
        console().print(f"gate: {found['gate']['sentence']}")
    print_table(
        ("device", "wave", "state", "before", "took>", "fetched>", "detail"),
        (
            (
                d["device"],
                str(found["waves"][d["wave"]].get("name", d["wave"] + 1)),
                styled(deployment_word(d["state"])),
                version(d["previous_version"]),
                duration(d["updated_at"] - d["assigned_at"]) if d["updated_at"] and d["assigned_at"] else "–",
                size(d["fetched_bytes"]) if d["fetched_bytes"] else "–",
                f"E{d['error']:03d} {d['name']}: {d['detail']}" if d["error"] else d["detail"],
            )
            for d in found["devices"]
        ),
        "It has no device.",
    )
    for left in found["left_out"]:
        console().print(f"left out: {left['device']}: {left['reason']}", soft_wrap=True)


@app.command()
def pause(number: Number, reason: Reason = "", url: Url = None, data: Data = None) -> None:
    """Hold a rollout: devices that have their assignment finish."""
    with connect(url, data) as client:
        client.post(f"/rollouts/{number}/pause", {"reason": reason})
    console().print(f"Rollout {number} is paused.")


@app.command()
def resume(number: Number, url: Url = None, data: Data = None) -> None:
    """Go on with a held rollout."""
    with connect(url, data) as client:
        client.post(f"/rollouts/{number}/resume", {})
    console().print(f"Rollout {number} goes on.")


@app.command()
def abort(number: Number, reason: Reason = "", url: Url = None, data: Data = None) -> None:
    """End a rollout: devices on their way go back to what they ran."""
    with connect(url, data) as client:
        client.post(f"/rollouts/{number}/abort", {"reason": reason})
    console().print(f"Rollout {number} is stopped.")


@app.command()
def rollback(number: Number, url: Url = None, data: Data = None) -> None:
    """Send a rollout's devices back to what they ran before it."""
    with connect(url, data) as client:
        made = client.post(f"/rollouts/{number}/rollback", {})
    console().print(f"Rollout {made['id']} takes the devices back.")
