"""Changes of the image repository as data, and what each would sign: pure functions over a state.

A change says what shall be, not what to do: planning it again, after a restart or after the repository has
moved on, gives what is still missing, and nothing at all once it is there. So a change that waits for
signatures survives everything, and doing it twice is harmless.
"""

from collections.abc import Sequence
from copy import deepcopy
from datetime import datetime
from typing import Final, NamedTuple

import msgspec
from tuf.api.metadata import Root, Targets

from edgewright.controller.errors import DataFolderDamagedError, InvalidRequestError
from edgewright.controller.trust import documents
from edgewright.controller.trust.documents import RoleKeys, TargetEntry
from edgewright.controller.trust.state import State, release_keys

RELEASE: Final = "release"
"""Stands for all models that have no keys of their own."""


class First(msgspec.Struct, frozen=True, tag="first"):
    """The first root and an empty catalogue.

    Attributes:
        roles: keys of root, targets, snapshot and timestamp.
        release: keys of the models that get none of their own.
    """

    roles: dict[str, RoleKeys]
    release: RoleKeys


class Release(msgspec.Struct, frozen=True, tag="release"):
    """Releases are in the catalogue."""

    entries: tuple[TargetEntry, ...]


class Withdrawal(msgspec.Struct, frozen=True, tag="withdrawal"):
    """Releases are no longer in the catalogue."""

    paths: tuple[str, ...]


class Keys(msgspec.Struct, frozen=True, tag="keys"):
    """Roles have exactly these keys.

    Attributes:
        roles: by name of a top-level role or a model, or ``release``.
        restart: versions of snapshot and timestamp begin low again; only with new keys for both, because
            devices then forget what a thief has signed with the old ones.
    """

    roles: dict[str, RoleKeys]
    restart: bool = False


class Renewal(msgspec.Struct, frozen=True, tag="renewal"):
    """Roles are signed again, each later than in the version that is named."""

    after: dict[str, int]


Change = First | Release | Withdrawal | Keys | Renewal


class Proposal(NamedTuple):
    """Documents to be signed; their versions and expiry are not set yet.

    Attributes:
        root: a new root, if any.
        roles: new versions of ``targets`` and of models.
    """

    root: Root | None
    roles: dict[str, Targets]

    @property
    def is_empty(self) -> bool:
        """Whether the change is there already."""
        return self.root is None and not self.roles


def plan(change: Change, state: State | None, default: RoleKeys | None, now: datetime) -> Proposal:
    """What a change would sign.

    Args:
        change: what shall be.
        state: None where nothing is signed yet.
        default: keys of models, for a repository that does not name them itself.
        now: the clock, for a first root.

    Raises:
        ModelTomlError: a model's name cannot be a role's.
        DataFolderDamagedError: a path was released with other content.
        InvalidRequestError: roles or keys that cannot be.
    """
    if isinstance(change, First):
        return _plan_first(change, state, now)
    if state is None:
        raise DataFolderDamagedError("The image repository has no root yet.")
    draft = _Draft(state, default)
    if isinstance(change, Release):
        draft.release(change.entries)
    elif isinstance(change, Withdrawal):
        draft.withdraw(change.paths)
    elif isinstance(change, Keys):
        draft.rekey(change.roles)
    else:
        draft.renew(change.after)
    return Proposal(draft.root, draft.roles)


def demands(proposal: Proposal, state: State | None, role: str) -> tuple[RoleKeys, ...]:
    """Whose signatures a document of a proposal needs; a root needs the old root's keys and its own."""
    newest = proposal.root or (state.root if state else None)
    assert newest is not None, "a proposal without a root has a state"
    if role == Root.type:
        old = () if state is None else (documents.keys_of(state.root, Root.type),)
        own = documents.keys_of(newest, Root.type)
        return (*old, own) if own not in old else old
    if role == Targets.type:
        return (documents.keys_of(newest, role),)
    top = proposal.roles.get(Targets.type) or (state.top if state else None)
    assert top is not None, "a model's role has a state"
    return (documents.keys_of(top, role),)


def verify_keys(name: str, wanted: RoleKeys) -> None:
    """Refuse a threshold that nobody can reach or that everybody does.

    Raises:
        InvalidRequestError: it is one.
    """
    if not 1 <= wanted.threshold <= len(wanted.keys):
        raise InvalidRequestError(
            f"The threshold of {name} cannot be {wanted.threshold} with {len(wanted.keys)} keys."
        )


