"""The image repository: which releases exist, signed, in a folder.

::

    1.root.json 2.root.json ...     every root, for ever: devices walk from theirs to the newest
    timestamp.json                  names the snapshot, which names the version of everything else
    7.snapshot.json 3.targets.json 5.<model>.json

The rules that make a killed process harmless:

* **What ``timestamp.json`` reaches is the repository**; nothing else in the folder was ever published. A
  change writes new numbered files, then the snapshot, and at last the timestamp, whose rename is the commit.
  A process killed before it leaves files that nobody names, and the change has to be asked for again:
  ``add_release`` and ``withdraw`` do nothing where nothing is to be done.
* **A numbered file is never written twice.** The next number is one above the highest on disk, left-overs
  included: so a number that anybody could have seen never means two contents.
* A root is a commit of its own: one file, and its number must be the next.
* Files stay on disk, and on the broker, for one more generation: a device in the middle of a refresh still
  asks for them. ``superseded`` names what is older.
"""

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from tuf.api.metadata import MetaFile, Root, Signed, Snapshot, Targets, Timestamp

from edgewright.controller.errors import DataFolderDamagedError
from edgewright.controller.trust import documents
from edgewright.controller.trust.documents import LIFE, T, TargetEntry
from edgewright.controller.trust.durable import Write, write_durably
from edgewright.controller.trust.folder import TIMESTAMP_FILE, MetadataFolder, file_name
from edgewright.controller.trust.keys import IMAGE_ROLES, CryptoSigner, KeyStore

__all__ = ["ImageRepository", "TargetEntry", "now_utc"]


class _State(NamedTuple):
    """What the timestamp reaches; replaced as a whole at each commit.

    ``roles`` holds ``targets`` and one entry a model.
    """

    root: Root
    timestamp: int
    timestamp_due: datetime
    snapshot: Snapshot
    roles: Mapping[str, Targets]


def now_utc() -> datetime:
    """The clock, in whole seconds as TUF writes it."""
    return datetime.now(UTC).replace(microsecond=0)


