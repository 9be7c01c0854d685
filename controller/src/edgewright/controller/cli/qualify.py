"""``edgewright qualify``: have a version measured on devices, and see what they measured."""

import time
from typing import Annotated, Any, Final

import typer

from edgewright.controller.cli.client import Client, connect
from edgewright.controller.cli.naming import find_version
from edgewright.controller.cli.options import AsJson, Data, Url
from edgewright.controller.cli.output import console, print_json, print_table
from edgewright.controller.web.words import day, size

LIST: Final = "list"
LOOK_S: Final = 1.0
OPEN: Final = frozenset({"waiting", "ordered"})


def qualify(
    what: Annotated[str, typer.Argument(metavar="MODEL@VERSION|list", help="What to measure, or `list`.")],
    target: Annotated[str, typer.Option(help="One of its targets; all that have a device without it.")] = "",
    device: Annotated[
        list[str] | None,
        typer.Option(
            help="A device that takes part; may be repeated. Default: all whose token gave them qualify=yes."
        ),
    ] = None,
    minutes: Annotated[float, typer.Option(min=0.1, help="How long devices have.")] = 60.0,
    wait: Annotated[bool, typer.Option(help="Wait until all devices have answered.")] = True,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Have a released version measured on devices, or list what was measured."""
    with connect(url, data) as client:
        if what == LIST:
            _show(client.get("/qualifications"), as_json=as_json)
            return
        model, version = find_version(client, what)
        body = {"model": model, "version": version, "target": target, "devices": device or []}
        made = client.post("/qualifications", {**body, "limit_s": minutes * 60})
        orders = set(made["orders"])
        if not wait:
            console().print(
                f"{len(orders)} devices measure {model} v{version}; see `edgewright qualify list`."
            )
            return
        found = _of(client, model, version, orders)
        while any(row["state"] in OPEN for row in found):
            time.sleep(LOOK_S)
            found = _of(client, model, version, orders)
        _show(found, as_json=as_json)


def _of(client: Client, model: str, version: int, orders: set[int]) -> list[dict[str, Any]]:
    rows = client.get("/qualifications", model=model, version=version, limit=1000)
    return [row for row in rows if row["order_id"] in orders]


def _show(found: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    print_table(
        (
            "version",
            "target",
            "candidate",
            "device",
            "state",
            "p50 us>",
            "p99 us>",
            "MiB>",
            "size>",
            "when",
            "detail",
        ),
        (_row(row) for row in found),
        "Nothing was measured on devices yet.",
    )


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    result = row["result"]
    measured = result.get("latency_p50_us", 0) > 0
    return (
        f"{row['model']} v{row['version']}",
        row["target"],
        row["candidate"],
        row["device"],
        row["state"],
        str(result["latency_p50_us"]) if measured else "–",
        str(result["latency_p99_us"]) if measured else "–",
        f"{result['memory_mb']:.0f}" if measured else "–",
        size(row["size"]),
        day(row["finished_at"] or row["ordered_at"]),
        f"E{row['error']:03d} {row['detail']}" if row["error"] else row["detail"],
    )
