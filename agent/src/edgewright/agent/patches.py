"""Making an artifact out of an older one, a segment at a time: base and patch are read, the result written.

What is bounded before a byte is decoded: the window by a segment, the output by the result's length. Besides
one segment, one region of the base and one piece of the patch nothing is in memory, whatever the sizes are
(``wire.patching``). The result counts only with its signed digest.
"""

from collections.abc import Iterator
from typing import BinaryIO, Final

from backports import zstd

from edgewright.agent.store import Store
from edgewright.wire.errors import PatchBaseError, TamperedArtifactError
from edgewright.wire.manifest import Blob, Patch
from edgewright.wire.patching import SEGMENT_BYTES, SHORTEST_PREFIX, Region, regions

PIECE_BYTES: Final = 64 * 1024
"""Of the patch in memory."""

_OPTIONS: Final[dict[int, int]] = {
    zstd.DecompressionParameter.window_log_max: (SEGMENT_BYTES - 1).bit_length()
}


def apply_patch(store: Store, patch: Patch, result: Blob) -> None:
    """Store the result of a patch; base and patch are in the store.

    Raises:
        PatchBaseError: base, patch or result is not what was signed; nothing was stored.
        TamperedArtifactError: base or patch is damaged; it has been removed.
        StorageFullError: there is no room.
    """
    base = store.verified(patch.base_sha256)
    if (length := base.stat().st_size) != patch.base_length:
        raise PatchBaseError(f"The patch was made from {patch.base_length} bytes, the base has {length}.")
    with (
        base.open("rb", buffering=0) as old,
        store.verified(patch.blob.sha256).open("rb", buffering=0) as frames,
        store.draft(result) as draft,
    ):
        for segment in decoded(old, length, frames, result.length):
            draft.write(segment)
        try:
            draft.finish()
        except TamperedArtifactError as error:
            raise PatchBaseError("The patch does not make the artifact that was signed.") from error


def decoded(base: BinaryIO, base_length: int, patch: BinaryIO, length: int) -> Iterator[bytes]:
    """The segments of what a patch makes of a base, ``length`` bytes together.

    Raises:
        PatchBaseError: it cannot be decoded within its bounds.
    """
    rest = b""
    for region in regions(base_length, length):
        base.seek(region.start)
        prefix = base.read(region.end - region.start)
        try:
            segment, rest = _segment(prefix, patch, rest, region)
        except (zstd.ZstdError, ValueError, EOFError) as error:
            raise PatchBaseError(f"The patch cannot be decoded: {error}.") from error
        yield segment
    if rest or patch.read(1):
        raise PatchBaseError(f"The patch makes more than {length} bytes.")


def _segment(prefix: bytes, patch: BinaryIO, piece: bytes, region: Region) -> tuple[bytes, bytes]:
    """One frame's content, and what was read of the next one."""
    decoder = (
        zstd.ZstdDecompressor(zstd.ZstdDict(prefix, is_raw=True).as_prefix, _OPTIONS)
        if len(prefix) >= SHORTEST_PREFIX
        else zstd.ZstdDecompressor(options=_OPTIONS)
    )
    content = b""
    while not decoder.eof:
        if decoder.needs_input and not piece and not (piece := patch.read(PIECE_BYTES)):
            raise EOFError("it ends early")
        content += decoder.decompress(piece, region.length + 1 - len(content))
        piece = b""
        if len(content) > region.length:
            raise EOFError("a segment is longer than its place")
    if len(content) != region.length:
        raise EOFError(f"a segment has {len(content)} bytes, not {region.length}")
    return content, decoder.unused_data
