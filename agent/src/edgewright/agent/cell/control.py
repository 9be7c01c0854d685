"""What supervisor and cell say to each other, one msgpack datagram each on an inherited SEQPACKET socket.

Down: ``Setup``, once, and ``Stop``. The setup is no command line, because an address may hold a password. Up:
a ``Beat`` each second, ``Deciding`` when the first right picture was decided, the begin and the end of each
trouble, and what is ``Noted``. An end of file means that the other side is gone; the cell then ends.

>>> decode_up(encode(Began(82, "camera 0", "There is no picture.")))
Began(error=82, place='camera 0', sentence='There is no picture.')
"""

from typing import Final

import msgspec

from edgewright.agent.settings import LabelSettings, LocalBrokerSettings, SinkSettings, SourceSettings
from edgewright.wire.decoding import decoded
from edgewright.wire.errors import (
    BlackPictureError,
    DamagedPictureError,
    DeviceError,
    FrozenPictureError,
    ResolutionError,
    SinkError,
    SourceLostError,
)

TROUBLES: Final[dict[int, type[DeviceError]]] = {
    kind.number: kind
    for kind in (
        SourceLostError,
        DamagedPictureError,
        FrozenPictureError,
        BlackPictureError,
        ResolutionError,
        SinkError,
    )
}
"""Errors by which a trouble crosses the socket."""


class Setup(msgspec.Struct, frozen=True, tag_field="kind", tag="setup", kw_only=True):
    """What the cell reads and where decisions go.

    Attributes:
        device: its id; client id at the cell's broker.
        socket: path of the line's cell socket.
        memory: path of the file that remembers which files of a folder are done; what the cell remembers of
            labels stands beside it.
    """

    device: str
    socket: str
    memory: str
    source: SourceSettings
    sinks: tuple[SinkSettings, ...]
    broker: LocalBrokerSettings
    labels: LabelSettings = LabelSettings()

    def __repr__(self) -> str:
        # An address may hold a password, which must not reach a log.
        return f"Setup(device={self.device!r}, source={self.source.kind!r})"


class Stop(msgspec.Struct, frozen=True, tag_field="kind", tag="stop"):
    """Deliver what waits, and end."""


class Beat(msgspec.Struct, frozen=True, tag_field="kind", tag="beat"):
    """The cell's loop turns."""


class Deciding(msgspec.Struct, frozen=True, tag_field="kind", tag="deciding"):
    """A right picture was decided by the line; once after each start."""


class Began(msgspec.Struct, frozen=True, tag_field="kind", tag="began"):
    """A trouble begins.

    Attributes:
        error: number of its error.
        place: the source or sink, without a password.
        sentence: what is wrong.
    """

    error: int
    place: str
    sentence: str


class Over(msgspec.Struct, frozen=True, tag_field="kind", tag="over"):
    """A trouble has ended; ``sentence`` says how long it was and what it cost."""

    error: int
    place: str
    sentence: str


class Noted(msgspec.Struct, frozen=True, tag_field="kind", tag="noted"):
    """Something that is no trouble that lasts: what was told as a truth is none."""

    error: int
    sentence: str


Down = Setup | Stop
Up = Beat | Deciding | Began | Over | Noted

_encoder = msgspec.msgpack.Encoder()
_down: msgspec.msgpack.Decoder[Down] = msgspec.msgpack.Decoder(Down)
_up: msgspec.msgpack.Decoder[Up] = msgspec.msgpack.Decoder(Up)


def encode(message: Down | Up) -> bytes:
    """One datagram."""
    return _encoder.encode(message)


def decode_down(data: bytes) -> Down:
    """Read an order.

    Raises:
        MalformedMessageError: the bytes are none.
    """
    return decoded(_down, data, "The cell's message")


def decode_up(data: bytes) -> Up:
    """Read what the cell says.

    Raises:
        MalformedMessageError: the bytes are none.
    """
    return decoded(_up, data, "The cell's message")
