"""Exported metadata, checked without a controller: from a trusted root to one release.

The signatures and digests of the whole chain count; expiry does not. A file on somebody's disk cannot be
withdrawn, and a timestamp lives for a week: how old the newest one is, is told and left to the reader.

Source: TUF specification 1.0.34, section 5, without the steps that compare with the clock.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final, NamedTuple

import msgspec
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from edgewright.controller.errors import ProvenanceError
from edgewright.controller.trust.documents import T, TargetEntry
from edgewright.wire.assignment import TargetCustom

TIMESTAMP: Final = "timestamp.json"


class Release(NamedTuple):
    """What the chain says of one release.

    Attributes:
        entry: the release.
        root: version of the newest root.
        fresh_until: expiry of the timestamp: until then nothing else is known to have been signed.
    """

    entry: TargetEntry
    root: int
    fresh_until: datetime


def verify_chain(files: Mapping[str, bytes], root: bytes, path: str) -> Release:
    """Follow the chain from ``root`` to the target ``path``.

    Args:
        files: metadata by file name, as devices fetch it.
        root: bytes of a root that the reader trusts.
        path: of the target.

    Raises:
        ProvenanceError: a file is missing, or is not signed by whom the one above names.
    """
    top = _newest_root(files, root)
    timestamp = _read(_file(files, TIMESTAMP), Timestamp, top, Timestamp.type)
    snapshot = _below(files, timestamp.snapshot_meta, Snapshot.type, Snapshot, top)
    targets = _below(files, _meta(snapshot, Targets.type), Targets.type, Targets, top)
    model = path.partition("/")[0]
    role = _below(files, _meta(snapshot, model), model, Targets, targets)
    target = role.targets.get(path)
    allowed = targets.delegations.roles[model] if targets.delegations and targets.delegations.roles else None
    if target is None or allowed is None or not allowed.is_delegated_path(path):
        raise ProvenanceError(
            f"The signed metadata does not have {path}: it was never released, or withdrawn."
        )
    try:
        custom = msgspec.convert(target.custom, TargetCustom)
        entry = TargetEntry(path, target.length, target.hashes["sha256"], custom)
    except (msgspec.ValidationError, KeyError) as error:
        raise ProvenanceError(f"The signed metadata describes {path} in another form.") from error
    return Release(entry, top.version, timestamp.expires)


def _newest_root(files: Mapping[str, bytes], trusted: bytes) -> Root:
    root = _root(trusted)
    _read(trusted, Root, root, Root.type)
    while (data := files.get(f"{root.version + 1}.{Root.type}.json")) is not None:
        _read(data, Root, root, Root.type)
        following = _root(data)
        _read(data, Root, following, Root.type)
        if following.version != root.version + 1:
            raise ProvenanceError("A root of the signed metadata has another version than its name.")
        root = following
    return root


def _root(data: bytes) -> Root:
    try:
        return Metadata[Root].from_bytes(data).signed
    except (DeserializationError, ValueError) as error:
        raise ProvenanceError("A root of the signed metadata cannot be read.") from error


def _below(
    files: Mapping[str, bytes], meta: MetaFile, role: str, shape: type[T], authority: Root | Targets
) -> T:
    data = _file(files, f"{meta.version}.{role}.json")
    signed = _read(data, shape, authority, role)
    if signed.version != meta.version:
        raise ProvenanceError(f"The metadata of {role} is not the version that the one above it names.")
    return signed


def _meta(snapshot: Snapshot, role: str) -> MetaFile:
    try:
        return snapshot.meta[f"{role}.json"]
    except KeyError as error:
        raise ProvenanceError(f"The signed metadata has no role {role[:80]!r}.") from error


def _file(files: Mapping[str, bytes], name: str) -> bytes:
    try:
        return files[name]
    except KeyError as error:
        raise ProvenanceError(f"The signed metadata lacks {name}.") from error


def _read(data: bytes, shape: type[T], authority: Root | Targets, role: str) -> T:
    try:
        metadata: Metadata[T] = Metadata.from_bytes(data)
        authority.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except (DeserializationError, RepositoryError, ValueError) as error:
        raise ProvenanceError(f"The signed metadata of {role} does not verify.") from error
    if not isinstance(metadata.signed, shape):
        raise ProvenanceError(f"The signed metadata of {role} is of another type.")
    return metadata.signed