class ImageRepository:
    """Signed metadata in one folder; safe to use from several threads, one controller at a time."""

    def __init__(
        self,
        folder: Path,
        keys: KeyStore,
        *,
        write: Write = write_durably,
        clock: Callable[[], datetime] = now_utc,
    ) -> None:
        self._folder = MetadataFolder(folder, write)
        self._keys = keys
        self._clock = clock
        self._lock = threading.RLock()
        self._committed: _State | None = None

    def ensure(self) -> None:
        """Make keys, root and an empty repository at the first start; read and verify them later.

        Raises:
            DataFolderDamagedError: keys or files are missing, changed or cannot be written.
        """
        with self._lock:
            root = self._read_roots() if self._folder.has(file_name(1, Root.type)) else self._make_root()
            if self._folder.has(TIMESTAMP_FILE):
                self._committed = self._read_state(root)
            else:
                self._commit_first(root)
            self._keys.warn()

    def add_release(self, entries: Sequence[TargetEntry]) -> bool:
        """Sign releases; returns whether anything changed.

        Raises:
            ModelTomlError: a model's name cannot be a role's.
            DataFolderDamagedError: a path was released with other content, or a file cannot be written.
        """
        with self._lock:
            changed: dict[str, Targets] = {}
            for entry in entries:
                role = self._role_of(entry.custom.model, changed)
                known = role.targets.get(entry.path)
                new = documents.target_file(entry)
                if known is not None and known != new:
                    raise DataFolderDamagedError(f"{entry.path} was released with other content before.")
                if known is None:
                    changed[entry.custom.model] = role
                    role.targets[entry.path] = new
            return self._commit_if_needed(changed)

    def withdraw(self, paths: Collection[str]) -> bool:
        """Take releases back: no device installs them any more; returns whether anything changed."""
        with self._lock:
            changed: dict[str, Targets] = {}
            for model in documents.delegated(self._state.roles[Targets.type]):
                role = deepcopy(self._state.roles[model])
                gone = [path for path in role.targets if path in paths]
                for path in gone:
                    del role.targets[path]
                if gone:
                    changed[model] = role
            return self._commit_if_needed(changed)

    def renew(self) -> bool:
        """Sign again what is past half of its life; returns whether there is something to publish."""
        with self._lock:
            now = self._clock()
            root_due = documents.is_due(self._state.root, now)
            if root_due:
                self._renew_root(now)
            state = self._state
            due = {name: deepcopy(role) for name, role in state.roles.items() if documents.is_due(role, now)}
            if due or documents.is_due(state.snapshot, now):
                self._commit(state, due)
            elif now > state.timestamp_due:
                self._commit_timestamp(state)
            else:
                return root_due
            return True

    def files(self) -> dict[str, bytes]:
        """Everything that a device may ask for: all roots, and what the timestamp reaches, by file name."""
        with self._lock:
            state = self._state
            names = [file_name(version, Root.type) for version in range(1, state.root.version + 1)]
            names += [file_name(version, role) for role, version in self._versions().items()]
            return {name: self._folder.read(name) for name in (*names, TIMESTAMP_FILE)}

    def superseded(self) -> tuple[str, ...]:
        """Files older than the previous generation: their topics can be cleared, then ``discard`` them."""
        with self._lock:
            current = self._versions()
            older: dict[str, list[int]] = {}
            for version, role in sorted(self._folder.numbered()):
                if version < current.get(role, 0):
                    older.setdefault(role, []).append(version)
            return tuple(
                file_name(version, role) for role, versions in older.items() for version in versions[:-1]
            )

    def discard(self, names: Collection[str]) -> None:
        """Delete superseded files."""
        with self._lock:
            self._folder.delete(set(names).intersection(self.superseded()))

    def root_bytes(self) -> bytes:
        """The newest root, which a device gets when it enrols."""
        return self._folder.read(file_name(self.root_version, Root.type))

    @property
    def root_version(self) -> int:
        """Version of the newest root."""
        return self._state.root.version

    @property
    def timestamp_version(self) -> int:
        """Version of the committed timestamp."""
        return self._state.timestamp

    @property
    def laboratory(self) -> bool:
        """Whether the keys are the ones that the controller made by itself; see ``keys``."""
        return self._keys.laboratory

    @property
    def _state(self) -> _State:
        if self._committed is None:
            raise DataFolderDamagedError("The image repository was not opened with ensure().")
        return self._committed

    def _versions(self) -> dict[str, int]:
        """Version of each numbered file that the timestamp reaches, by role."""
        numbered: dict[str, Signed] = {Snapshot.type: self._state.snapshot, **self._state.roles}
        return {role: signed.version for role, signed in numbered.items()}

    def _role_of(self, model: str, changed: dict[str, Targets]) -> Targets:
        """The model's role to be changed: in this change, in the repository, or new with its delegation."""
        documents.check_role_name(model)
        if model in changed:
            return changed[model]
        if model in self._state.roles:
            return deepcopy(self._state.roles[model])
        top = changed.setdefault(Targets.type, deepcopy(self._state.roles[Targets.type]))
        documents.delegate(top, model, self._keys.signers("image/release"))
        changed[model] = Targets()
        return changed[model]

    def _make_root(self) -> Root:
        self._keys.ensure(IMAGE_ROLES)
        root = documents.new_root({role: self._signers(role) for role in LIFE}, self._clock())
        self._write_signed(root, Root.type)
        return root

    def _renew_root(self, now: datetime) -> None:
        root = deepcopy(self._state.root)
        root.version += 1
        root.expires = now + LIFE[Root.type]
        self._write_signed(root, Root.type)
        self._committed = self._state._replace(root=root)

    def _commit_first(self, root: Root) -> None:
        if any(role not in LIFE for _, role in self._folder.numbered()):
            raise DataFolderDamagedError(f"The image repository has releases and no {TIMESTAMP_FILE}.")
        nothing = _State(root, 0, self._clock(), Snapshot(), {})
        self._commit(nothing, {Targets.type: Targets()})

    def _commit_if_needed(self, changed: Mapping[str, Targets]) -> bool:
        if changed:
            self._commit(self._state, changed)
        return bool(changed)

    def _commit(self, state: _State, changed: Mapping[str, Targets]) -> None:
        """Numbered files of the changed roles, the snapshot over them, then the timestamp."""
        now = self._clock()
        for name, role in changed.items():
            role.version = self._folder.next_version(name)
            role.expires = now + LIFE[Targets.type]
            self._write_signed(role, name)
        roles = {**state.roles, **changed}
        snapshot = Snapshot(
            version=self._folder.next_version(Snapshot.type),
            expires=now + LIFE[Snapshot.type],
            meta={f"{name}.json": MetaFile(role.version) for name, role in roles.items()},
        )
        self._write_signed(snapshot, Snapshot.type)
        self._commit_timestamp(state._replace(snapshot=snapshot, roles=roles))

    def _commit_timestamp(self, state: _State) -> None:
        timestamp = Timestamp(
            version=state.timestamp + 1,
            expires=self._clock() + LIFE[Timestamp.type],
            snapshot_meta=MetaFile(state.snapshot.version),
        )
        self._folder.write_timestamp(documents.sign(timestamp, self._signers(Timestamp.type)))
        self._committed = state._replace(
            timestamp=timestamp.version, timestamp_due=documents.due_at(timestamp)
        )

    def _write_signed(self, signed: T, role: str) -> None:
        data = documents.sign(signed, self._signers(role))
        self._folder.write_numbered(signed.version, role, data)

    def _signers(self, role: str) -> list[CryptoSigner]:
        return self._keys.signers(f"image/{role if role in LIFE else 'release'}")

    def _read_roots(self) -> Root:
        root = documents.read_root(self._folder.read(file_name(1, Root.type)), None)
        while self._folder.has(name := file_name(root.version + 1, Root.type)):
            root = documents.read_root(self._folder.read(name), root)
        return root

    def _read_state(self, root: Root) -> _State:
        timestamp = documents.read(self._folder.read(TIMESTAMP_FILE), Timestamp, root, Timestamp.type)
        snapshot = self._read_role(timestamp.snapshot_meta, Snapshot.type, Snapshot, root)
        top = self._read_role(snapshot.meta[f"{Targets.type}.json"], Targets.type, Targets, root)
        roles = {Targets.type: top}
        for model in documents.delegated(top):
            roles[model] = self._read_role(snapshot.meta[f"{model}.json"], model, Targets, top)
        return _State(root, timestamp.version, documents.due_at(timestamp), snapshot, roles)

    def _read_role(self, meta: MetaFile, role: str, shape: type[T], authority: Root | Targets) -> T:
        name = file_name(meta.version, role)
        signed = documents.read(self._folder.read(name), shape, authority, role)
        if signed.version != meta.version:
            raise DataFolderDamagedError(f"{name} holds version {signed.version}.")
        return signed
