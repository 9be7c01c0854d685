"""Enrolment: a one-time token and a request for a certificate in; certificate, trust roots and broker out.

The rules:

* A token is stored as the SHA-256 of its secret and is used up in the transaction that makes the device's
  row, so that two devices can never enrol with one token.
* A token is looked for before anything is written: a stranger's guess costs no more than that, and after ten
  wrong ones within a minute his address is told to wait. A right one is good all the same.
* Its text carries the fingerprint of the fleet's root, ``ewe_<secret>.<fingerprint>``: who has the token can
  tell this controller's door from an impostor's, and needs to be told nothing else.
* It may be bound to a device id, and to tags. Who is who comes from it and never from the request. An id that
  has enrolled before is given again only to a token that is bound to it: else any token could take the place
  of any device.
"""

import secrets
import time
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from edgewright.controller.broker.probe import Address
from edgewright.controller.database import Session
from edgewright.controller.database.engine import Database
from edgewright.controller.database.tables import Device, EnrolmentToken
from edgewright.controller.errors import EnrolmentRefusedError
from edgewright.controller.events import record
from edgewright.controller.identity.authority import CONTROLLER, Issued
from edgewright.controller.identity.certificates import spki_of
from edgewright.controller.identity.register import DeviceRegister
from edgewright.controller.identity.requests import key_in
from edgewright.controller.ingest.bounds import own_tags
from edgewright.controller.people import audit
from edgewright.controller.people.attempts import Attempts
from edgewright.wire.canonical import sha256_hex
from edgewright.wire.errors import UnknownTopicError
from edgewright.wire.topics import check_device_id

DEFAULT_TOKEN_LIFE_S: Final = 3600.0
PREFIX: Final = "ewe_"
REFUSED: Final = "The enrolment token is unknown, used or too old."


class EnrolmentAnswer(msgspec.Struct, frozen=True):
    """What a device has to know to start.

    Attributes:
        broker_host, broker_port: where its MQTT broker listens.
        image_root, director_root: the two TUF roots, as JSON text.
        tags: those that it has now.
        certificate: its certificate and the issuer's, PEM.
        authority: the fleet's root certificate, PEM.
        expires: of the certificate, seconds since the epoch.
    """

    broker_host: str
    broker_port: int
    image_root: str
    director_root: str
    tags: dict[str, str]
    certificate: str
    authority: str
    expires: float


