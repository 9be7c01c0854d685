"""From payloads to messages: nothing that a device has not signed goes any further.

A payload is opened with the public key that the device enrolled with, or with the one before its last
renewal: messages signed with that one may still be on their way. What is not sealed, wrongly sealed, or comes
from a revoked device is dropped. Each device's first dropped message of a cause is an event; the others are
counted: whoever floods shall not fill the database.
"""

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from edgewright.controller.database import col, select
from edgewright.controller.database.engine import Database
from edgewright.controller.database.tables import Device
from edgewright.controller.events import record
from edgewright.controller.identity.devicekeys import verifies
from edgewright.wire import messages, topics
from edgewright.wire.errors import EdgewrightError, UnknownTopicError, UnsignedMessageError
from edgewright.wire.sealed import unseal

KIND: Final = "device.unsigned"
REMEMBERED: Final = 50_000
"""Counted pairs of sender and cause; whoever can publish can invent senders."""


class Cause(StrEnum):
    """Why a payload was dropped."""

    UNKNOWN = "unknown"
    KEYLESS = "keyless"
    REVOKED = "revoked"
    UNSIGNED = "unsigned"
    UNREADABLE = "unreadable"


SENTENCES: Final[dict[Cause, str]] = {
    Cause.UNKNOWN: "{device} sends messages and is not enrolled.",
    Cause.KEYLESS: "{device} has enrolled without a key; enrol it again, until then nothing of it counts.",
    Cause.REVOKED: "{device} is revoked and still sends messages; they are dropped.",
    Cause.UNSIGNED: "Messages in the name of {device} are not signed with its key; they are dropped.",
    Cause.UNREADABLE: "{device} sends messages that cannot be read; they are dropped.",
}


class Sender(NamedTuple):
    """What has to be known about a device to open what it says."""

    keys: tuple[bytes, bytes]
    revoked: bool


class Dropped(NamedTuple):
    """A payload that was not opened, and in whose name it came."""

    device: str
    cause: Cause


class Opener:
    """Opens batches of payloads; used by one thread.

    Attributes:
        dropped: how many payloads were dropped, by device and cause.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self.dropped: Counter[Dropped] = Counter()

    def open(self, batch: Sequence[tuple[str, bytes]]) -> tuple[list[messages.Upward], list[str]]:
        """The messages of a batch of topics and payloads, and sentences about what was dropped first."""
        named = [(sender_of(topic), topic, payload) for topic, payload in batch]
        senders = self._senders({device for device, _, _ in named})
        opened, news = [], []
        for device, topic, payload in named:
            found = open_one(device, payload, senders.get(device))
            if isinstance(found, Dropped):
                if found.cause is Cause.REVOKED and topic == topics.up(device, "goodbye"):
                    continue  # the broker says it, because the revocation has ended the connection
                news += [found] if self._is_new(found) else []
            else:
                opened.append(found)
        if enrolled := [drop for drop in news if drop.device in senders]:
            self._tell(enrolled)
        return opened, [SENTENCES[drop.cause].format(device=drop.device[:64]) for drop in news]

    def _senders(self, devices: set[str]) -> dict[str, Sender]:
        columns = (Device.id, Device.public_key, Device.previous_public_key, Device.revoked_at)
        with self._db.reading() as session:
            rows = session.exec(select(*columns).where(col(Device.id).in_(devices))).all()
        return {device: Sender((key, previous), revoked > 0) for device, key, previous, revoked in rows}

    def _is_new(self, drop: Dropped) -> bool:
        if drop not in self.dropped and len(self.dropped) >= REMEMBERED:
            return False
        self.dropped[drop] += 1
        return self.dropped[drop] == 1

    def _tell(self, news: Sequence[Dropped]) -> None:
        with self._db.session() as session:
            for drop in news:
                record(session, KIND, SENTENCES[drop.cause].format(device=drop.device), device=drop.device)


def open_one(device: str, payload: bytes, sender: Sender | None) -> messages.Upward | Dropped:
    """The message in a payload that came on a device's topic, or why it does not count."""
    if sender is None:
        return Dropped(device, Cause.UNKNOWN)
    if sender.revoked:
        return Dropped(device, Cause.REVOKED)
    if not any(sender.keys):
        return Dropped(device, Cause.KEYLESS)
    try:
        body = unseal(payload, "up", lambda data, signature: verifies(sender.keys, data, signature))
        message = messages.decode_up(body)
    except UnsignedMessageError:
        return Dropped(device, Cause.UNSIGNED)
    except EdgewrightError:
        return Dropped(device, Cause.UNREADABLE)
    # Signed with this device's key, and still about another one: its own word for it does not count.
    return message if message.device == device else Dropped(device, Cause.UNREADABLE)


def sender_of(topic: str) -> str:
    """The device on whose topic something came; the topic itself where it is no device's."""
    try:
        return topics.parse_up(topic).device
    except UnknownTopicError:
        return topic
