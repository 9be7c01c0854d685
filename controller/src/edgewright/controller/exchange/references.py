"""Names and addresses of another registry, read and made fit for ours. Pure; nothing is asked of anybody."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import urlsplit

import msgspec

from edgewright.controller.errors import ExchangeError

MOST_CHARACTERS: Final = 63
"""Of a model's name; see model.toml."""


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
        ExchangeError: it has one.
    """
    if "@" in urlsplit(address).netloc:
        raise ExchangeError(
            "The address holds a password: give it by MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
        )


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
