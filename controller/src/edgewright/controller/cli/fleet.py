"""Commands that look at the fleet: devices, targets, drift, events; and the enrolment token."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from edgewright.controller.cli.client import Client, connect
from edgewright.controller.cli.options import AsJson, Data, Reason, Url
from edgewright.controller.cli.output import STYLES, console, print_json, print_table, styled, version
from edgewright.controller.errors import ControllerUnreachableError, InvalidRequestError
from edgewright.controller.web.words import (
    FITS,
    NONE,
    Word,
    age,
    clock,
    day,
    deployment_word,
    event_tone,
    machine_text,
    percent,
)

ModelName = Annotated[str | None, typer.Argument(help="Name of the model; all models without it.")]


def devices(url: Url = None, data: Data = None, as_json: AsJson = False) -> None:
    """List the fleet: what each device runs and when it was last seen."""
    with connect(url, data) as client:
        found = client.get("/devices")
    if as_json:
        print_json(found)
        return
    now = time.time()
    print_table(
        ("device", "target", "fits", "state", "model", "version", "tags", "seen>"),
        (
            (
                d["id"],
                d["target"],
                styled(FITS[d["fits"]]),
                styled(_device_word(d)),
                d["active_model"] or "–",
                version(d["active_version"]),
                ", ".join(f"{key}={value}" for key, value in sorted(d["tags"].items())),
                age(d["last_seen"], now),
            )
            for d in found
        ),
        "No device is enrolled. Make a token with `edgewright token`.",
    )
    for d in found:
        for sentence in _device_notes(d):
            console().print(sentence, soft_wrap=True)


def _device_notes(device: dict[str, Any]) -> Iterator[str]:
    """What a person should know of a device beside its row."""
    name = device["id"]
    if device["suspicion"]:
        yield f"{name} is suspicious. {device['suspicion']}"
    if device["reasons"]:
        yield f"{name} is not what {device['target']} asks for: {'; '.join(device['reasons'])}."
    if device["better"]:
        yield device["better"]


def device(
    name: Annotated[str, typer.Argument(help="Its id.", metavar="DEVICE")],
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Show one device: what it is, what it runs, and whether it is what its target asks for."""
    with connect(url, data) as client:
        found = client.get(f"/devices/{name}")
    if as_json:
        print_json(found)
        return
    runs = f"{found['active_model']} {version(found['active_version'])}"
    said = {
        "state": _device_word(found).text,
        "target": f"{found['target']} (fits: {found['fits']})",
        "processor": machine_text(found["machine"], found["cpu"]),
        "memory": f"{found['memory_mb']} MiB" if found["memory_mb"] else "not told",
        "runtimes": ", ".join(found["runtimes"]) or found["runtime"] or "not told",
        "agent": found["agent_version"] or "not told",
        "runs": runs if found["active_version"] else "nothing",
    }
    print_table((name, ""), said.items(), "")
    for sentence in _device_notes(found):
        console().print(sentence, soft_wrap=True)


def _device_word(device: dict[str, Any]) -> Word:
    if device["revoked_at"]:
        return Word("revoked", "bad")
    if device["suspicion"]:
        return Word("suspicious", "bad")
    if not device["connected"]:
        return Word("offline", "warn") if device["last_seen"] else Word("never seen", "quiet")
    return deployment_word(device["state"])


def targets(url: Url = None, data: Data = None, as_json: AsJson = False) -> None:
    """List targets: what models can be compiled for, how many devices fit each, and what is not qualified.

    Where no controller answers, the shipped table is shown, or that of the data folder, without devices.
    """
    from edgewright.controller.targetrows import runtime_text

    rows = _target_rows(url, data)
    if as_json:
        print_json(rows)
        return
    shipped = [row for row in rows if row["qualified"]]
    print_table(
        ("target", "processor", "runtime", "precisions", "devices>", "fit>", "what"),
        (
            (
                f"{t['name']} (site)" if t["site"] else t["name"],
                machine_text(t["machine"], t["cpu"]),
                runtime_text(t["runtime"]),
                ", ".join(t["precisions"]),
                str(t.get("enrolled", NONE)),
                str(t.get("fitting", NONE)),
                t["summary"],
            )
            for t in shipped
        ),
        "There is none.",
    )
    for row in rows:
        if not row["qualified"]:
            console().print(f"{row['name']} is not yet qualified: {row['missing']}.", soft_wrap=True)


