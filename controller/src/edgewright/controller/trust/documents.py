"""TUF documents made, signed and read: pure functions over bytes and values, no files.

The clock is always a parameter. Every document expires after a fixed life of its role, and is signed again
once half of it is over (TUF specification, sections 4.2 to 4.6).
"""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

import msgspec
from securesystemslib.exceptions import Error as SecuresystemslibError
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Key,
    Metadata,
    Role,
    Root,
    Signature,
    Signed,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization import DeserializationError
from tuf.api.serialization.json import JSONSerializer

from edgewright.controller.errors import DataFolderDamagedError, ModelTomlError
from edgewright.controller.trust.keys import Signer
from edgewright.wire.assignment import FIELD, Orders, TargetCustom, read_custom
from edgewright.wire.qualification import FIELD as QUALIFICATION
from edgewright.wire.qualification import QualificationOrders

LIFE: Final[Mapping[str, timedelta]] = {
    Root.type: timedelta(days=730),
    Targets.type: timedelta(days=365),
    Snapshot.type: timedelta(days=14),
    Timestamp.type: timedelta(days=7),
}
ASSIGNMENT_LIFE: Final = timedelta(days=7)
QUALIFICATION_LIFE: Final = timedelta(days=1)

_ROLE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
TOP_LEVEL: Final = frozenset({Root.type, Targets.type, Snapshot.type, Timestamp.type})

T = TypeVar("T", Root, Timestamp, Snapshot, Targets)


class TargetEntry(msgspec.Struct, frozen=True):
    """One release as TUF names it.

    Attributes:
        path: ``<model>/<target>/<version>.json``.
        length, sha256: of the manifest.
        custom: which release the manifest is.
    """

    path: str
    length: int
    sha256: str
    custom: TargetCustom


class RoleKeys(msgspec.Struct, frozen=True):
    """Who may sign a role, as data.

    Attributes:
        keys: by key id, each as TUF writes a public key.
        threshold: how many of them have to.
    """

    keys: dict[str, dict[str, Any]]
    threshold: int

    def read(self) -> dict[str, Key]:
        """The keys, by id.

        Raises:
            DataFolderDamagedError: one is no public key.
        """
        try:
            return {keyid: Key.from_dict(keyid, dict(self.keys[keyid])) for keyid in sorted(self.keys)}
        except (KeyError, TypeError, ValueError, SecuresystemslibError) as error:
            raise DataFolderDamagedError("A public key in the metadata cannot be read.") from error


def role_keys(keys: Sequence[Key], threshold: int) -> RoleKeys:
    """Role keys of public keys."""
    return RoleKeys({key.keyid: key.to_dict() for key in keys}, threshold)


def check_role_name(model: str) -> str:
    """Return ``model`` if it can name a delegated role.

    Raises:
        ModelTomlError: it is a role that TUF itself has, or holds a character that a path pattern would
            read as a wildcard.
    """
    if model in TOP_LEVEL or not _ROLE_NAME.fullmatch(model):
        raise ModelTomlError(
            f"A model cannot be named {model[:80]!r}: 1 to 64 of A-Za-z0-9._-, and none of TUF's own roles."
        )
    return model


def empty_root(now: datetime) -> Root:
    """A first root whose roles nobody can sign yet."""
    return Root(
        version=1,
        expires=now + LIFE[Root.type],
        roles={role: Role([], 1) for role in sorted(TOP_LEVEL)},
        consistent_snapshot=True,
    )


def new_root(keys: Mapping[str, Sequence[Signer]], now: datetime) -> Root:
    """A first root with threshold 1 for each role; a role without keys can be signed by nobody."""
    root = empty_root(now)
    for role, signers in keys.items():
        for signer in signers:
            root.add_key(signer.public_key, role)
    return root


def keys_of(authority: Root | Targets, role: str) -> RoleKeys:
    """Who may sign ``role`` by the word of ``authority``, which names it."""
    found = authority.get_delegated_role(role)
    return RoleKeys({i: authority.get_key(i).to_dict() for i in sorted(found.keyids)}, found.threshold)


def set_keys(authority: Root | Targets, role: str, wanted: RoleKeys) -> None:
    """Let ``authority`` name exactly these keys and this threshold for ``role``."""
    found = authority.get_delegated_role(role)
    for keyid in list(found.keyids):
        authority.revoke_key(keyid, role)
    for key in wanted.read().values():
        authority.add_key(key, role)
    found.threshold = wanted.threshold


def delegate(targets: Targets, model: str, wanted: RoleKeys) -> None:
    """Give a model its role: only below ``<model>/``, and nobody else is asked for those paths."""
    if targets.delegations is None:
        targets.delegations = Delegations({}, {})
    # One asterisk a level: TUF's wildcards do not cross a slash.
    role = DelegatedRole(check_role_name(model), [], 1, terminating=True, paths=[f"{model}/*/*"])
    assert targets.delegations.roles is not None
    targets.delegations.roles[model] = role
    set_keys(targets, model, wanted)


def delegated(targets: Targets) -> tuple[str, ...]:
    """Models that have a role."""
    if targets.delegations is None or targets.delegations.roles is None:
        return ()
    return tuple(targets.delegations.roles)


def target_file(entry: TargetEntry) -> TargetFile:
    """The entry as it stands in Targets metadata and in an assignment alike."""
    return TargetFile(
        entry.length,
        {"sha256": entry.sha256},
        entry.path,
        unrecognized_fields={"custom": msgspec.to_builtins(entry.custom)},
    )


def entry_of(target: TargetFile) -> TargetEntry:
    """The entry that ``target_file`` made this of."""
    return TargetEntry(target.path, target.length, target.hashes["sha256"], read_custom(target.custom))