class Enrolment:
    """Gives out tokens and takes devices in.

    Args:
        db: tokens and devices.
        register: grants certificates.
        broker: where the broker is, for a device that reached this controller by a host name.
        image_root, director_root: the newest roots.
    """

    def __init__(
        self,
        db: Database,
        register: DeviceRegister,
        broker: Callable[[str], Address],
        image_root: Callable[[], bytes],
        director_root: Callable[[], bytes],
    ) -> None:
        self._db = db
        self._register = register
        self._broker = broker
        self._roots = image_root, director_root
        self._attempts = Attempts()

    def new_token(
        self,
        life_s: float = DEFAULT_TOKEN_LIFE_S,
        *,
        device: str = "",
        tags: Mapping[str, str] | None = None,
        created_by: str = "",
    ) -> str:
        """A new one-time token.

        Args:
            life_s: seconds for which it is good.
            device: the only id that can enrol with it; any where it is empty.
            tags: what a device that enrols with it is tagged with.
            created_by: who asked for it.

        Raises:
            EnrolmentRefusedError: the device id cannot stand in a topic.
        """
        if device:
            _check_id(device)
        secret, now = PREFIX + secrets.token_urlsafe(24), time.time()
        with self._db.session() as session:
            session.add(
                EnrolmentToken(
                    sha256=sha256_hex(secret.encode()),
                    expires=now + life_s,
                    device=device,
                    tags=dict(tags or {}),
                    created_by=created_by,
                    created_at=now,
                )
            )
            detail = {"device": device, "tags": dict(tags or {}), "life_s": life_s}
            audit.enter(
                session, "enrolment.token", f"device {device}" if device else "any device", detail=detail
            )
        return f"{secret}.{self._register.authority.fingerprint}"

    def enrol(
        self,
        device: str,
        target: str,
        tags: Mapping[str, str],
        token: str,
        request: bytes,
        host: str = "127.0.0.1",
        address: str = "",
    ) -> EnrolmentAnswer:
        """Take a device in, or take it in again under its id; the broker admits it when this returns.

        Args:
            device: its id.
            target: what models are compiled for; empty where only its hello will tell.
            tags: its tags, beside those of the token.
            token: the one-time token.
            request: PKCS#10, DER.
            host: the name by which it reached this controller.
            address: where it comes from.

        Raises:
            EnrolmentRefusedError: the token is unknown, used, too old, or bound to something else.
            TooManyAttemptsError: the address has shown too many wrong tokens.
            CertificateRequestError: the request cannot be granted. No error changes anything.
        """
        issued, kept = self.admit(device, target, tags, token, request, address)
        broker = self._broker(host)
        image_root, director_root = self._roots
        return EnrolmentAnswer(
            broker_host=broker.host,
            broker_port=broker.port,
            image_root=image_root().decode(),
            director_root=director_root().decode(),
            tags=kept,
            certificate=issued.chain_pem,
            authority=self._register.authority.root_pem,
            expires=issued.expires,
        )

    def admit(
        self,
        device: str,
        target: str,
        tags: Mapping[str, str],
        token: str,
        request: bytes,
        address: str = "",
    ) -> tuple[Issued, dict[str, str]]:
        """Take a device in; its certificate and its tags. Raises as ``enrol`` does."""
        _check_id(device)
        now = time.time()
        self._verify_token(token, device, address, now)
        key = key_in(request)
        with self._db.session() as session:
            bound = self._use_up(session, token, device, tags, spki_of(key), now)
            known = session.get(Device, device)
            held = known.public_key if known is not None else b""
            if held and held != spki_of(key) and bound.device != device:
                raise EnrolmentRefusedError(
                    f"{device} has enrolled before; a token that is bound to it is needed to do it again."
                )
            row = _as_new(known or Device(id=device, target=target), now)
            row.target, row.tags = target or row.target, {**own_tags(tags), **bound.tags}
            row.bound_tags = dict(bound.tags)
            issued = self._register.grant(session, row, key)
            record(session, "device.enrolled", f"{device} enrolled as {row.target or 'new'}.", device=device)
        self._register.admit()
        return issued, row.tags

    def _verify_token(self, token: str, device: str, address: str, now: float) -> None:
        """Look for a token without writing anything, and before a key is looked at."""
        with self._db.reading() as session:
            row = _unexpired(session, token, now)
            if row is not None and row.used_by in ("", device):
                return
        self._attempts.verify_allowed(address, PREFIX, now)
        self._attempts.count_wrong(address, PREFIX, now)
        raise EnrolmentRefusedError(REFUSED)

    def _use_up(
        self,
        session: Session,
        token: str,
        device: str,
        tags: Mapping[str, str],
        public_key: bytes,
        now: float,
    ) -> EnrolmentToken:
        """Take the token; a second time only for the key that it has let in already.

        A device that lost power before it had the answer asks again with the key that it had kept. Who has
        read the token does not have that key.
        """
        row = _unexpired(session, token, now)
        if row is None or row.used_by not in ("", device):  # somebody was faster
            raise EnrolmentRefusedError(REFUSED)
        holder = session.get(Device, device)
        if row.used_by and (holder is None or holder.revoked_at or holder.public_key != public_key):
            raise EnrolmentRefusedError(REFUSED)
        if row.device and row.device != device:
            raise EnrolmentRefusedError("The enrolment token is bound to another device.")
        wrong = [key for key, value in row.tags.items() if tags.get(key, value) != value]
        if wrong:
            raise EnrolmentRefusedError(f"The enrolment token is bound to another tag {wrong[0]!r}.")
        row.used_by = device
        session.add(row)
        return row


def _unexpired(session: Session, token: str, now: float) -> EnrolmentToken | None:
    secret = token.partition(".")[0]
    row = session.get(EnrolmentToken, sha256_hex(secret.encode()))
    return None if row is None or row.expires < now else row


def _as_new(device: Device, now: float) -> Device:
    """A device that enrols begins again: it may be another machine, with counters of its own."""
    device.enrolled_at = device.enrolled_at or now
    device.counter = device.seen_root = device.seen_timestamp = device.director_root = 0
    device.suspicion = ""
    return device


def _check_id(device: str) -> None:
    if device == CONTROLLER:
        raise EnrolmentRefusedError(f"The id {CONTROLLER} is this controller's own.")
    try:
        check_device_id(device)
    except UnknownTopicError as error:
        raise EnrolmentRefusedError(error.sentence) from error
