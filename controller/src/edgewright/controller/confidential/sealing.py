"""Sealing blobs with a content key; ``edgewright.wire.encryption`` has the layout and the reasons."""

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from edgewright.controller.blobs import BlobStore
from edgewright.wire.canonical import sha256_hex
from edgewright.wire.encryption import (
    FRAME_BYTES,
    HEADER_BYTES,
    KEY_BYTES,
    MAGIC,
    Place,
    blob_key,
    frames,
    nonce,
    read_header,
    salt_digest,
)
from edgewright.wire.errors import ConfidentialKeyError
from edgewright.wire.manifest import CHUNK_BYTES, Blob


def seal(plain: bytes, content_key: bytes, place: Place) -> Iterator[bytes]:
    """The sealed blob in parts: header, then frame after frame; one frame of memory beside ``plain``.

    Raises:
        ConfidentialKeyError: what should be the key is none.
    """
    if len(content_key) != KEY_BYTES:
        raise ConfidentialKeyError(f"The content key of {place.model} v{place.version} is missing.")
    view = memoryview(plain)
    digest = salt_digest(content_key, place)
    digest.update(view)
    salt = digest.digest()
    yield MAGIC + salt
    cipher, context = AESGCM(blob_key(content_key, salt, place)), place.context
    count = max(1, -(-len(plain) // FRAME_BYTES))
    for number in range(count):
        frame = view[number * FRAME_BYTES : (number + 1) * FRAME_BYTES]
        yield cipher.encrypt(nonce(number, last=number == count - 1), frame, context)


def open_sealed(path: Path, content_key: bytes, place: Place) -> bytes:
    """The plaintext of a sealed file; takes one frame of memory beside it.

    Raises:
        ConfidentialKeyError: the key does not open it.
        MalformedMessageError: the file is not sealed.
        OSError: it cannot be read.
    """
    plain = io.BytesIO()
    with path.open("rb") as file:
        salt = read_header(file.read(HEADER_BYTES))
        cipher, context = AESGCM(blob_key(content_key, salt, place)), place.context
        for frame in frames(path.stat().st_size):
            try:
                plain.write(cipher.decrypt(frame.nonce, file.read(frame.length), context))
            except InvalidTag as error:
                raise ConfidentialKeyError(f"The sealed file {path.name[:12]} does not open.") from error
    return plain.getvalue()


def put_sealed(blobs: BlobStore, plain: bytes, content_key: bytes, place: Place) -> Blob:
    """Store a blob sealed; returns its description, without ever holding the whole ciphertext."""
    described = _Describing()
    sha256 = blobs.put_stream(described.through(seal(plain, content_key, place)))
    return described.blob(sha256)


class _Describing:
    """Takes a stream's length and the digests of its chunks while it passes."""

    def __init__(self) -> None:
        self._chunks: list[str] = []
        self._open = bytearray()
        self._length = 0

    def through(self, parts: Iterator[bytes]) -> Iterator[bytes]:
        """The same parts."""
        for part in parts:
            self._length += len(part)
            self._open += part
            while len(self._open) >= CHUNK_BYTES:
                self._chunks.append(hashlib.sha256(self._open[:CHUNK_BYTES]).hexdigest())
                del self._open[:CHUNK_BYTES]
            yield part

    def blob(self, sha256: str) -> Blob:
        """The description of all that has passed."""
        rest = (sha256_hex(bytes(self._open)),) if self._open else ()
        return Blob(sha256, self._length, (*self._chunks, *rest))
