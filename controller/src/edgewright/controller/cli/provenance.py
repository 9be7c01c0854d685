"""``edgewright provenance``, ``export`` and ``verify``: where a version comes from, and proof of it."""

import base64
import binascii
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import typer
from rich.text import Text

from edgewright.controller.cli.client import Client, connect
from edgewright.controller.cli.naming import find_version
from edgewright.controller.cli.options import AsJson, Data, Url
from edgewright.controller.cli.output import console, print_json
from edgewright.controller.errors import InvalidRequestError, ProvenanceError

Release = Annotated[str, typer.Argument(help="Model and version or alias, for example garment-packing@3.")]

_ABOUT_COLUMNS = 13


def provenance(release: Release, url: Url = None, data: Data = None, as_json: AsJson = False) -> None:
    """Tell which data, recipe, compilers and gates made a version, and who signed."""
    with connect(url, data) as client:
        model, number = find_version(client, release)
        found = client.get(f"/models/{model}/versions/{number}/provenance")
    if as_json:
        print_json(found)
        return
    for target in found["targets"]:
        console().print(Text(f"{model} v{number} for {target['target']}", style="bold"))
        _print_told((line["about"], line["said"]) for line in target["told"])


def export(
    release: Release,
    target: Annotated[str, typer.Option(help="Target of the artifact, as `edgewright targets` lists them.")],
    out: Annotated[Path, typer.Option(help="Folder to make; it must not exist yet.")],
    url: Url = None,
    data: Data = None,
) -> None:
    """Write an artifact with its proofs into a folder that `edgewright verify` checks anywhere."""
    with connect(url, data) as client:
        model, number = find_version(client, release)
        found = client.get(f"/models/{model}/versions/{number}/export/{target}")
        _write_export(client, f"/models/{model}/versions/{number}/artifact/{target}", found, out)
    console().print(f"{model} v{number} for {target} lies in {out}, {len(found['files']) + 1} files.")
    if "model.sig" not in found["files"]:
        missing = "It has no OpenSSF signature: the controller lacks edgewright-controller[signing]."
        console().print(missing, soft_wrap=True)


def verify(
    artifact: Annotated[Path, typer.Argument(help="An exported folder, or the artifact file in it.")],
    bundle: Annotated[
        Path | None, typer.Option(help="The signed statements, where they do not lie in the export.")
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="A root of the image repository that you trust already.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check an exported artifact offline: metadata, digests, signatures and gates."""
    from edgewright.controller.provenance.verification import verify_artifact
    from edgewright.controller.provenance.words import tell

    checked = verify_artifact(artifact, bundle, root)
    manifest = checked.manifest
    if as_json:
        statements = {"provenance": checked.told.provenance, "tests": checked.told.tests}
        named = {"model": manifest.model, "version": manifest.version, "target": manifest.target}
        trust = {"root_sha256": checked.root_sha256, "root_given": checked.root_given}
        print_json({**named, **trust, "model_signature": checked.model_signature, **statements})
        return
    title = f"{manifest.model} v{manifest.version} for {manifest.target} is what was signed."
    console().print(Text(title, style="bold green"))
    _print_told((line.about, line.said) for line in tell(checked.told, manifest.build_key))
    _print_told(_trust(checked))


def _trust(checked: Any) -> Sequence[tuple[str, str]]:
    where = "the one you named" if checked.root_given else "the export's own: compare it with one you trust"
    signature = "verified" if checked.model_signature else "none in the export"
    return (
        ("Root", f"{where}, SHA-256 {checked.root_sha256}"),
        ("OpenSSF", signature),
        (
            "Withdrawn",
            f"not when the metadata was signed, which was fresh until {checked.fresh_until:%Y-%m-%d}",
        ),
    )


def _print_told(lines: Iterable[tuple[str, str]]) -> None:
    for about, said in lines:
        console().print(Text.assemble((f"  {about:<{_ABOUT_COLUMNS}}", "dim"), said), soft_wrap=True)


def _write_export(client: Client, address: str, found: dict[str, Any], out: Path) -> None:
    try:
        out.mkdir(parents=True)
        for name, content in found["files"].items():
            _inside(out, name).write_bytes(base64.b64decode(content, validate=True))
        digest = hashlib.sha256()
        with _inside(out, found["artifact_file"]).open("wb") as file:
            for part in client.download(address):
                digest.update(part)
                file.write(part)
    except FileExistsError as error:
        raise InvalidRequestError(f"{out} exists already.") from error
    except OSError as error:
        raise InvalidRequestError(f"{out} cannot be written: {error.strerror}.") from error
    except binascii.Error as error:
        raise ProvenanceError("The controller sent an export that cannot be read.") from error
    if digest.hexdigest() != found["artifact_sha256"]:
        raise ProvenanceError("The artifact that came is not the one that the controller named.")


def _inside(folder: Path, name: str) -> Path:
    """A file of the export; a name that leaves the folder is refused."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ProvenanceError(f"The controller sent a file with the name {name[:80]!r}.")
    place = folder / path
    place.parent.mkdir(parents=True, exist_ok=True)
    return place
