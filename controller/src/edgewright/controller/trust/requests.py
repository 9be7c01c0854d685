"""Signing requests: documents that wait for signatures of keys that are somewhere else.

A request is one JSON file. It goes to a key's holder on whatever carries a file, comes back with a signature
more, and is compared byte for byte with what the controller still holds: nothing else in it is believed. It
carries each document as it is now, so that the holder's machine can say what changes without a network.

Signing is by key id: a key that signs twice has signed once.
"""

from collections.abc import Iterable, Mapping
from typing import Final, Literal

import msgspec
from securesystemslib.exceptions import Error as SecuresystemslibError
from securesystemslib.signer import Key, Signature

from edgewright.controller.errors import DataFolderDamagedError, KeyStoreError, SignatureRefusedError
from edgewright.controller.trust import documents
from edgewright.controller.trust.changes import Change
from edgewright.controller.trust.documents import RoleKeys
from edgewright.controller.trust.keys import Signer
from edgewright.wire.canonical import canonical_json, sha256_hex

MAX_REQUEST_BYTES: Final = 64 << 20
"""Far above a change of all models at once; a wrong file must not fill the memory."""


class Part(msgspec.Struct, frozen=True):
    """One document.

    Attributes:
        role: ``root``, ``targets`` or a model.
        version: that it will have.
        signed: the document without signatures, sorted JSON.
        before: the published document that it replaces, with its signatures; empty where there is none.
        demands: whose signatures it needs; every one of them.
        signatures: so far, hexadecimal, by key id.
    """

    role: str
    version: int
    signed: str
    before: str
    demands: tuple[RoleKeys, ...]
    signatures: dict[str, str] = {}

    def missing(self) -> int:
        """How many more signatures it needs at least."""
        lacks = (d.threshold - len(self.signatures.keys() & d.keys.keys()) for d in self.demands)
        return max(0, *lacks)

    def wanted(self) -> set[str]:
        """Ids of the keys whose signature would bring it further."""
        short = (d for d in self.demands if len(self.signatures.keys() & d.keys.keys()) < d.threshold)
        return {keyid for demand in short for keyid in demand.keys} - self.signatures.keys()


class Request(msgspec.Struct, frozen=True):
    """A change with its documents.

    Attributes:
        id: of the change: the same whenever it is asked for again.
        made_at: seconds since the epoch; dates in the documents count from here.
        summary: what changes, in words; whoever signs is shown what his own machine reads in the documents.
    """

    id: str
    made_at: int
    change: Change
    parts: tuple[Part, ...]
    summary: tuple[str, ...] = ()
    format: Literal["edgewright-signing-1"] = "edgewright-signing-1"

    def missing(self) -> int:
        """How many more signatures it needs at least; 0 when it is complete."""
        return max(part.missing() for part in self.parts)

    def short_of(self) -> str:
        """Who is waited for, as a part of a sentence."""
        roles = [part.role for part in self.parts if part.missing()]
        shown = ", ".join(roles[:3]) + (f" and {len(roles) - 3} more" if len(roles) > 3 else "")
        count = self.missing()
        return f"{count} more signature{'s' if count != 1 else ''} of {shown}"


def identify(change: Change) -> str:
    """A change's id."""
    return sha256_hex(canonical_json(change))[:12]


def encode(request: Request) -> bytes:
    """The request's file."""
    return canonical_json(request)


def decode(data: bytes) -> Request:
    """Read a request's file.

    Raises:
        SignatureRefusedError: it is none.
    """
    if len(data) > MAX_REQUEST_BYTES:
        raise SignatureRefusedError(f"A signing request of {len(data)} bytes is none.")
    try:
        return msgspec.json.decode(data, type=Request)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SignatureRefusedError(f"The file is no signing request: {error}.") from error


def sign(request: Request, signers: Iterable[Signer]) -> Request:
    """The request with the signatures that these keys can give.

    Raises:
        KeyStoreError: a key's store refuses.
    """
    for signer in signers:
        parts = tuple(_signed(part, signer) for part in request.parts)
        request = msgspec.structs.replace(request, parts=parts)
    return request


def merge(held: Request, shown: Request) -> Request:
    """The request that is held, with the signatures that a returned file brings.

    Raises:
        SignatureRefusedError: the file is about something else, or a signature in it does not count.
    """
    if [part.signed for part in held.parts] != [part.signed for part in shown.parts]:
        raise SignatureRefusedError(
            f"The file is not the request {held.id} as it is now: the repository has moved on."
        )
    parts = tuple(
        _merged(mine, theirs.signatures) for mine, theirs in zip(held.parts, shown.parts, strict=True)
    )
    return msgspec.structs.replace(held, parts=parts)


def refuse_unchanged(before: Request, after: Request) -> None:
    """Refuse a file that brings nothing.

    Raises:
        SignatureRefusedError: it does not.
    """
    if before == after:
        raise SignatureRefusedError(
            f"The file brings no signature that the request {before.id} does not have; a key counts once."
        )


def verifies(part: Part, text: str, signatures: Mapping[str, str]) -> list[str]:
    """Ids of the demanded keys that have signed ``text``.

    Raises:
        DataFolderDamagedError: a key or the text cannot be read.
    """
    keys = {keyid: key for demand in part.demands for keyid, key in demand.read().items()}
    return good_signatures(list(keys.values()), text, signatures)


def good_signatures(keys: Iterable[Key], text: str, signatures: Mapping[str, str]) -> list[str]:
    """Ids of those of ``keys`` that have signed ``text``.

    Raises:
        DataFolderDamagedError: the text cannot be read.
    """
    held = {key.keyid: key for key in keys}
    data = documents.signed_bytes(text)
    good = []
    for keyid in sorted(held.keys() & signatures.keys()):
        try:
            held[keyid].verify_signature(Signature(keyid, signatures[keyid]), data)
        except (SecuresystemslibError, ValueError):
            continue
        good.append(keyid)
    return good


def _signed(part: Part, signer: Signer) -> Part:
    keyid = signer.public_key.keyid
    if not any(keyid in demand.keys for demand in part.demands) or keyid in part.signatures:
        return part
    try:
        made = signer.sign(documents.signed_bytes(part.signed))
    except (SecuresystemslibError, ValueError) as error:
        raise KeyStoreError(f"The key {keyid[:16]} does not sign: {error}.") from error
    signatures = {**part.signatures, keyid: made.signature}
    return msgspec.structs.replace(part, signatures=signatures)


def _merged(part: Part, signatures: Mapping[str, str]) -> Part:
    fresh = {keyid: signatures[keyid] for keyid in signatures if keyid not in part.signatures}
    try:
        good = verifies(part, part.signed, fresh)
    except DataFolderDamagedError as error:
        raise SignatureRefusedError(error.sentence) from error
    for keyid in fresh:
        if keyid not in good:
            raise SignatureRefusedError(
                f"The signature of the key {keyid[:16]} under {part.role} does not count: it is no key of "
                "the role, or it has signed something else."
            )
    return msgspec.structs.replace(part, signatures={**part.signatures, **fresh})


def published(part: Part) -> bytes:
    """The document as it is published."""
    return documents.assemble(part.signed, part.signatures)
