"""How much one device may make the controller store. An enrolled device may be hostile too.

Names are ids and labels, sentences are what a page shows; both are short where nobody is up to something.
"""

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from edgewright.controller.database.tables import Device
from edgewright.wire.errors import MalformedMessageError
from edgewright.wire.handshake import CPU_FEATURES
from edgewright.wire.messages import (
    MAX_IMAGE_BYTES,
    PIECE_BYTES,
    Hello,
    Piece,
    Report,
    Sample,
    Sequenced,
)

TAGS: Final = 32
TAG_LETTERS: Final = 64
STREAMS: Final = 8
"""An outbox is replaced when its disk is: the newest ones tell a copy from its original."""

NAME_LETTERS: Final = 128
SENTENCE_LETTERS: Final = 500
IMAGE_BYTES: Final = 256 * 1024
"""In one message. An agent sends what is larger than a piece in pieces; one of protocol 2 up to 180 KiB."""

PIECES: Final = 1024
"""Of a device's pictures whose samples have not come; four of the largest."""

CLOCK_S: Final = 300.0
"""What a device's clock may be ahead of the controller's."""

MEMORY_MB: Final = 1 << 30
"""No device has more; it fits into any database's integer."""

DAY_S: Final = 24 * 3600.0
EVENTS_A_DAY: Final = 2000
SAMPLE_BYTES_A_DAY: Final = 1024**3
LEAST_SAMPLE_BYTES: Final = 4096
"""What a sample counts at least, for its row and its file."""


def own_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags that a device may give itself: the first thirty-two that are short.

    >>> own_tags({"site": "lyon", "note": "x" * 65})
    {'site': 'lyon'}
    """
    short = [(k, v) for k, v in tags.items() if len(k) <= TAG_LETTERS and len(v) <= TAG_LETTERS]
    return dict(short[:TAGS])


def describe(device: Device, hello: Hello) -> None:
    """Take over what a device says that it is: hints for people and for the choice of a rollout's devices."""
    device.runtime = hello.runtime
    device.runtimes = list(hello.runtimes)
    device.machine = hello.machine
    device.cpu = [feature for feature in CPU_FEATURES if feature in hello.cpu]
    device.memory_mb = min(max(hello.memory_mb, 0), MEMORY_MB)


def verify_lengths(message: Hello | Sequenced) -> None:
    """Refuse names that are none, and images that no agent sends. A window is bounded on the wire.

    Raises:
        MalformedMessageError: one is too long.
    """
    long = any(len(text) > NAME_LETTERS for text in _names(message))
    if isinstance(message, Sample):
        long = long or len(message.image) > IMAGE_BYTES or message.image_bytes > MAX_IMAGE_BYTES
    if isinstance(message, Piece):
        aligned = message.offset in range(0, MAX_IMAGE_BYTES, PIECE_BYTES)
        long = long or len(message.data) > PIECE_BYTES or not aligned
    if long:
        raise MalformedMessageError(f"A {type(message).__name__} of {message.device} is too long.")


def shortened(report: Report) -> Report:
    """A report with a sentence that a page can show."""
    return msgspec.structs.replace(report, detail=report.detail[:SENTENCE_LETTERS])


def told_time(told: float, arrived: float) -> float:
    """When something happened, as its device says; the future that a wrong clock tells of is bounded.

    >>> told_time(50.0, 100.0), told_time(4e8, 100.0)
    (50.0, 400.0)
    """
    return min(told, arrived + CLOCK_S)


def may_tell(device: Device, now: float) -> bool:
    """Take one event from a device's budget of the day, if there is one left."""
    _begin_day(device, now)
    device.events_today += 1
    return device.events_today <= EVENTS_A_DAY


def take_sample(device: Device, size: int, now: float) -> None:
    """Take a sample from a device's budget of the day.

    Raises:
        MalformedMessageError: nothing is left of it.
    """
    _begin_day(device, now)
    cost = max(size, LEAST_SAMPLE_BYTES)
    if device.sample_bytes_today + cost > SAMPLE_BYTES_A_DAY:
        raise MalformedMessageError(f"{device.id} has sent more samples today than are kept.")
    device.sample_bytes_today += cost


def _begin_day(device: Device, now: float) -> None:
    if device.budget_day != (today := int(now // DAY_S)):
        device.budget_day, device.events_today, device.sample_bytes_today = today, 0, 0


def _names(message: msgspec.Struct) -> Iterator[str]:
    for field in message.__struct_fields__:
        value = getattr(message, field)
        if isinstance(value, str) and field != "detail":
            yield value
        elif isinstance(value, msgspec.Struct):
            yield from _names(value)
