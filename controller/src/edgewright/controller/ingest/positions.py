"""How far a stream is stored, as its row says it, and what its newest messages were.

Which number counts, and once, is ``wire.numbering``'s rule; here it meets the row of a stream. The digests of
the newest messages tell a repetition from another message under the same number, which only a copied device
would send.

>>> position = Position(device="r1", stream="s")
>>> take(position, 2, b"two"), take(position, 2, b"two"), take(position, 1, b"one"), position.through
(<Place.NEW: 'new'>, <Place.REPEATED: 'repeated'>, <Place.NEW: 'new'>, 2)
>>> is_other(position, 2, b"two"), is_other(position, 2, b"another"), is_other(position, 9, b"unknown")
(False, True, False)
"""

from hashlib import sha256
from typing import Final

from edgewright.controller.database.tables import Position
from edgewright.controller.ingest.bounds import told_time
from edgewright.wire.messages import Ack, Hello
from edgewright.wire.numbering import AHEAD, Place, Received

RECENT: Final = AHEAD
"""How many of a stream's newest messages are compared with their repetitions."""

_NUMBER_BYTES: Final = 8
_DIGEST_BYTES: Final = 8
"""Enough against chance; against a forger there is the device's signature."""

_ENTRY_BYTES: Final = _NUMBER_BYTES + _DIGEST_BYTES

LIVE_S: Final = 600.0
"""Windows that ended so long before the newest one of their device tell of its past, not of now."""


def received(position: Position) -> Received:
    """What a stream's row says has come."""
    return Received.of(position.through, position.beyond)


def take(position: Position, number: int, body: bytes) -> Place:
    """Where a number stands; a new one is remembered as stored."""
    known = received(position)
    place = known.place(number)
    if place is Place.NEW:
        _remember(position, known.with_number(number))
        entry = number.to_bytes(_NUMBER_BYTES, "big") + _digest(body)
        position.recent = (position.recent + entry)[-RECENT * _ENTRY_BYTES :]
    return place


def is_other(position: Position, number: int, body: bytes) -> bool:
    """Whether a number was stored with other content, as far as that is remembered."""
    name = number.to_bytes(_NUMBER_BYTES, "big")
    entries = range(0, len(position.recent), _ENTRY_BYTES)
    known = [position.recent[at : at + _ENTRY_BYTES] for at in entries]
    return any(entry.startswith(name) and entry[_NUMBER_BYTES:] != _digest(body) for entry in known)


def greet(position: Position, hello: Hello) -> int:
    """Take note of what a device holds; how many numbers it holds no more that never came here."""
    known = received(position)
    after = known.from_oldest(hello.oldest)
    missing = after.through - known.through - known.beyond.bit_count() + after.beyond.bit_count()
    _remember(position, after)
    position.accounts = {
        kind: [account.made, account.waiting, account.given_up] for kind, account in hello.accounts.items()
    }
    return missing


def acknowledgement(position: Position, hello: int = 0) -> Ack:
    """What the device is told; ``hello`` is the counter of the hello that it answers, 0 for none."""
    known = received(position)
    return Ack(stream=position.stream, through=known.through, beyond=known.bitmap(), hello=hello)


def is_live(position: Position, end: float, now: float) -> bool:
    """Whether a window that ended then tells of now; by the device's clock as far as it is not ahead.

    So windows of a clock that was years ahead silence none of those that come when it has been set right.
    """
    position.newest = told_time(max(position.newest, end), now)
    return end >= position.newest - LIVE_S


def _remember(position: Position, known: Received) -> None:
    position.through, position.beyond = known.through, known.bitmap()


def _digest(body: bytes) -> bytes:
    return sha256(body).digest()[:_DIGEST_BYTES]
