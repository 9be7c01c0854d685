"""What is said between the controller and the director's process: one struct a request and an answer.

Frames go over a socket pair that the child inherits: four bytes of length (big endian), then msgpack. One
request is answered before the next is sent. What comes is validated by its type, on both sides.
"""

import socket
import struct
from collections.abc import Sequence
from typing import Final, Protocol, TypeVar

import msgspec

from edgewright.controller.errors import DirectorUnavailableError
from edgewright.controller.trust.documents import TargetEntry
from edgewright.wire.assignment import Orders
from edgewright.wire.qualification import QualificationOrders

MAX_FRAME_BYTES: Final = 16 << 20
"""Far above a batch of ``BATCH_ORDERS``; a length from a broken peer must not fill the memory."""

BATCH_ORDERS: Final = 500
"""Orders in one request: half a megabyte, 50 ms of signing."""

_LENGTH: Final = struct.Struct(">I")

T = TypeVar("T")


class Order(msgspec.Struct, frozen=True):
    """One document to be signed.

    Attributes:
        version: of the document, larger than the device's last one.
        entry: the release, as in the image repository.
        orders: everything else; the director itself sets ``min_director_root``.
    """

    version: int
    entry: TargetEntry
    orders: Orders


class Trials(msgspec.Struct, frozen=True):
    """One order to measure candidates, to be signed.

    Attributes:
        version: its number, larger than that of the device's last one.
        entries: the candidates.
        orders: everything else; the director itself sets ``min_director_root``.
    """

    version: int
    entries: tuple[TargetEntry, ...]
    orders: QualificationOrders


class Open(msgspec.Struct, frozen=True, tag="open"):
    """The first request.

    Attributes:
        acknowledger: public key in PEM with which the controller acknowledges; a first root names it, and one
            that names none gets it.
    """

    acknowledger: str


class Last(msgspec.Struct, frozen=True, tag="last"):
    """Asks for the version of each device's last document."""

    devices: tuple[str, ...]


class Sign(msgspec.Struct, frozen=True, tag="sign"):
    """Asks for documents: all of them, or none."""

    orders: tuple[Order, ...]


class SignTrials(msgspec.Struct, frozen=True, tag="sign-trials"):
    """Asks for an order to measure candidates."""

    trials: Trials


class LastTrials(msgspec.Struct, frozen=True, tag="last-trials"):
    """Asks for the number of a device's last order to measure candidates."""

    device: str


class Show(msgspec.Struct, frozen=True, tag="show"):
    """Asks for the state."""


class Rotate(msgspec.Struct, frozen=True, tag="rotate"):
    """Asks for new keys of a role.

    Attributes:
        role: ``root``, ``targets`` or ``timestamp``.
        public: public keys in PEM; the director makes one itself where none is given.
        threshold: how many of them have to sign.
    """

    role: str
    public: tuple[str, ...] = ()
    threshold: int = 1


class Adopt(msgspec.Struct, frozen=True, tag="adopt"):
    """Brings a signing request back, with signatures that were made elsewhere."""

    request: bytes


class Documents(msgspec.Struct, frozen=True, tag="documents"):
    """Signed documents, in the order in which they were asked for."""

    documents: tuple[bytes, ...]


class Versions(msgspec.Struct, frozen=True, tag="versions"):
    """Version of each device's last document, 0 for none, in the order in which they were asked for."""

    versions: tuple[int, ...]


class RoleState(msgspec.Struct, frozen=True):
    """Who may sign a role.

    Attributes:
        threshold: how many have to.
        keys: where each key is, by its id.
    """

    threshold: int
    keys: dict[str, str]


class State(msgspec.Struct, frozen=True, tag="state"):
    """What a person and the controller may know.

    Attributes:
        roots: every root, the first first.
        expires: of the newest, seconds since the epoch.
        roles: by name.
        acknowledgers: raw public keys of the role ``timestamp``, hexadecimal.
        laboratory: whether the keys on this machine alone can sign a next root.
        devices: how many have a document.
        waiting: a signing request for a next root, empty where none waits; see ``requests``.
        waits_for: whom it waits for, in words.
    """

    roots: tuple[bytes, ...]
    expires: float
    roles: dict[str, RoleState]
    acknowledgers: tuple[str, ...]
    laboratory: bool
    devices: int
    waiting: bytes = b""
    waits_for: str = ""


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """The number and the sentence of an error."""

    number: int
    sentence: str


Request = Open | Last | Sign | SignTrials | LastTrials | Show | Rotate | Adopt
Answer = Documents | Versions | State | Refused


class AssignmentSigner(Protocol):
    """Who signs assignments: ``director.Director`` itself, or ``director_process.DirectorProcess``."""

    def last(self, devices: Sequence[str]) -> list[int]:
        """Version of each device's last document, 0 for none."""

    def sign(self, orders: Sequence[Order]) -> list[bytes]:
        """The signed documents, in order: all of them, or none."""


class TrialsSigner(Protocol):
    """Who signs orders to measure candidates; the same two."""

    def last_trials(self, device: str) -> int:
        """Number of a device's last order, 0 for none."""

    def sign_trials(self, trials: Trials) -> bytes:
        """The signed order."""


_requests: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_answers: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)


def send(peer: socket.socket, message: Request | Answer) -> None:
    """Send one message.

    Raises:
        OSError: the peer is gone, or does not read.
    """
    data = msgspec.msgpack.encode(message)
    peer.sendall(_LENGTH.pack(len(data)) + data)


def receive_request(peer: socket.socket) -> Request | None:
    """The next request; None at the end.

    Raises:
        DirectorUnavailableError: it is none.
    """
    data = _receive(peer)
    return None if data is None else _decode(_requests, data)


def receive_answer(peer: socket.socket) -> Answer | None:
    """The answer; None where the peer ended instead.

    Raises:
        DirectorUnavailableError: it is none.
    """
    data = _receive(peer)
    return None if data is None else _decode(_answers, data)


def _decode(decoder: msgspec.msgpack.Decoder[T], data: bytes) -> T:
    try:
        return decoder.decode(data)
    except msgspec.DecodeError as error:
        raise DirectorUnavailableError(f"The director's socket brings no message: {error}.") from error


def _receive(peer: socket.socket) -> bytes | None:
    head = _read(peer, _LENGTH.size)
    if head is None:
        return None
    length: int = _LENGTH.unpack(head)[0]
    if length > MAX_FRAME_BYTES:
        raise DirectorUnavailableError(f"A message of {length} bytes came from the director's socket.")
    return _read(peer, length)


def _read(peer: socket.socket, length: int) -> bytes | None:
    data = bytearray()
    while len(data) < length:
        piece = peer.recv(min(length - len(data), 1 << 20))
        if not piece:
            return None
        data += piece
    return bytes(data)
