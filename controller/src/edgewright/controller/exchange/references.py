"""Names and addresses of another registry, read and made fit for ours. Pure; nothing is asked of anybody."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import parse_qsl, urlsplit

import msgspec

from edgewright.controller.errors import ExchangeError

MOST_CHARACTERS: Final = 63
"""Of a model's name; see model.toml."""

SECRET: Final = re.compile("pass|pwd|token|secret|credential", re.IGNORECASE)
"""Names of parameters of an address whose values are nobody's to read."""


class Reference(msgspec.Struct, frozen=True):
    """A version there: by an alias, by its number, or the newest where neither is named."""

    model: str
    alias: str = ""
    version: str = ""


def read_reference(text: str) -> Reference:
    """A model of another registry, with an alias or a version.

    Raises:
        ExchangeError: it names none.

    >>> read_reference("parcels@champion"), read_reference("parcels/7").version
    (Reference(model='parcels', alias='champion', version=''), '7')
    """
    found = re.fullmatch(r"([^/@:]+)(?:@([\w.-]+)|/(\d+))?", text)
    if found is None:
        raise ExchangeError(f"{text[:80]!r} names no version: write MODEL, MODEL@ALIAS or MODEL/VERSION.")
    return Reference(found[1], found[2] or "", found[3] or "")


def verify_tracking(address: str) -> None:
    """Refuse an address with a password in it: a command line is read by everybody on the machine.

    Raises:
        ExchangeError: it has one, or it is no address.
    """
    try:
        parts = urlsplit(address)
    except ValueError as error:
        raise ExchangeError(f"{address[:80]!r} is no address: {error}.") from error
    asked = (name for name, _ in parse_qsl(parts.query, keep_blank_values=True))
    if "@" in parts.netloc or any(SECRET.search(name) for name in asked):
        raise ExchangeError(
            "The address holds a password: give it by MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
        )


def verify_source(address: str, source: str) -> None:
    """Refuse files of this machine where a registry elsewhere says that a version lies in them.

    Args:
        address: of the registry.
        source: where it says that the version's files are.

    Raises:
        ExchangeError: it would have this machine's own files copied.

    >>> verify_source("https://ml.example", "s3://models/7"), verify_source("sqlite:///m.db", "/srv/mlruns/7")
    (None, None)
    """
    is_elsewhere = urlsplit(address).scheme in ("http", "https")
    if is_elsewhere and urlsplit(source).scheme in ("", "file"):
        raise ExchangeError(f"The registry says that the version lies in {source[:80]!r}, on this machine.")


def public_address(address: str) -> str:
    """What of an address may be written down: scheme, host and port; no path and nobody's password.

    >>> public_address("https://ada:secret@ml.example:5000/store?token=x"), public_address("sqlite:///a.db")
    ('https://ml.example:5000', 'sqlite')
    >>> public_address("mlruns")
    'file'
    """
    parts = urlsplit(address)
    scheme = parts.scheme if re.fullmatch(r"[a-z][a-z0-9+.-]*", parts.scheme) else "file"
    host = parts.netloc.rpartition("@")[2]
    return f"{scheme}://{host}" if host and re.fullmatch(r"[A-Za-z0-9.:\[\]-]+", host) else scheme


def own_name(name: str) -> str:
    """A name of ours for a model of theirs.

    >>> own_name("Parcels (EU)_v2"), own_name("---")
    ('parcels-eu-v2', 'model')
    """
    return re.sub(r"[^a-z0-9]+", "-", name.lower())[:MOST_CHARACTERS].strip("-") or "model"


def choose_file(names: Sequence[str]) -> str:
    """The ONNX file among the files of a version.

    Raises:
        ExchangeError: there is none, or more than one.
    """
    found = sorted(name for name in names if PurePosixPath(name).suffix == ".onnx")
    if len(found) != 1:
        listed = ", ".join(found) if found else ", ".join(sorted(names)[:5]) or "no file"
        raise ExchangeError(f"The version has to hold one ONNX file; it has {listed}.")
    return found[0]
