"""Encrypted blobs of confidential models: their layout and the keys of their parts; no cipher is called here.

A confidential version has one content key of 256 bits. Each of its blobs gets a key of its own from it, so
the content key may serve all targets and both roles::

    sealed blob   "EWC1" | salt (32 bytes) | frame 0 | frame 1 | ... | last frame
    frame         AES-256-GCM of up to 128 KiB of plaintext: ciphertext, then its tag of 16 bytes
    blob key      HKDF-SHA256(content key, salt, context)                                        RFC 5869
    salt          HMAC-SHA256(HKDF of the content key, context and plaintext)
    nonce         7 zero bytes | number of the frame (4 bytes) | 1 for the last frame, else 0
    context       model, version, target and role; the associated data of every frame

The salt is a function of key and plaintext: the same build gives the same bytes, and two different plaintexts
never share a key and a nonce, even where a build is done again and ends otherwise. Numbers and the mark of
the last frame make a reordered, shortened or lengthened blob unreadable, the context one that was swapped
(the STREAM construction: Hoang, Reyhanitabar, Rogaway, Vizar, "Online authenticated-encryption and its
nonce-reuse misuse-resistance", 2015). A reader needs one frame of memory beside the plaintext.

>>> sealed_length(0), sealed_length(131072), sealed_length(131073)
(52, 131124, 131141)
"""

import hashlib
import hmac
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

import msgspec

from edgewright.wire.canonical import canonical_json
from edgewright.wire.errors import MalformedMessageError

SCHEME: Final = "aes-256-gcm-frames-1"
KEY_BYTES: Final = 32
FRAME_BYTES: Final = 128 * 1024
TAG_BYTES: Final = 16
MAGIC: Final = b"EWC1"
SALT_BYTES: Final = 32
HEADER_BYTES: Final = len(MAGIC) + SALT_BYTES

Role = Literal["artifact", "golden", "source"]


class Encryption(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a manifest's blobs are encrypted.

    Attributes:
        scheme: see the module's text.
        key_id: names the content key and tells nothing about it.
    """

    scheme: Literal["aes-256-gcm-frames-1"]
    key_id: str


class Place(NamedTuple):
    """Where a blob belongs; sealed for one place it opens in no other."""

    model: str
    version: int
    target: str
    role: Role

    @property
    def context(self) -> bytes:
        """The bytes that key and frames are bound to."""
        return canonical_json([SCHEME, self.model, self.version, self.target, self.role])


class Frame(NamedTuple):
    """One frame of a sealed blob: its nonce, and where its ciphertext and tag lie."""

    nonce: bytes
    offset: int
    length: int


def key_id(content_key: bytes) -> str:
    """Name of a content key: a digest of 256 random bits, cut."""
    return hashlib.sha256(b"edgewright content key\0" + content_key).hexdigest()[:32]


def wrapping_info(model: str, version: int, device: str) -> bytes:
    """What a wrapped content key is bound to: HPKE's ``info`` (RFC 9180, section 5.1)."""
    return canonical_json(["edgewright content key 1", model, version, device])


def salt_digest(content_key: bytes, place: Place) -> "hmac.HMAC":
    """A running HMAC; fed with the plaintext it gives the salt."""
    key = _hkdf(content_key, b"", b"salt\0" + place.context)
    return hmac.new(key, place.context + b"\0", hashlib.sha256)


def blob_key(content_key: bytes, salt: bytes, place: Place) -> bytes:
    """The AES key of one blob."""
    return _hkdf(content_key, salt, b"frames\0" + place.context)


def sealed_length(length: int) -> int:
    """Bytes that a plaintext of ``length`` bytes takes sealed."""
    return HEADER_BYTES + length + TAG_BYTES * max(1, -(-length // FRAME_BYTES))


def frames(length: int) -> Iterator[Frame]:
    """The frames of a sealed blob of ``length`` bytes.

    Raises:
        MalformedMessageError: no sealed blob has this length.
    """
    whole = FRAME_BYTES + TAG_BYTES
    body = length - HEADER_BYTES
    count = max(1, -(-body // whole))
    if body < TAG_BYTES or body - (count - 1) * whole < TAG_BYTES:
        raise MalformedMessageError(f"No encrypted blob has {length} bytes.")
    for number in range(count):
        last = number == count - 1
        offset = HEADER_BYTES + number * whole
        yield Frame(nonce(number, last=last), offset, min(whole, length - offset))


def nonce(number: int, *, last: bool) -> bytes:
    """The nonce of a frame; its key is used for one blob only."""
    return bytes(7) + number.to_bytes(4, "big") + bytes([last])


def read_header(header: bytes) -> bytes:
    """The salt in a sealed blob's first bytes.

    Raises:
        MalformedMessageError: they begin no sealed blob.
    """
    if len(header) != HEADER_BYTES or not header.startswith(MAGIC):
        raise MalformedMessageError("The blob is not encrypted as its manifest says.")
    return header[len(MAGIC) :]


def _hkdf(secret: bytes, salt: bytes, info: bytes) -> bytes:
    """HKDF-SHA256 with an output of one block (RFC 5869, section 2)."""
    extracted = hmac.digest(salt or bytes(32), secret, "sha256")
    return hmac.digest(extracted, info + b"\x01", "sha256")
