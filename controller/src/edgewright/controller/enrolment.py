"""Enrolment: a one-time token in, the trust roots and the broker's address out.

The token is stored as its SHA-256 and is used up in the transaction that makes the device's row, so that two
devices can never enrol with one token.
"""

import secrets
import time

import msgspec

from edgewright.controller.broker.embedded import Address
from edgewright.controller.database.engine import Database
from edgewright.controller.database.tables import Device, EnrolmentToken
from edgewright.controller.errors import EnrolmentRefusedError
from edgewright.controller.events import record
from edgewright.wire.canonical import sha256_hex
from edgewright.wire.topics import check_device_id

DEFAULT_TOKEN_LIFE_S = 3600.0


class EnrolmentAnswer(msgspec.Struct, frozen=True):
    """What a device has to know to start.

    Attributes:
        broker_host, broker_port: where its MQTT broker listens.
        image_root, director_root: the two TUF roots, as JSON text.
    """

    broker_host: str
    broker_port: int
    image_root: str
    director_root: str


class Enrolment:
    """Gives out tokens and takes devices in."""

    def __init__(self, db: Database, broker: Address, image_root: bytes, director_root: bytes) -> None:
        self._db = db
        self._answer = EnrolmentAnswer(broker.host, broker.port, image_root.decode(), director_root.decode())

    def new_token(self, life_s: float = DEFAULT_TOKEN_LIFE_S) -> str:
        """A new one-time token that is good for ``life_s`` seconds."""
        token = "ewe_" + secrets.token_urlsafe(24)
        with self._db.session() as session:
            session.add(EnrolmentToken(sha256=sha256_hex(token.encode()), expires=time.time() + life_s))
        return token

    def enrol(self, device: str, target: str, tags: dict[str, str], token: str) -> EnrolmentAnswer:
        """Take a device in, or take it in again under its id.

        Raises:
            EnrolmentRefusedError: the token is unknown, used or too old; nothing is changed.
            UnknownTopicError: the device id cannot stand in a topic.
        """
        check_device_id(device)
        now = time.time()
        with self._db.session() as session:
            row = session.get(EnrolmentToken, sha256_hex(token.encode()))
            if row is None or row.used_by or row.expires < now:
                raise EnrolmentRefusedError("The enrolment token is unknown, used or too old.")
            row.used_by = device
            known = session.get(Device, device) or Device(id=device, target=target, enrolled_at=now)
            known.target, known.tags = target, tags
            session.add(known)
            session.add(row)
            record(session, "device.enrolled", f"{device} enrolled as {target}.", device=device)
        return self._answer
