"""Signed heads of the audit log: how far it went at a time, for a copy that lies elsewhere.

A head names the last entry and its digest, so it stands for every entry before it too. It is signed with an
Ed25519 key of its own (``keys/audit/`` of the data folder) over ``edgewright audit head 1``, a line feed and
the head's canonical JSON; a copy can therefore be checked without the controller, by whoever wrote down the
key's fingerprint. The controller keeps one a day in ``audit/``. Copy them away: whoever can write the data
folder can write its heads and its key anew as well, and only a copy elsewhere tells.
"""

import base64
import binascii
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from edgewright.controller.database.engine import Database
from edgewright.controller.durable import write_durably
from edgewright.controller.errors import AuditBrokenError, DataFolderDamagedError
from edgewright.controller.people import audit
from edgewright.controller.people.audit import Entry, Tip
from edgewright.wire.canonical import canonical_json, sha256_hex

CONTEXT: Final = b"edgewright audit head 1\n"
HEAD_AT_MOST: Final = 4096
"""Bytes of a head's file."""


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far the log went.

    Attributes:
        seq, sha256: the last entry and its digest.
        at: when, seconds since the epoch.
    """

    seq: int
    sha256: str
    at: float

    @property
    def tip(self) -> Tip:
        """What ``audit.verify`` compares with."""
        return Tip(self.seq, self.sha256)


class SignedHead(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A head with the raw public key and the signature, both base64."""

    head: Head
    key: str
    signature: str

    @property
    def fingerprint(self) -> str:
        """Of the key: ``sha256:`` and hexadecimal."""
        return fingerprint_of(base64.b64decode(self.key))


class HeadKey:
    """The controller's key for heads; made at the first use."""

    def __init__(self, folder: Path) -> None:
        path = folder / "key.pem"
        try:
            if not path.exists():
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                made = Ed25519PrivateKey.generate()
                form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
                write_durably(path, made.private_bytes(serialization.Encoding.PEM, *form))
            key = serialization.load_pem_private_key(path.read_bytes(), None)
        except (OSError, ValueError) as error:
            raise DataFolderDamagedError(f"The audit log's key cannot be read: {error}.") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise DataFolderDamagedError("The audit log's key is no Ed25519 key.")
        self._key = key

    @property
    def fingerprint(self) -> str:
        """What somebody who keeps copies writes down once."""
        return fingerprint_of(self._key.public_key().public_bytes_raw())

    def sign(self, tip: Tip, at: float) -> SignedHead:
        """A head of the log as it is."""
        head = Head(tip.seq, tip.sha256, at)
        public = base64.b64encode(self._key.public_key().public_bytes_raw()).decode()
        signature = base64.b64encode(self._key.sign(CONTEXT + canonical_json(head))).decode()
        return SignedHead(head, public, signature)


def fingerprint_of(public: bytes) -> str:
    """Of a raw public key."""
    return f"sha256:{sha256_hex(public)}"


def read_head(data: bytes, fingerprint: str = "") -> SignedHead:
    """A signed head from its file, checked.

    Raises:
        AuditBrokenError: it is none, its signature is wrong, or another key than the named one signed it.
    """
    try:
        signed = msgspec.json.decode(data[: HEAD_AT_MOST + 1], type=SignedHead)
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(signed.key, validate=True))
        signature = base64.b64decode(signed.signature, validate=True)
        key.verify(signature, CONTEXT + canonical_json(signed.head))
    except (msgspec.MsgspecError, binascii.Error, ValueError) as error:
        raise AuditBrokenError("What was given is no signed head of an audit log.") from error
    except InvalidSignature:
        raise AuditBrokenError("The head's signature is not of the key that it names.") from None
    if fingerprint and signed.fingerprint != fingerprint:
        raise AuditBrokenError(f"The head was signed by another key: {signed.fingerprint}.")
    return signed


def keep_head(db: Database, data: Path) -> None:
    """Write the head of today, unless it is there."""
    path = data / "audit" / time.strftime("%Y-%m-%d.json", time.gmtime())
    if path.exists():
        return
    path.parent.mkdir(mode=0o700, exist_ok=True)
    write_durably(path, canonical_json(present_head(db, data)))


def present_head(db: Database, data: Path) -> SignedHead:
    """The log's head now."""
    with db.reading() as session:
        tip = audit.tip(session)
    return HeadKey(data / "keys" / "audit").sign(tip, time.time())


def kept_heads(data: Path) -> list[SignedHead]:
    """The heads of a data folder, oldest first.

    Raises:
        AuditBrokenError: one of them is none.
    """
    return [read_head(path.read_bytes()) for path in sorted((data / "audit").glob("*.json"))]


def export_lines(db: Database, data: Path) -> Iterator[bytes]:
    """The log as JSON lines: each entry, and the signed head of what was exported."""
    tip = Tip()
    for entry in audit.entries(db):
        tip = Tip(entry.seq, entry.sha256)
        yield canonical_json(entry) + b"\n"
    yield canonical_json(HeadKey(data / "keys" / "audit").sign(tip, time.time())) + b"\n"


def read_export(lines: Iterable[bytes], fingerprint: str = "") -> tuple[Iterator[Entry], SignedHead]:
    """Entries and head of an export.

    Raises:
        AuditBrokenError: a line is no entry, or the head at its end is missing or wrong.
    """
    *entries, last = list(lines) or [b""]
    return _decoded(entries), read_head(last, fingerprint)


def _decoded(lines: list[bytes]) -> Iterator[Entry]:
    for number, line in enumerate(lines, 1):
        try:
            yield msgspec.json.decode(line, type=Entry)
        except msgspec.MsgspecError:
            raise AuditBrokenError(f"Line {number} of the export is no entry.") from None
