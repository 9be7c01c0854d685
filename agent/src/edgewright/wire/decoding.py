"""Reading msgpack that somebody else wrote."""

from typing import TypeVar

import msgspec

from edgewright.wire.errors import MalformedMessageError

T = TypeVar("T")


def decoded(decoder: msgspec.msgpack.Decoder[T], data: bytes, what: str) -> T:
    """What the bytes say; ``what`` names them in the error's sentence.

    Raises:
        MalformedMessageError: they are not of the decoder's type, no text where text is due, or nested deep.
    """
    try:
        message: T = decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedMessageError(f"{what} cannot be read: {error}.") from error
    return message