def _target_rows(url: str | None, data: Path | None) -> list[dict[str, Any]]:
    from edgewright.controller.compiler.targets import SHIPPED, site_table
    from edgewright.controller.targetrows import target_rows

    try:
        with connect(url, data) as client:
            rows: list[dict[str, Any]] = client.get("/targets")
            return rows
    except ControllerUnreachableError:
        if url:
            raise
    uncounted = target_rows(site_table(data) if data else SHIPPED, ())
    return [{k: v for k, v in row.items() if k not in {"enrolled", "fitting"}} for row in uncounted]


def drift(model: ModelName = None, url: Url = None, data: Data = None, as_json: AsJson = False) -> None:
    """Show present quality beside what was promised, the evidence, alarms and rebuilds."""
    with connect(url, data) as client:
        names = [model] if model else [found["name"] for found in client.get("/models")]
        found = [client.get(f"/drift/{name}") for name in names]
    if as_json:
        print_json(found)
        return
    for one in found:
        _print_drift(one)
    if not found:
        console().print("No model was pushed, so nothing is watched.")


def _print_drift(found: dict[str, Any]) -> None:
    console().print(Text.assemble((found["model"], "bold"), f" in the last {found['seconds']} s"))
    print_table(
        ("version", "mispacked>", "promised>", "of labelled>", "confidence>", "promised>", "evidence>"),
        (
            (
                version(v["version"]),
                percent(v["mispack_rate"]),
                percent(v["expected_mispack_rate"]),
                f"{v['wrong']} / {v['labelled']}",
                percent(v["confidence"]),
                percent(v["expected_confidence"]),
                f"{v['evidence']:.3g} of {v['threshold']:.3g}" if v["threshold"] else "–",
            )
            for v in found["versions"]
        ),
        "No telemetry yet.",
    )
    for alarm in found["alarms"]:
        closed = f"closed {day(alarm['closed_at'])}" if alarm["closed_at"] else ("open", "red")
        head = f"alarm {alarm['id']}, {day(alarm['raised_at'])}, "
        console().print(Text.assemble(head, closed, f": {alarm['sentence']}"))
    for rebuild in found["rebuilds"]:
        result = f", made v{rebuild['new_version']}" if rebuild["new_version"] else ""
        console().print(f"rebuild {rebuild['id']}, {day(rebuild['queued_at'])}, {rebuild['state']}{result}")


def events(
    follow: Annotated[bool, typer.Option(help="Keep printing what happens.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many of the newest.")] = 20,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Print what happened, oldest first."""
    with connect(url, data) as client:
        found = list(reversed(client.get("/events", limit=limit)))
        if as_json:
            print_json(found)
            return
        _print_events(found)
        if follow:
            _follow(client, found[-1]["id"] if found else 0)


def _follow(client: Client, last: int) -> None:
    while True:
        found = client.get("/events", after=last) if last else list(reversed(client.get("/events", limit=1)))
        _print_events(found)
        last = found[-1]["id"] if found else last
        time.sleep(1)


def _print_events(found: list[dict[str, Any]]) -> None:
    for event in found:
        line = Text(f"{clock(event['at'])}  ", style="dim")
        line.append(event["sentence"], style=STYLES[event_tone(event["kind"])])
        console().print(line)


def token(
    device: Annotated[str, typer.Option(metavar="ID", help="The only device that can enrol with it.")] = "",
    tag: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Tag that the device gets; may be repeated."),
    ] = None,
    life: Annotated[float, typer.Option(min=1, help="Seconds until it is too old.")] = 3600.0,
    url: Url = None,
    data: Data = None,
) -> None:
    """Make a one-time enrolment token for a device and print it."""
    tags = dict(read_tag(text) for text in tag or ())
    with connect(url, data) as client:
        made = client.post("/tokens", {"life_s": life, "device": device, "tags": tags})
        console().print(made["token"], soft_wrap=True)


def read_tag(text: str) -> tuple[str, str]:
    """Key and value of a tag as people write it.

    Raises:
        InvalidRequestError: it is none.

    >>> read_tag("line=a")
    ('line', 'a')
    """
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise InvalidRequestError(f"The tag {text!r} is not of the form key=value.")
    return key, value


def revoke(
    device: Annotated[str, typer.Argument(help="Its id.")],
    reason: Reason = "",
    url: Url = None,
    data: Data = None,
) -> None:
    """Revoke a device: its connection ends, and it cannot come back without a new token."""
    with connect(url, data) as client:
        client.post(f"/devices/{device}/revoke", {"reason": reason})
    console().print(f"{device} is revoked.")


def trust(
    device: Annotated[str, typer.Argument(help="Its id.")],
    reason: Reason = "",
    url: Url = None,
    data: Data = None,
) -> None:
    """Trust a suspicious device again, after a look at it."""
    with connect(url, data) as client:
        client.post(f"/devices/{device}/trust", {"reason": reason})
    console().print(f"{device} is trusted again.")
