"""``edgewright mlflow ...``: fetch a model from MLflow's registry, and register a version of ours there."""

import hashlib
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from edgewright.controller.cli.client import Client, connect
from edgewright.controller.cli.naming import find_version
from edgewright.controller.cli.options import Data, Url
from edgewright.controller.cli.output import console
from edgewright.controller.errors import ExchangeError
from edgewright.controller.exchange.mlflow_registry import Fetched, MlflowRegistry, Registration
from edgewright.controller.exchange.onnxfile import read_whole
from edgewright.controller.exchange.origin import FILE, Imported, write_origin
from edgewright.controller.exchange.references import (
    choose_file,
    own_name,
    public_address,
    read_reference,
    verify_tracking,
)
from edgewright.controller.model_toml import CARD_NAME

app = typer.Typer(no_args_is_help=True, help="Fetch models from MLflow's registry, and register ours there.")

Tracking = Annotated[
    str,
    typer.Option(
        envvar="MLFLOW_TRACKING_URI",
        show_envvar=False,
        help="MLflow's address, for example https://mlflow.plant:5000; else MLFLOW_TRACKING_URI.",
    ),
]
NAME = "edgewright.model"
NUMBER = "edgewright.version"


@app.command("import")
def import_model(
    model: Annotated[
        str, typer.Argument(metavar="MODEL[@ALIAS|/VERSION]", help="For example parcels@champion.")
    ],
    tracking: Tracking,
    out: Annotated[Path, typer.Option(help="Folder to make; it must not exist yet.")],
) -> None:
    """Fetch a registered ONNX model with what is said of it into a new folder, for `edgewright init`."""
    wanted = read_reference(model)
    verify_tracking(tracking)
    if out.exists():
        raise ExchangeError(f"{out} exists already.")
    with tempfile.TemporaryDirectory(prefix="edgewright-mlflow-") as place:
        fetched = MlflowRegistry(tracking).fetch(wanted, Path(place))
        data = read_whole(fetched.files[choose_file(list(fetched.files))])
    file = f"{own_name(fetched.model)}.onnx"
    _write_folder(out, file, data, fetched, public_address(tracking))
    said = console()
    said.print(f"{fetched.model} version {fetched.version} lies in {out}, with {FILE}.", soft_wrap=True)
    said.print(f"Next: edgewright init {out / file}", soft_wrap=True)


@app.command("export")
def export_model(
    release: Annotated[
        str, typer.Argument(metavar="MODEL@VERSION", help="For example garment-packing@champion.")
    ],
    tracking: Tracking,
    name: Annotated[str, typer.Option(help="Name of the registered model; else the model's own.")] = "",
    url: Url = None,
    data: Data = None,
) -> None:
    """Register a version with its artifacts, figures, aliases and model card; once, however often asked."""
    verify_tracking(tracking)
    with connect(url, data) as client, tempfile.TemporaryDirectory(prefix="edgewright-mlflow-") as place:
        model, number = find_version(client, release)
        registration = _registration(client, model, number, name or model, Path(place))
        made, is_new = MlflowRegistry(tracking).register(registration)
    how = "is registered as" if is_new else "was registered before as"
    aliases = f", {', '.join(registration.aliases)}" if registration.aliases else ""
    console().print(f"{model} v{number} {how} {registration.model} version {made}{aliases}.", soft_wrap=True)


def _write_folder(out: Path, file: str, data: bytes, fetched: Fetched, address: str) -> None:
    digest = hashlib.sha256(data).hexdigest()
    origin = Imported(
        registry="mlflow",
        address=address,
        model=fetched.model,
        version=fetched.version,
        run=fetched.run,
        artifact_sha256=digest,
        metrics=fetched.metrics,
        tags=fetched.tags,
    )
    try:
        out.mkdir(parents=True)
        (out / file).write_bytes(data)
        if fetched.description:
            (out / CARD_NAME).write_text(fetched.description)
    except OSError as error:
        raise ExchangeError(f"{out} cannot be written: {error.strerror}.") from error
    write_origin(out, origin)


def _registration(client: Client, model: str, number: int, name: str, folder: Path) -> Registration:
    """What shall stand there; its files are written into ``folder``."""
    found = client.get(f"/models/{model}/versions/{number}")
    if found["state"] != "ready":
        raise ExchangeError(f"{model} v{number} is {found['state']}: only a version that is ready goes out.")
    if any(artifact["confidential"] for artifact in found["artifacts"]):
        raise ExchangeError(f"{model} is confidential: its artifacts leave the controller encrypted only.")
    for artifact in found["artifacts"]:
        _fetch_artifact(client, found, artifact, folder)
    card = b""
    if found["card_sha256"]:
        card = b"".join(client.download(f"/models/{model}/versions/{number}/card"))
        (folder / "card.md").write_bytes(card)
    aliases = client.get(f"/models/{model}/aliases")
    return Registration(
        model=name,
        description=card.decode(errors="replace") or f"{model} v{number}, compiled by Edgewright.",
        folder=folder,
        identity={NAME: model, NUMBER: str(number)},
        tags=_tags(found),
        metrics=_metrics(found),
        aliases=tuple(alias["name"] for alias in aliases if alias["version"] == number),
    )


def _fetch_artifact(client: Client, found: dict[str, Any], artifact: dict[str, Any], folder: Path) -> None:
    target, digest = artifact["target"], hashlib.sha256()
    place = folder / target / f"model.{artifact['format']}"
    place.parent.mkdir()
    with place.open("wb") as file:
        for part in client.download(
            f"/models/{found['model']}/versions/{found['version']}/artifact/{target}"
        ):
            digest.update(part)
            file.write(part)
    if digest.hexdigest() != artifact["artifact_sha256"]:
        raise ExchangeError(f"The artifact for {target} that came is not the one that was named.")


def _tags(found: dict[str, Any]) -> dict[str, str]:
    tags = {"edgewright.source": found["source"], "edgewright.labels": ", ".join(found["labels"])[:256]}
    if found["parent"]:
        tags["edgewright.parent"] = str(found["parent"])
    if run := found["lineage"].get("imported_from", {}).get("run"):
        tags["edgewright.imported_run"] = run
    for artifact in found["artifacts"]:
        tags[f"edgewright.precision.{artifact['target']}"] = artifact["precision"]
        tags[f"edgewright.sha256.{artifact['target']}"] = artifact["artifact_sha256"]
    return tags


def _metrics(found: dict[str, Any]) -> dict[str, float]:
    metrics: dict[str, float] = dict(found["metrics"])
    for artifact in found["artifacts"]:
        numbers = {"length": float(artifact["artifact_length"]), **artifact["numbers"]}
        metrics |= {f"{artifact['target']}.{key}": value for key, value in numbers.items()}
    return metrics
