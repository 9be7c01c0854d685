"""What supervisor and verifier say to each other over their socket.

Each message is msgpack behind its length in four bytes. The supervisor asks one question at a time; until the
answer comes the verifier may ask for files, one at a time. An error crosses by its number and sentence.
"""

import socket
import struct
from typing import Final

import msgspec

from edgewright.agent.agreement import DirectorTrust, ImageTarget, Seen
from edgewright.agent.qualificationorder import InspectedOrder
from edgewright.agent.verifier.seam import Inspected
from edgewright.wire import errors
from edgewright.wire.errors import EdgewrightError, VerifierError

MAX_BYTES: Final = 16 * 1024 * 1024
"""A proof is the largest message; see ``trust.MAX_PROOF_BYTES``."""

_LENGTH: Final = struct.Struct("!I")

_CROSSING: Final = (
    errors.MalformedMessageError,
    errors.UnknownTopicError,
    errors.TamperedMetadataError,
    errors.RollbackAttackError,
    errors.ExpiredMetadataError,
    errors.BrokerUnreachableError,
    errors.BlobTimeoutError,
    errors.StorageFullError,
    errors.SlowRetrievalError,
)
_BY_NUMBER: Final[dict[int, type[EdgewrightError]]] = {kind.number: kind for kind in _CROSSING}


class Inspect(msgspec.Struct, frozen=True, tag=True):
    """Verify an assignment document; see ``trust.Director.read``."""

    raw: bytes
    floor: int


class InspectOrder(msgspec.Struct, frozen=True, tag=True):
    """Verify an order to measure candidates; see ``trust.Director.inspect_order``."""

    raw: bytes
    floor: int


class Follow(msgspec.Struct, frozen=True, tag=True):
    """Trust newer roots of the director; None follows none and only tells."""

    demanded: int | None


class RefreshImages(msgspec.Struct, frozen=True, tag=True):
    """Verify the newest image metadata."""

    now: float
    path: str | None


class Prove(msgspec.Struct, frozen=True, tag=True):
    """Make the proof of a release."""

    target: ImageTarget


class Vouch(msgspec.Struct, frozen=True, tag=True):
    """Verify the proof of a release."""

    target: ImageTarget
    proof: bytes | None


class File(msgspec.Struct, frozen=True, tag=True):
    """A file that was asked for; None where it is missing."""

    content: bytes | None


class NoFile(msgspec.Struct, frozen=True, tag=True):
    """A file could not be had."""

    number: int
    sentence: str


class WantImages(msgspec.Struct, frozen=True, tag=True):
    """Ask for a metadata file of the image repository; an empty name begins a refresh."""

    name: str


class WantDirectorRoot(msgspec.Struct, frozen=True, tag=True):
    """Ask for a root of the director."""

    version: int
    demanded: int


class Document(msgspec.Struct, frozen=True, tag=True):
    """Answer to ``Inspect``."""

    inspected: Inspected


class Order(msgspec.Struct, frozen=True, tag=True):
    """Answer to ``InspectOrder``."""

    inspected: InspectedOrder


class Trusted(msgspec.Struct, frozen=True, tag=True):
    """Answer to ``Follow``."""

    trust: DirectorTrust


class Images(msgspec.Struct, frozen=True, tag=True):
    """Answer to ``RefreshImages``."""

    seen: Seen
    target: ImageTarget | None


class Proof(msgspec.Struct, frozen=True, tag=True):
    """Answer to ``Prove``; empty to ``Vouch``."""

    proof: bytes = b""


class Refused(msgspec.Struct, frozen=True, tag=True):
    """The answer is an error."""

    number: int
    sentence: str


Question = Inspect | InspectOrder | Follow | RefreshImages | Prove | Vouch
Request = WantImages | WantDirectorRoot
Answer = Document | Order | Trusted | Images | Proof | Refused
Down = Question | File | NoFile
Up = Request | Answer

_down: msgspec.msgpack.Decoder[Down] = msgspec.msgpack.Decoder(Down)
_up: msgspec.msgpack.Decoder[Up] = msgspec.msgpack.Decoder(Up)


def crossed(number: int, sentence: str) -> EdgewrightError:
    """The error that a number stands for."""
    return _BY_NUMBER.get(number, VerifierError)(sentence)


def send(connection: socket.socket, message: Down | Up) -> None:
    """Send one message.

    Raises:
        OSError: the other side is gone, or takes nothing.
    """
    data = msgspec.msgpack.encode(message)
    connection.sendall(_LENGTH.pack(len(data)) + data)


def receive_down(connection: socket.socket) -> Down | None:
    """The supervisor's next message; None where it is gone.

    Raises:
        OSError: nothing came in time.
        ValueError: the bytes are no message.
    """
    data = _receive(connection)
    return None if data is None else _down.decode(data)


def receive_up(connection: socket.socket) -> Up | None:
    """The verifier's next message; see ``receive_down``."""
    data = _receive(connection)
    return None if data is None else _up.decode(data)


def _receive(connection: socket.socket) -> bytes | None:
    head = _exactly(connection, _LENGTH.size)
    if head is None:
        return None
    (length,) = _LENGTH.unpack(head)
    if length > MAX_BYTES:
        raise ValueError(f"a message of {length} bytes")
    return _exactly(connection, length)


def _exactly(connection: socket.socket, count: int) -> bytes | None:
    data = bytearray()
    while len(data) < count:
        piece = connection.recv(min(65536, count - len(data)))
        if not piece:
            return None
        data += piece
    return bytes(data)
