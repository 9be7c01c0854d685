"""``edgewright push``: a model folder becomes a version, and at a word goes to the fleet.

The folder is read and checked here first, so that a wrong path costs no upload. A file whose blob the
controller has is not sent again.
"""

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from edgewright.controller.cli.client import PART_BYTES, Client, RefusedError, connect
from edgewright.controller.cli.options import Data, Url
from edgewright.controller.cli.output import console
from edgewright.controller.cli.rollouts import read_wave
from edgewright.controller.errors import NotAModelError, RolloutStateError, VersionNotReadyError
from edgewright.controller.exchange.origin import read_origin
from edgewright.controller.model_toml import locate_model, read_model, source_files
from edgewright.controller.web.words import size

POLL_S: Final = 0.3


def push(
    path: Annotated[Path, typer.Argument(help="Model folder, its model.toml or its ONNX file.")],
    rollout: Annotated[
        bool, typer.Option("--rollout", help="Roll the version out when it is built.")
    ] = False,
    selector: Annotated[str, typer.Option(help="With --rollout: which devices.")] = "",
    wave: Annotated[list[str] | None, typer.Option(help="With --rollout: as in `rollout create`.")] = None,
    run: Annotated[str, typer.Option(help="What made it, for its lineage: a run, or a revision.")] = "",
    note: Annotated[str, typer.Option(help="A remark for its lineage.")] = "",
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the build, and for the rollout's end.")
    ] = False,
    url: Url = None,
    data: Data = None,
) -> None:
    """Push a model: upload it, have it built and, with --rollout, bring it to the fleet."""
    folder = locate_model(path)
    spec = read_model(folder)
    files = source_files(folder, spec)
    waves = [read_wave(text) for text in wave or []]
    name = spec.model.name
    origin = read_origin(folder)
    told = {"run": run, "note": note, "imported_from": msgspec.to_builtins(origin) if origin else None}
    with connect(url, data) as client, _progress() as progress:
        digests = _upload(client, files, progress)
        number = client.post(f"/models/{name}/versions", {"files": digests, **told})["version"]
        progress.console.print(f"{name} v{number} was pushed.")
        if not (wait or rollout):
            return
        _await_build(client, name, number, progress)
        if not rollout:
            return
        body: dict[str, Any] = {"model": name, "version": number, "selector": selector}
        made = client.post("/rollouts", {**body, "waves": waves} if waves else body)["id"]
        progress.console.print(f"Rollout {made} of {name} v{number} has begun.")
        if wait:
            _await_rollout(client, made, progress)


def _progress() -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description:<10}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[said]}"),
        TimeElapsedColumn(),
        console=console(),
    )


def _upload(client: Client, files: dict[str, Path], progress: Progress) -> dict[str, str]:
    """Upload what the controller lacks; returns path in the folder to SHA-256."""
    total = sum(path.stat().st_size for path in files.values())
    task = progress.add_task("upload", total=total, said=size(total))
    digests = {}
    for name, path in files.items():
        digests[name] = _digest(path)
        length = path.stat().st_size
        if client.has_blob(digests[name]):
            progress.advance(task, length)
        else:
            client.put_blob(digests[name], _parts(path, progress, task), length)
    return digests


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise NotAModelError(f"{path.name} cannot be read: {error.strerror}.") from error


def _parts(path: Path, progress: Progress, task: TaskID) -> Iterator[bytes]:
    with path.open("rb") as file:
        while part := file.read(PART_BYTES):
            yield part
            progress.advance(task, len(part))


def _await_build(client: Client, model: str, number: int, progress: Progress) -> None:
    """Wait until the version is ready; say whose signatures it waits for.

    Raises:
        RefusedError: it could not be built; the controller's number says why.
    """
    task = progress.add_task("build", total=None, said="compiling and proving")
    waits = ""
    while True:
        found = client.get(f"/models/{model}/versions/{number}")
        if found["state"] == "failed":
            raise RefusedError(found["error"] or 1, found["detail"], "Push a corrected model.")
        if found["state"] == "withdrawn":
            raise VersionNotReadyError(f"{model} v{number} was withdrawn before it was ready.")
        if found["state"] == "ready":
            break
        if found["state"] == "signing" and found["detail"] != waits:
            waits = found["detail"]
            progress.update(task, description="sign", said="waits for signatures")
            progress.console.print(f"{model} v{number} is compiled. {waits}", soft_wrap=True)
        time.sleep(POLL_S)
    progress.update(task, total=1, completed=1, said=f"{len(found['artifacts'])} targets")
    if found["detail"]:
        progress.console.print(f"{model} v{number}: {found['detail']}", soft_wrap=True)
    for artifact in found["artifacts"]:
        length = size(artifact["artifact_length"])
        progress.console.print(f"{artifact['target']}: {artifact['precision']}, {length}")


def _await_rollout(client: Client, number: int, progress: Progress) -> None:
    """Wait until the rollout has ended.

    Raises:
        RolloutStateError: it did not reach its end.
    """
    task = progress.add_task("rollout", total=None, said="")
    while True:
        found = client.get(f"/rollouts/{number}")
        done = sum(device["state"] == "committed" for device in found["devices"])
        total = len(found["devices"])
        progress.update(task, total=total, completed=done, said=f"{done} of {total} devices")
        if found["state"] == "finished":
            return
        if found["state"] != "running":
            raise RolloutStateError(f"Rollout {number} is {found['state']}: {found['reason']}")
        time.sleep(POLL_S)
