"""Making an artifact out of an older one: a zstd frame with the old artifact as its prefix.

The manifest bounds everything before a byte is decoded: the window by the sizes of base and result, the
output by the result's length. The result counts only with its signed digest.
"""

from typing import Final

from backports import zstd

from edgewright.agent.store import Store
from edgewright.wire.canonical import sha256_hex
from edgewright.wire.errors import PatchBaseError
from edgewright.wire.manifest import Blob, Patch

SMALLEST_WINDOW_LOG: Final = 10
LARGEST_WINDOW_LOG: Final = 31
"""zstd's own bounds on 64-bit machines; the larger one covers blobs of 2 GiB, the contract's limit."""


def find_patch(patches: tuple[Patch, ...], stored: set[str]) -> Patch | None:
    """The smallest patch whose base is stored."""
    usable = [patch for patch in patches if patch.base_sha256 in stored]
    return min(usable, key=lambda patch: patch.blob.length, default=None)


def apply_patch(store: Store, patch: Patch, result: Blob) -> None:
    """Store the result of a patch; base and patch are in the store.

    Raises:
        PatchBaseError: base, patch or result is not what was signed; nothing was stored.
        StorageFullError: there is no room.
    """
    base = store.read(patch.base_sha256)
    if len(base) != patch.base_length:
        raise PatchBaseError(f"The patch was made from {patch.base_length} bytes, the base has {len(base)}.")
    data = decode(base, store.read(patch.blob.sha256), result.length)
    if sha256_hex(data) != result.sha256:
        raise PatchBaseError("The patch does not make the artifact that was signed.")
    store.put(data)


def decode(base: bytes, frame: bytes, length: int) -> bytes:
    """Decode a frame that was made with ``base`` as its prefix, to exactly ``length`` bytes.

    Raises:
        PatchBaseError: it cannot be decoded within its bounds.
    """
    window_log = max(SMALLEST_WINDOW_LOG, (len(base) + length).bit_length())
    options: dict[int, int] = {
        zstd.DecompressionParameter.window_log_max: min(window_log, LARGEST_WINDOW_LOG)
    }
    try:
        decoder = zstd.ZstdDecompressor(zstd.ZstdDict(base, is_raw=True).as_prefix, options)
        data = decoder.decompress(frame, length + 1)
    except (zstd.ZstdError, ValueError) as error:
        raise PatchBaseError(f"The patch cannot be decoded: {error}.") from error
    if len(data) != length or not decoder.eof:
        raise PatchBaseError(f"The patch makes {len(data)} bytes or more, not {length}.")
    return data
