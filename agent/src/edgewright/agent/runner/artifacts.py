"""The files that belong to an artifact, read from the device's store.

An encrypted one becomes plaintext here, in the memory of the process that runs it, and nowhere else.
"""

from pathlib import Path

import msgspec

from edgewright.wire.encryption import Place
from edgewright.wire.errors import MalformedMessageError, RuntimeLoadError
from edgewright.wire.manifest import GoldenVectors, Manifest, decode_manifest


def read_manifest(path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        MalformedMessageError: it is none.
        RuntimeLoadError: the file cannot be read.
    """
    return decode_manifest(_read(path))


def open_artifact(path: Path, manifest: Manifest, content_key: bytes) -> Path | bytes:
    """The artifact as a runtime takes it: its file, or the bytes of an encrypted one.

    Raises:
        ConfidentialKeyError: it is encrypted, and the key is missing or another version's.
        RuntimeLoadError: the file cannot be read.
    """
    return path if manifest.encryption is None else _opened(path, manifest.place("artifact"), content_key)


def read_golden(path: Path, manifest: Manifest, content_key: bytes) -> GoldenVectors:
    """Read golden vectors.

    Raises:
        ConfidentialKeyError: they are encrypted, and the key is missing or another version's.
        MalformedMessageError: they are none.
        RuntimeLoadError: the file cannot be read.
    """
    encrypted = manifest.encryption is not None
    data = _opened(path, manifest.place("golden"), content_key) if encrypted else _read(path)
    try:
        return msgspec.msgpack.decode(data, type=GoldenVectors)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedMessageError(f"The golden vectors cannot be read: {error}.") from error


def _opened(path: Path, place: Place, content_key: bytes) -> bytes:
    # Imported here: a runner of an open model holds no cipher, and its environment needs none.
    try:
        from edgewright.agent.confidential import open_blob
    except ImportError as error:
        raise RuntimeLoadError(
            f"A confidential model needs the package cryptography beside its runtime: {error}."
        ) from error
    try:
        return open_blob(path, content_key, place)
    except OSError as error:
        raise RuntimeLoadError(f"The file {path.name} cannot be read: {error.strerror}.") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RuntimeLoadError(f"The file {path.name} cannot be read: {error.strerror}.") from error
