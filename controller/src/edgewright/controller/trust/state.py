"""What a repository's folder holds, verified: from the newest root to the role of each model."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec
from tuf.api.metadata import MetaFile, Root, Signed, Snapshot, Targets, Timestamp

from edgewright.controller.errors import DataFolderDamagedError
from edgewright.controller.trust import documents
from edgewright.controller.trust.documents import RoleKeys, T
from edgewright.controller.trust.folder import TIMESTAMP_FILE, MetadataFolder, file_name


class State(NamedTuple):
    """What the timestamp reaches; replaced as a whole at each commit.

    ``roles`` holds ``targets`` and one entry a model. ``settled`` is whether all of it verifies under the
    newest root; in the middle of a rotation it does under an earlier one only.
    """

    root: Root
    timestamp: int
    timestamp_due: datetime
    snapshot: Snapshot
    roles: Mapping[str, Targets]
    settled: bool = True

    @property
    def top(self) -> Targets:
        """The top-level targets role."""
        return self.roles[Targets.type]

    def authority_of(self, role: str) -> Root | Targets:
        """Who says which keys sign a role."""
        return self.root if role in documents.TOP_LEVEL else self.top

    def versions(self) -> dict[str, int]:
        """Version of each numbered file that the timestamp reaches, by role."""
        numbered: dict[str, Signed] = {Snapshot.type: self.snapshot, **self.roles}
        return {role: signed.version for role, signed in numbered.items()}


def empty_state(root: Root) -> State:
    """A repository that has a root and nothing else."""
    return State(root, 0, datetime.fromtimestamp(0, UTC), Snapshot(), {})


def release_keys(top: Targets) -> RoleKeys | None:
    """Who signs models that have no keys of their own; None in a repository from before this was signed."""
    found = documents.field_of(top).get("release")
    return None if found is None else msgspec.convert(found, RoleKeys)


def read_roots(folder: MetadataFolder) -> list[Root]:
    """All roots, each signed by the one before it; the newest last.

    Raises:
        DataFolderDamagedError: one is missing or changed.
    """
    roots = [documents.read_root(folder.read(file_name(1, Root.type)), None)]
    while folder.has(name := file_name(roots[-1].version + 1, Root.type)):
        roots.append(documents.read_root(folder.read(name), roots[-1]))
    return roots


def read_state(folder: MetadataFolder, roots: list[Root]) -> State:
    """The repository, verified under the newest root, or, after a kill in a rotation, an earlier one.

    Raises:
        DataFolderDamagedError: files are missing or changed.
    """
    try:
        return _read_under(folder, roots[-1])
    except DataFolderDamagedError as error:
        for earlier in reversed(roots[:-1]):
            try:
                found = _read_under(folder, earlier)
            except DataFolderDamagedError:
                continue
            return found._replace(root=roots[-1], settled=False)
        raise error from None


def _read_under(folder: MetadataFolder, root: Root) -> State:
    timestamp = documents.read(folder.read(TIMESTAMP_FILE), Timestamp, root, Timestamp.type)
    snapshot = _read_role(folder, timestamp.snapshot_meta, Snapshot.type, Snapshot, root)
    top = _read_role(folder, snapshot.meta[f"{Targets.type}.json"], Targets.type, Targets, root)
    roles = {Targets.type: top}
    for model in documents.delegated(top):
        roles[model] = _read_role(folder, snapshot.meta[f"{model}.json"], model, Targets, top)
    return State(root, timestamp.version, documents.due_at(timestamp), snapshot, roles)


def _read_role(
    folder: MetadataFolder, meta: MetaFile, role: str, shape: type[T], authority: Root | Targets
) -> T:
    name = file_name(meta.version, role)
    signed = documents.read(folder.read(name), shape, authority, role)
    if signed.version != meta.version:
        raise DataFolderDamagedError(f"{name} holds version {signed.version}.")
    return signed
