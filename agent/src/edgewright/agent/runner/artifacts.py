"""The files that belong to an artifact, read from the device's store."""

from pathlib import Path

import msgspec

from edgewright.wire.errors import MalformedMessageError, RuntimeLoadError
from edgewright.wire.manifest import GoldenVectors, Manifest, decode_manifest


def read_manifest(path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        MalformedMessageError: it is none.
        RuntimeLoadError: the file cannot be read.
    """
    return decode_manifest(_read(path))


def read_golden(path: Path) -> GoldenVectors:
    """Read golden vectors.

    Raises:
        MalformedMessageError: they are none.
        RuntimeLoadError: the file cannot be read.
    """
    try:
        return msgspec.msgpack.decode(_read(path), type=GoldenVectors)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedMessageError(f"The golden vectors cannot be read: {error}.") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RuntimeLoadError(f"The file {path.name} cannot be read: {error.strerror}.") from error
