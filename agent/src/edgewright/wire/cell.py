"""The machine's side of a line: frames and outcomes in, decisions out, over a Unix stream socket.

The line listens, the cell (robot, camera, scanner) connects. Each message is its length in four big-endian
bytes and then msgpack. Every ``Frame`` gets exactly one ``Decision``, in the order of the frames.

>>> buffer = Inbox()
>>> buffer.feed(encode(Outcome(item="r1-1", truth="Bag")))
[Outcome(item='r1-1', truth='Bag', source='', probability=1.0)]
"""

import struct
from typing import Final, Literal

import msgspec

from edgewright.wire.decoding import decoded
from edgewright.wire.errors import MalformedMessageError

MAX_CELL_MESSAGE_BYTES: Final = 16 * 1024 * 1024

Fault = Literal["", "DamagedPicture", "FrozenPicture", "BlackPicture", "Resolution"]
"""What is wrong with a picture: the name of an error; empty for a right one."""

_LENGTH = struct.Struct(">I")


class Frame(msgspec.Struct, frozen=True, tag_field="kind", tag="frame", kw_only=True):
    """One camera frame of one item.

    Attributes:
        item: the machine's id of the item.
        deadline_ms: the decision must be sent within this time after the frame was read.
        shape: height, width, 3.
        pixels: uint8, row by row, BGR.
        tag: SKU or recipe that the machine runs, empty without one.
        safe: whether the machine allows a change of model right after this frame (the safe tick).
        fault: what is wrong with the picture. Such a frame gets the fallback, its fault is the cause, and it
            needs no pixels.
    """

    item: str
    deadline_ms: float
    shape: tuple[int, int, int]
    pixels: bytes
    tag: str = ""
    safe: bool = True
    fault: Fault = ""


class Outcome(msgspec.Struct, frozen=True, tag_field="kind", tag="outcome"):
    """The true class of an item, told by the machine later (scanner, gripper, operator).

    Attributes:
        source: who says so; empty for the machine's one source.
        probability: the chance with which the item was chosen to be told of, above 0: 1 where all are.
    """

    item: str
    truth: str
    source: str = ""
    probability: float = 1.0


class Decision(msgspec.Struct, frozen=True, tag_field="kind", tag="decision", kw_only=True):
    """The answer to a frame.

    Attributes:
        label: the class, or the declared fallback.
        confidence: of the label, 0 for a fallback.
        source: which runner decided.
        version: of the model that decided, 0 for a fallback.
    """

    item: str
    label: str
    confidence: float
    source: Literal["active", "standby", "fallback"]
    version: int


CellMessage = Frame | Outcome | Decision

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(CellMessage)


def encode(message: CellMessage) -> bytes:
    """A message with its length in front."""
    body = _encoder.encode(message)
    return _LENGTH.pack(len(body)) + body


class Inbox:
    """Cuts a byte stream into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[CellMessage]:
        """Messages that are complete after ``data``.

        Raises:
            MalformedMessageError: the stream is not of this contract; close it.
        """
        self._buffer += data
        messages: list[CellMessage] = []
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if length > MAX_CELL_MESSAGE_BYTES:
                raise MalformedMessageError(f"A cell message of {length} bytes exceeds the limit.")
            if len(self._buffer) < _LENGTH.size + length:
                break
            body = bytes(memoryview(self._buffer)[_LENGTH.size : _LENGTH.size + length])
            del self._buffer[: _LENGTH.size + length]
            messages.append(decoded(_decoder, body, "The cell message"))
        return messages
