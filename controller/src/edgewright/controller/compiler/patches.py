"""Patches between versions of a blob: zstd frames that have regions of the older blob as their prefixes.

A rebuild that changes only the head of a network gives a patch of about the head's bytes. A patch counts only
where it is at most half of what the full blob takes compressed; a device falls back to the full one.
"""

import sys
from typing import Final, NamedTuple

from edgewright.controller.blobs import BlobStore
from edgewright.wire.manifest import Blob, Patch, split_blob
from edgewright.wire.patching import MARGIN_BYTES, SEGMENT_BYTES, SHORTEST_PREFIX, regions

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LEVEL: Final = 9
"""Measured: 29.4 kB in 70 ms where level 19 took 1 s for 29.3 kB and level 3 gave 36 kB."""

WORTH_SENDING: Final = 0.5
"""Largest share of the compressed full blob that a patch may take."""

_OPTIONS: Final[dict[int, int]] = {
    zstd.CompressionParameter.compression_level: LEVEL,
    # Over the region and the segment; a frame names the smaller window that its segment needs.
    zstd.CompressionParameter.window_log: (2 * (SEGMENT_BYTES + MARGIN_BYTES)).bit_length(),
}


class Base(NamedTuple):
    """A version that devices may hold, by its manifest for the same target."""

    version: int
    manifest_sha256: str


def encode_patch(old: bytes, new: bytes) -> bytes:
    """What makes ``new`` out of ``old``; see ``wire.patching``."""
    frames = []
    place = 0
    for region in regions(len(old), len(new)):
        frames.append(_frame(old[region.start : region.end], new[place : place + region.length]))
        place += region.length
    return b"".join(frames)


def _frame(prefix: bytes, segment: bytes) -> bytes:
    if len(prefix) < SHORTEST_PREFIX:
        compressor = zstd.ZstdCompressor(options=_OPTIONS)
    else:
        compressor = zstd.ZstdCompressor(
            options=_OPTIONS, zstd_dict=zstd.ZstdDict(prefix, is_raw=True).as_prefix
        )
    return compressor.compress(segment, zstd.ZstdCompressor.FLUSH_FRAME)


def make_patch(blobs: BlobStore, new: bytes, base: Blob) -> Patch | None:
    """Store the patch from an older blob, where it is worth it."""
    full = len(zstd.compress(new, LEVEL))
    data = encode_patch(blobs.read(base.sha256), new)
    if len(data) > WORTH_SENDING * full:
        return None
    blobs.put(data)
    return Patch(base.sha256, base.length, split_blob(data)[0])
