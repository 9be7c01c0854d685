"""What of a device's telemetry is not here: it waits there, is on its way, was given up, or is gone.

Three sources, each exact: numbers that others have overtaken, what the device said in its newest hello, and
the losses that it told or that a hello showed.
"""

from typing import Final

import msgspec

from edgewright.controller.database import Session, col, select
from edgewright.controller.database.tables import Device, Loss, Position
from edgewright.controller.ingest.positions import received
from edgewright.wire.numbering import Received

LOSSES: Final = 50


class Missing(msgspec.Struct, frozen=True):
    """See ``Loss``."""

    at: float
    what: str
    since: float
    until: float
    messages: int
    frames: int
    why: str

    @property
    def is_dated(self) -> bool:
        """Whether it is known when what is missing began and ended."""
        return self.until > 0


class Telemetry(msgspec.Struct, frozen=True):
    """What is not here of one device's newest outbox.

    Attributes:
        waiting: by kind, as of its newest hello.
        given_up: ever, by kind, likewise.
        lacking: first and last of the numbers that later ones have overtaken.
        losses: the newest ones, of all its outboxes.
    """

    waiting: dict[str, int]
    given_up: dict[str, int]
    lacking: tuple[tuple[int, int], ...]
    losses: tuple[Missing, ...]


def telemetry_of(session: Session, device: Device) -> Telemetry:
    """What is not here of a device's telemetry."""
    position = session.get(Position, (device.id, device.stream))
    told = position.accounts if position else {}
    newest = select(Loss).where(col(Loss.device) == device.id).order_by(col(Loss.at).desc()).limit(LOSSES)
    return Telemetry(
        waiting={kind: waiting for kind, (_, waiting, _) in sorted(told.items()) if waiting},
        given_up={kind: gone for kind, (_, _, gone) in sorted(told.items()) if gone},
        lacking=lacking(received(position)) if position else (),
        losses=tuple(
            Missing(loss.at, loss.what, loss.since, loss.until, loss.messages, loss.frames, loss.why)
            for loss in session.exec(newest)
        ),
    )


def lacking(known: Received) -> tuple[tuple[int, int], ...]:
    """Ranges of numbers that have not come while later ones have.

    >>> lacking(Received(7, 0b1110100)), lacking(Received(7))
    (((8, 9), (11, 11)), ())
    """
    ranges: list[tuple[int, int]] = []
    for number in range(known.through + 1, known.through + 1 + known.beyond.bit_length()):
        if known.has(number):
            continue
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return tuple(ranges)
