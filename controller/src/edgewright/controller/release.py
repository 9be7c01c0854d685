"""What a release puts on the broker: its manifest, its blobs and where each of their chunks lies on disk."""

from collections.abc import Mapping
from typing import NamedTuple

from edgewright.wire.manifest import CHUNK_BYTES, decode_manifest


class Place(NamedTuple):
    """Where a chunk's bytes are, in bytes."""

    blob: str
    offset: int
    length: int


class Release(NamedTuple):
    """One manifest with all that it names.

    Attributes:
        manifest: its SHA-256.
        blobs: SHA-256 of each blob, the manifest's own among them, to its length in bytes.
        places: SHA-256 of each chunk to where it lies.
    """

    manifest: str
    blobs: Mapping[str, int]
    places: Mapping[str, Place]


def read_release(sha256: str, raw: bytes) -> Release:
    """The release of a manifest.

    Raises:
        MalformedMessageError: the bytes are no manifest.
    """
    manifest = decode_manifest(raw)
    patches = (*manifest.patches, *manifest.golden_patches)
    blobs = {sha256: len(raw)}
    places = {sha256: Place(sha256, 0, len(raw))}
    for blob in (manifest.artifact, manifest.golden, *(patch.blob for patch in patches)):
        blobs[blob.sha256] = blob.length
        for index, chunk in enumerate(blob.chunks):
            offset = index * CHUNK_BYTES
            places[chunk] = Place(blob.sha256, offset, min(CHUNK_BYTES, blob.length - offset))
    return Release(sha256, blobs, places)