def with_floor(entry: TargetEntry, floor: int) -> TargetEntry:
    """The entry with at least this ``min_counter``, and never one above its own counter."""
    custom = entry.custom
    least = min(max(custom.min_counter, floor), custom.release_counter)
    return msgspec.structs.replace(entry, custom=msgspec.structs.replace(custom, min_counter=least))


def is_entry(target: TargetFile, entry: TargetEntry) -> bool:
    """Whether a signed target is this entry; its floor may have been raised when it was signed."""
    signed = entry_of(target)
    return signed == with_floor(entry, signed.custom.min_counter)


def assignment(version: int, entry: TargetEntry, orders: Orders, now: datetime) -> Targets:
    """What one device shall run: a Targets document of one target, with the orders beside it.

    ``issued`` is cut to whole seconds: TUF signs canonical JSON, which has no fractions.
    """
    return Targets(
        version=version,
        expires=now + ASSIGNMENT_LIFE,
        targets={entry.path: target_file(entry)},
        unrecognized_fields={FIELD: {**msgspec.to_builtins(orders), "issued": int(orders.issued)}},
    )


def qualification(
    version: int, entries: Sequence[TargetEntry], orders: QualificationOrders, now: datetime
) -> Targets:
    """What one device shall measure: a Targets document of the candidates, with the orders beside them."""
    return Targets(
        version=version,
        expires=now + QUALIFICATION_LIFE,
        targets={entry.path: target_file(entry) for entry in entries},
        unrecognized_fields={QUALIFICATION: {**msgspec.to_builtins(orders), "issued": int(orders.issued)}},
    )


def min_director_root(document: bytes) -> int:
    """The director's root that a signed assignment demands; 0 where it is none."""
    try:
        return int(json.loads(document)["signed"][FIELD]["min_director_root"])
    except (KeyError, TypeError, ValueError):
        return 0


def due_at(signed: Signed) -> datetime:
    """When half of the document's life is over."""
    return signed.expires - LIFE[signed.type] / 2


def is_due(signed: Signed, now: datetime) -> bool:
    """Whether half of the document's life is over."""
    return now > due_at(signed)


def sign(signed: T, signers: Sequence[Signer]) -> bytes:
    """The signed document as the bytes that are published."""
    metadata: Metadata[T] = Metadata(signed)
    for signer in signers:
        metadata.sign(signer, append=True)
    return metadata.to_bytes(JSONSerializer(compact=True))


def unsigned(signed: Signed) -> str:
    """A document without signatures, as sorted JSON text."""
    return json.dumps(signed.to_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def parse(text: str) -> Signed:
    """The document in ``unsigned`` text.

    Raises:
        DataFolderDamagedError: it is none, or is not written as ``unsigned`` does.
    """
    try:
        metadata: Metadata[Any] = Metadata.from_bytes(f'{{"signatures":[],"signed":{text}}}'.encode())
    except DeserializationError as error:
        raise DataFolderDamagedError("A document that is to be signed cannot be read.") from error
    signed: Signed = metadata.signed
    if unsigned(signed) != text:
        raise DataFolderDamagedError("A document is not written as it would be signed.")
    return signed


def signed_bytes(text: str) -> bytes:
    """What a key signs of ``unsigned`` text: TUF's canonical form, in which PEM keys keep their line ends.

    Raises:
        DataFolderDamagedError: it is no document.
    """
    document: Metadata[Any] = Metadata(parse(text))
    return document.signed_bytes


def assemble(text: str, signatures: Mapping[str, str]) -> bytes:
    """The signed document as the bytes that are published.

    Args:
        text: what ``unsigned`` gave.
        signatures: hexadecimal, by key id.
    """
    made = {keyid: Signature(keyid, signatures[keyid]) for keyid in sorted(signatures)}
    document: Metadata[Any] = Metadata(parse(text), made)
    return document.to_bytes(JSONSerializer(compact=True))


def signed_part(data: bytes) -> str:
    """The ``unsigned`` text of a published document.

    Raises:
        DataFolderDamagedError: it is none.
    """
    try:
        metadata: Metadata[Any] = Metadata.from_bytes(data)
    except DeserializationError as error:
        raise DataFolderDamagedError("A signed document cannot be read.") from error
    return unsigned(metadata.signed)


def field_of(signed: Signed) -> dict[str, Any]:
    """Our own field of a document, empty where it has none; a copy."""
    found = signed.unrecognized_fields.get(FIELD, {})
    return json.loads(json.dumps(found)) if isinstance(found, dict) else {}


def set_field(signed: Signed, **entries: Any) -> None:
    """Write entries of our own field."""
    signed.unrecognized_fields[FIELD] = {**field_of(signed), **entries}


def read(data: bytes, shape: type[T], authority: Root | Targets, role: str) -> T:
    """Read a document that ``authority`` says is of ``role``.

    Raises:
        DataFolderDamagedError: it is none, or its signatures are not enough.
    """
    try:
        metadata: Metadata[T] = Metadata.from_bytes(data)
        authority.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except (DeserializationError, RepositoryError, ValueError) as error:
        raise DataFolderDamagedError(f"The signed metadata of {role} does not verify.") from error
    if not isinstance(metadata.signed, shape):
        raise DataFolderDamagedError(f"The signed metadata of {role} is of another type.")
    return metadata.signed


def read_root(data: bytes, previous: Root | None) -> Root:
    """Read a root that the previous one, if any, and itself have signed; see TUF, section 5.3.

    Raises:
        DataFolderDamagedError: it is none, or its signatures are not enough.
    """
    try:
        own = Metadata[Root].from_bytes(data).signed
    except DeserializationError as error:
        raise DataFolderDamagedError("A root of the signed metadata cannot be read.") from error
    if previous is not None:
        read(data, Root, previous, Root.type)
    return read(data, Root, own, Root.type)
