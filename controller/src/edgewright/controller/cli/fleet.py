"""Commands that look at the fleet: devices, targets, drift, events; and the enrolment token."""

import time
from typing import Annotated, Any

import typer
from rich.text import Text

from edgewright.controller.cli.client import Client, connect
from edgewright.controller.cli.options import AsJson, Data, Reason, Url
from edgewright.controller.cli.output import STYLES, console, print_json, print_table, styled, version
from edgewright.controller.errors import InvalidRequestError
from edgewright.controller.web.words import (
    Word,
    age,
    clock,
    day,
    deployment_word,
    event_tone,
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
        ("device", "target", "state", "model", "version", "tags", "seen>"),
        (
            (
                d["id"],
                d["target"],
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
        if d["suspicion"]:
            console().print(f"{d['id']} is suspicious. {d['suspicion']}", soft_wrap=True)


def _device_word(device: dict[str, Any]) -> Word:
    if device["revoked_at"]:
        return Word("revoked", "bad")
    if device["suspicion"]:
        return Word("suspicious", "bad")
    if not device["connected"]:
        return Word("offline", "warn") if device["last_seen"] else Word("never seen", "quiet")
    return deployment_word(device["state"])


def targets(as_json: AsJson = False) -> None:
    """List the device targets that models can be compiled for."""
    from edgewright.controller.compiler.targets import TARGETS

    rows = [
        {"name": t.name, "runtime": t.runtime.name, "precisions": list(t.precisions), "summary": t.summary}
        for t in TARGETS.values()
    ]
    if as_json:
        print_json(rows)
        return
    print_table(
        ("target", "runtime", "precisions", "what"),
        ((t.name, t.runtime.name, ", ".join(t.precisions), t.summary) for t in TARGETS.values()),
        "There is none.",
    )


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
