"""Signed messages: a body and a signature over it, for what is no signed document by itself.

Every upward message is sealed with the device's key, and every acknowledgement with a key that the director's
root names in its ``timestamp`` role: nothing unsigned is acted on, on either side. What is signed is the
Pre-Authentication Encoding of DSSE v1 (Dead Simple Signing Envelope, protocol.md), which binds the body to
its purpose; the envelope itself is msgpack instead of JSON with base64, because a telemetry window has to
stay within 2 KB.

This module knows no algorithm: whoever holds a key hands in ``sign`` or ``verify``. A seal says who spoke,
not when: order and repetition are the business of stream numbers and counters inside the body.

>>> sealed = seal(b"body", "up", lambda data: b"signature of %d bytes" % len(data))
>>> unseal(sealed, "up", lambda data, signature: signature == b"signature of %d bytes" % len(data))
b'body'
"""

from collections.abc import Callable
from typing import Final, Literal

import msgspec

from edgewright.wire.errors import UnsignedMessageError

Purpose = Literal["up", "down"]

_TYPES: Final[dict[Purpose, bytes]] = {
    "up": b"application/vnd.edgewright.up.v1+msgpack",
    "down": b"application/vnd.edgewright.down.v1+msgpack",
}

MAX_SEAL_BYTES: Final = 256
"""What a seal adds to its body at most; an ECDSA P-256 signature has 72 bytes, an Ed25519 one 64."""


class _Sealed(msgspec.Struct, frozen=True, array_like=True):
    body: bytes
    signature: bytes


_decoder: msgspec.msgpack.Decoder[_Sealed] = msgspec.msgpack.Decoder(_Sealed)


def signed_bytes(body: bytes, purpose: Purpose) -> bytes:
    """What a seal signs.

    >>> signed_bytes(b"x", "up")
    b'DSSEv1 40 application/vnd.edgewright.up.v1+msgpack 1 x'
    """
    kind = _TYPES[purpose]
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(body), body)


def seal(body: bytes, purpose: Purpose, sign: Callable[[bytes], bytes]) -> bytes:
    """Sign a body; ``sign`` makes the signature of bytes."""
    return msgspec.msgpack.encode(_Sealed(body, sign(signed_bytes(body, purpose))))


def unseal(data: bytes, purpose: Purpose, verify: Callable[[bytes, bytes], bool]) -> bytes:
    """The body, once its signature is verified.

    Args:
        data: a sealed message.
        purpose: what it has to have been signed for.
        verify: whether the second argument is a signature of the first.

    Raises:
        UnsignedMessageError: the bytes are no sealed message, or the signature does not verify.
    """
    try:
        sealed = _decoder.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise UnsignedMessageError(f"The bytes are no signed message: {error}.") from error
    if not verify(signed_bytes(sealed.body, purpose), sealed.signature):
        raise UnsignedMessageError("The signature of a message does not verify.")
    return sealed.body
