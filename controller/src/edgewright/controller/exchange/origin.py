"""The note beside a fetched model that says where it was fetched: ``imported.json`` in its folder.

``edgewright mlflow import`` writes it and ``edgewright push`` sends it along, so that the version's lineage
names the version there. It is no source file: it changes no artifact.
"""

from pathlib import Path
from typing import Final, Literal

import msgspec

from edgewright.controller.errors import ExchangeError

FILE: Final = "imported.json"


class Imported(msgspec.Struct, frozen=True, omit_defaults=True):
    """A version of another registry.

    Attributes:
        registry: which kind.
        address: scheme and host; no path and nobody's password.
        model, version, run: what it is called there.
        artifact_sha256: the file that was fetched.
        metrics, tags: what was said of it there.
    """

    registry: Literal["mlflow"]
    address: str
    model: str
    version: str
    run: str = ""
    artifact_sha256: str = ""
    metrics: dict[str, float] = {}
    tags: dict[str, str] = {}


def read_origin(folder: Path) -> Imported | None:
    """Where the model of a folder was fetched; None where it was not.

    Raises:
        ExchangeError: the note cannot be read.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=Imported)
    except (OSError, msgspec.DecodeError) as error:
        raise ExchangeError(f"{FILE} cannot be read: {error}.") from error


def write_origin(folder: Path, origin: Imported) -> None:
    """Leave the note.

    Raises:
        ExchangeError: it cannot be written.
    """
    try:
        (folder / FILE).write_bytes(msgspec.json.format(msgspec.json.encode(origin)) + b"\n")
    except OSError as error:
        raise ExchangeError(f"{FILE} cannot be written: {error.strerror}.") from error
