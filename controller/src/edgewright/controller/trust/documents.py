"""TUF documents made, signed and read: pure functions over bytes and values, no files.

The clock is always a parameter. Every document expires after a fixed life of its role, and is signed again
once half of it is over (TUF specification, sections 4.2 to 4.6).
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, TypeVar

import msgspec
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    Role,
    Root,
    Signed,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization import DeserializationError
from tuf.api.serialization.json import JSONSerializer

from edgewright.controller.errors import DataFolderDamagedError, ModelTomlError
from edgewright.controller.trust.keys import CryptoSigner
from edgewright.wire.assignment import FIELD, Orders, TargetCustom

LIFE: Final[Mapping[str, timedelta]] = {
    Root.type: timedelta(days=730),
    Targets.type: timedelta(days=365),
    Snapshot.type: timedelta(days=14),
    Timestamp.type: timedelta(days=7),
}
ASSIGNMENT_LIFE: Final = timedelta(days=7)

_ROLE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TOP_LEVEL: Final = frozenset({Root.type, Targets.type, Snapshot.type, Timestamp.type})

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


def check_role_name(model: str) -> str:
    """Return ``model`` if it can name a delegated role.

    Raises:
        ModelTomlError: it is a role that TUF itself has, or holds a character that a path pattern would
            read as a wildcard.
    """
    if model in _TOP_LEVEL or not _ROLE_NAME.fullmatch(model):
        raise ModelTomlError(
            f"A model cannot be named {model[:80]!r}: 1 to 64 of A-Za-z0-9._-, and none of TUF's own roles."
        )
    return model


def new_root(keys: Mapping[str, Sequence[CryptoSigner]], now: datetime) -> Root:
    """A first root with threshold 1 for each role; a role without keys can be signed by nobody."""
    root = Root(
        version=1,
        expires=now + LIFE[Root.type],
        roles={role: Role([], 1) for role in sorted(_TOP_LEVEL)},
        consistent_snapshot=True,
    )
    for role, signers in keys.items():
        for signer in signers:
            root.add_key(signer.public_key, role)
    return root


def delegate(targets: Targets, model: str, signers: Sequence[CryptoSigner]) -> None:
    """Give a model its role: only below ``<model>/``, and nobody else is asked for those paths."""
    if targets.delegations is None:
        targets.delegations = Delegations({}, {})
    # One asterisk a level: TUF's wildcards do not cross a slash.
    role = DelegatedRole(check_role_name(model), [], 1, terminating=True, paths=[f"{model}/*/*"])
    assert targets.delegations.roles is not None
    targets.delegations.roles[model] = role
    for signer in signers:
        targets.add_key(signer.public_key, model)


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


def due_at(signed: Signed) -> datetime:
    """When half of the document's life is over."""
    return signed.expires - LIFE[signed.type] / 2


def is_due(signed: Signed, now: datetime) -> bool:
    """Whether half of the document's life is over."""
    return now > due_at(signed)


def sign(signed: T, signers: Sequence[CryptoSigner]) -> bytes:
    """The signed document as the bytes that are published."""
    metadata: Metadata[T] = Metadata(signed)
    for signer in signers:
        metadata.sign(signer, append=True)
    return metadata.to_bytes(JSONSerializer(compact=True))


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
