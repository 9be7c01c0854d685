"""Pictures of captured frames, for a browser: what a device sent is shown only if it is a sane PNG."""

from typing import Final
from urllib.parse import urlencode

from edgewright.controller.blobs import BlobStore
from edgewright.controller.database import Session
from edgewright.controller.database.tables import Sample
from edgewright.controller.errors import DataFolderDamagedError, UnknownAddressError

PICTURE_HEADERS: Final = {
    "Cache-Control": "private, max-age=3600, immutable",
    "Content-Disposition": "inline",
}

PIXELS_AT_MOST: Final = 50_000_000
"""A few kilobytes of PNG can unpack to any size in whoever opens it."""

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_HEAD: Final = len(_SIGNATURE) + 16
"""Signature, length and name of the first part, width and height."""


def picture_address(model: str, device: str, item: str) -> str:
    """Where a frame's picture lies for whoever may see it."""
    return f"/api/v1/models/{model}/picture?{urlencode({'device': device, 'item': item})}"


def read_picture(session: Session, blobs: BlobStore, model: str, device: str, item: str) -> bytes:
    """The PNG of a model's sample.

    Raises:
        UnknownAddressError: there is no such sample of this model, its picture is gone, or it is none.
    """
    sample = session.get(Sample, (device, item))
    if sample is None or sample.model != model:
        raise UnknownAddressError(f"{model} has no such frame.")
    try:
        picture = blobs.read(sample.image_sha256)
    except DataFolderDamagedError as error:
        raise UnknownAddressError("The picture of this frame is gone.") from error
    if not is_picture(picture):
        raise UnknownAddressError("What the device sent is no picture that can be shown.")
    return picture


def is_picture(data: bytes) -> bool:
    """Whether these are the bytes of a PNG that a browser can unpack."""
    if not data.startswith(_SIGNATURE) or len(data) < _HEAD:
        return False
    width, height = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    return 0 < width * height <= PIXELS_AT_MOST