def _plan_first(change: First, state: State | None, now: datetime) -> Proposal:
    top = Targets()
    verify_keys(RELEASE, change.release)
    documents.set_field(top, release=msgspec.to_builtins(change.release))
    if state is not None:
        return Proposal(None, {} if state.roles else {Targets.type: top})
    root = documents.empty_root(now)
    for role in sorted(documents.TOP_LEVEL):
        verify_keys(role, change.roles[role])
        documents.set_keys(root, role, change.roles[role])
    return Proposal(root, {Targets.type: top})


class _Draft:
    """Documents of a proposal in the making, each a copy of what is signed."""

    def __init__(self, state: State, default: RoleKeys | None) -> None:
        self.root: Root | None = None
        self.roles: dict[str, Targets] = {}
        self._state = state
        self._default = default

    def release(self, entries: Sequence[TargetEntry]) -> None:
        for entry in entries:
            model = documents.check_role_name(entry.custom.model)
            known = self._known(model)
            before = known.targets.get(entry.path) if known else None
            if before is not None:
                if not documents.is_entry(before, entry):
                    raise DataFolderDamagedError(f"{entry.path} was released with other content before.")
                continue
            if known is None:
                self._delegate(model, self._release_keys())
            role = self._changed(model)
            floor = documents.field_of(role).get("min_counter", 0)
            role.targets[entry.path] = documents.target_file(documents.with_floor(entry, floor))

    def withdraw(self, paths: Sequence[str]) -> None:
        for model in documents.delegated(self._state.top):
            for path in sorted(set(paths).intersection(self._state.roles[model].targets)):
                role = self._changed(model)
                counter = documents.entry_of(role.targets.pop(path)).custom.release_counter
                floor = documents.field_of(role).get("min_counter", 0)
                documents.set_field(role, min_counter=max(floor, counter + 1))

    def rekey(self, roles: dict[str, RoleKeys]) -> None:
        for name, wanted in roles.items():
            verify_keys(name, wanted)
            if name in documents.TOP_LEVEL:
                self._rekey_top(name, wanted)
            elif name == RELEASE:
                self._rekey_release(wanted)
            else:
                self._rekey_model(name, wanted)

    def renew(self, after: dict[str, int]) -> None:
        for role, version in after.items():
            if role == Root.type:
                if self._state.root.version <= version:
                    self.root = deepcopy(self._state.root)
            elif role in self._state.roles and self._state.roles[role].version <= version:
                self._changed(role)

    def _rekey_top(self, name: str, wanted: RoleKeys) -> None:
        if documents.keys_of(self._state.root, name) == wanted:
            return
        self.root = self.root or deepcopy(self._state.root)
        documents.set_keys(self.root, name, wanted)
        if name == Targets.type:
            self._changed(name)

    def _rekey_release(self, wanted: RoleKeys) -> None:
        before = self._release_keys()
        if before == wanted:
            return
        for model in documents.delegated(self._state.top):
            if documents.keys_of(self._state.top, model) == before:
                self._rekey_model(model, wanted)
        documents.set_field(self._changed(Targets.type), release=msgspec.to_builtins(wanted))

    def _rekey_model(self, model: str, wanted: RoleKeys) -> None:
        documents.check_role_name(model)
        if self._known(model) is None:
            return self._delegate(model, wanted)
        if documents.keys_of(self._state.top, model) == wanted:
            return None
        documents.set_keys(self._changed(Targets.type), model, wanted)
        self._changed(model)
        return None

    def _delegate(self, model: str, wanted: RoleKeys) -> None:
        documents.delegate(self._changed(Targets.type), model, wanted)
        self.roles[model] = Targets()

    def _release_keys(self) -> RoleKeys:
        found = release_keys(self._state.top) or self._default
        if found is None:
            raise DataFolderDamagedError("The image repository does not say who signs models.")
        return found

    def _known(self, role: str) -> Targets | None:
        return self.roles.get(role) or self._state.roles.get(role)

    def _changed(self, role: str) -> Targets:
        if role not in self.roles:
            self.roles[role] = deepcopy(self._state.roles[role])
        return self.roles[role]
