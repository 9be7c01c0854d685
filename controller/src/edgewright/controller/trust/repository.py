"""The image repository: which releases exist, signed, in a folder.

::

    1.root.json 2.root.json ...     every root, for ever: devices walk from theirs to the newest
    timestamp.json                  names the snapshot, which names the version of everything else
    7.snapshot.json 3.targets.json 5.<model>.json
    requests/<id>.json              changes that wait for signatures of keys that are not here

The rules that make a killed process harmless:

* **What ``timestamp.json`` reaches is the repository**; nothing else in the folder was ever published. A
  change writes new numbered files, then the snapshot, and at last the timestamp, whose rename is the commit.
  A process killed before it leaves files that nobody names, and the change has to be asked for again: a
  change says what shall be (``changes``), so asking twice does nothing.
* **A numbered file is never written twice.** The next number is the first above the current at which no file
  is, left-overs included: so a number that anybody could have seen never means two contents.
* A root is a commit of its own: one file, and its number must be the next. Where new keys come with it, the
  whole change, signatures included, is a request on disk before the root is written, and is carried on from
  there.
* Files stay on disk, and on the broker, for one more generation: a device in the middle of a refresh still
  asks for them. ``superseded`` names what is older.

Which keys sign what, and how many of them, stands in the signed metadata and nowhere else. Where the keys of
this machine do not reach a role's threshold, a change becomes a request and ``SignaturesMissingError`` says
who is waited for; snapshot and timestamp are always signed here.
"""

import logging
import threading
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
from tuf.api.metadata import MetaFile, Root, Signed, Snapshot, Targets, Timestamp

from edgewright.controller.durable import Write, write_durably
from edgewright.controller.errors import (
    DataFolderDamagedError,
    KeyStoreError,
    SignatureRefusedError,
    SignaturesMissingError,
)
from edgewright.controller.trust import changes, documents, requests, words
from edgewright.controller.trust.changes import Change, First, Keys, Proposal, Release, Renewal, Withdrawal
from edgewright.controller.trust.documents import LIFE, RoleKeys, T, TargetEntry
from edgewright.controller.trust.folder import TIMESTAMP_FILE, MetadataFolder, file_name
from edgewright.controller.trust.keys import IMAGE_ROLES, KeyStore
from edgewright.controller.trust.orders import KeyOrder, keys_change
from edgewright.controller.trust.pending import PendingRequests
from edgewright.controller.trust.requests import Part, Request
from edgewright.controller.trust.roster import KeyRow, roster
from edgewright.controller.trust.state import State, empty_state, read_roots, read_state, release_keys

__all__ = ["ImageRepository", "TargetEntry", "now_utc"]

PART: Final = "image"
"""Name of this half in the key store."""

_log = logging.getLogger(__name__)


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
        self._pending = PendingRequests(folder / "requests", write)
        self._keys = keys
        self._clock = clock
        self._lock = threading.RLock()
        self._committed: State | None = None

    def ensure(self) -> None:
        """Make keys, root and an empty repository at the first start; read and verify them later.

        Raises:
            DataFolderDamagedError: keys or files are missing, changed or cannot be written.
            SignaturesMissingError: the first root waits for signatures.
        """
        with self._lock:
            self._pending.load()
            if self.has_root:
                self._committed = self._read()
            self._review()
            if self._committed is None or not self._committed.roles:
                self._submit(self._first())
            self._keys.warn()

    @property
    def has_root(self) -> bool:
        """Whether there is a root."""
        return self._folder.has(file_name(1, Root.type))

    @property
    def is_begun(self) -> bool:
        """Whether there is a root, or a request for the first."""
        self._pending.load()
        return self.has_root or any(True for _ in self._pending)

    def begin(self, first: First) -> None:
        """Make the first root and an empty repository with these keys.

        Raises:
            InvalidRequestError: a threshold cannot be.
            SignaturesMissingError: it waits for signatures.
        """
        with self._lock:
            self._submit(first)

    def add_release(self, entries: Sequence[TargetEntry]) -> bool:
        """Sign releases; returns whether anything changed.

        Raises:
            ModelTomlError: a model's name cannot be a role's.
            DataFolderDamagedError: a path was released with other content, or a file cannot be written.
            SignaturesMissingError: the change waits for signatures.
        """
        with self._lock:
            return self._submit(Release(tuple(entries)))

    def withdraw(self, paths: Collection[str]) -> bool:
        """Take releases back: no device installs them any more; returns whether anything changed.

        Later releases of the model carry a floor above the withdrawn one. A release of these paths that
        still waits for signatures is given up.

        Raises:
            SignaturesMissingError: the change waits for signatures.
        """
        with self._lock:
            for request in list(self._pending):
                change = request.change
                if isinstance(change, Release) and {e.path for e in change.entries} & set(paths):
                    self._pending.drop(request.id)
            return self._submit(Withdrawal(tuple(sorted(paths))))

    def order_keys(self, order: KeyOrder) -> bool:
        """Change the keys or the threshold of roles; returns whether anything changed.

        Raises:
            InvalidRequestError: keys or a threshold that cannot be.
            KeyStoreError: a public key cannot be read.
            SignaturesMissingError: the change waits for signatures.
        """
        with self._lock:
            return self._submit(keys_change(self._state, order, self._keys, self._default()))

    def renew(self) -> bool:
        """Sign again what is past half of its life; returns whether there is something to publish.

        What is to be signed elsewhere becomes a request.
        """
        with self._lock:
            now = self._clock()
            state = self._state
            due: dict[str, Signed] = {Root.type: state.root, **state.roles}
            for signed_here in (True, False):
                for after in self._renewals(due, now, signed_here=signed_here):
                    self._try(Renewal(after))
            if self._state.snapshot is state.snapshot and documents.is_due(state.snapshot, now):
                self._commit_snapshot(self._state, {})
            elif self._state.timestamp == state.timestamp and now > state.timestamp_due:
                self._commit_timestamp(self._state, state.timestamp + 1)
            return self._state is not state

    def announce(self) -> None:
        """Sign a new timestamp: every device looks at it at once, and then at the director's roots too."""
        with self._lock:
            self._commit_timestamp(self._state, self._state.timestamp + 1)

    def requests(self) -> tuple[Request, ...]:
        """What waits for signatures, the oldest first, as it would be signed now.

        What a key that has come in the meantime can complete is committed; see ``timestamp_version``.
        """
        with self._lock:
            self._review()
            return tuple(self._pending)

    def import_signatures(self, data: bytes) -> tuple[Request, bool]:
        """Take a signed request file; returns the request, and whether it was committed.

        Raises:
            SignatureRefusedError: it is no request that waits, is out of date, or a signature does not count.
            DataFolderDamagedError: a file cannot be written; importing it again is harmless.
        """
        shown = requests.decode(data)
        with self._lock:
            held = self._pending.get(shown.id)
            held = self._refreshed(held) if held else None
            if held is None:
                raise SignatureRefusedError(
                    f"No request {shown.id} waits here: it is done, was given up or is of another controller."
                )
            merged = requests.merge(held, shown)
            requests.refuse_unchanged(held, merged)
            self._pending.put(merged)
            if merged.missing():
                return merged, False
            self._commit(merged)
            return merged, True

    def entry(self, path: str) -> TargetEntry | None:
        """A release as it is signed, its floor included; None where it is not in the catalogue."""
        with self._lock:
            for model in documents.delegated(self._state.top):
                if path in self._state.roles[model].targets:
                    return documents.entry_of(self._state.roles[model].targets[path])
            return None

    def roster(self) -> tuple[KeyRow, ...]:
        """Which keys sign what, and where they are."""
        with self._lock:
            return roster(self._state, self._keys)

    def files(self, wanted: Collection[str] | None = None) -> dict[str, bytes]:
        """Everything that a device may ask for, by file name, or those of it that are ``wanted``."""
        with self._lock:
            names = (name for name in self.names() if wanted is None or name in wanted)
            return {name: self._folder.read(name) for name in names}

    def names(self) -> tuple[str, ...]:
        """Names of all files that a device may ask for: all roots, and what the timestamp reaches."""
        with self._lock:
            state = self._state
            roots = (file_name(version, Root.type) for version in range(1, state.root.version + 1))
            others = (file_name(version, role) for role, version in state.versions().items())
            return (*roots, *others, TIMESTAMP_FILE)

    def superseded(self) -> tuple[str, ...]:
        """Files older than the previous generation: their topics can be cleared, then ``discard`` them.

        A number above the current one is a killed process's left-over, or from before a restart of versions.
        """
        with self._lock:
            current = self._state.versions()
            older: dict[str, list[int]] = {}
            newer = []
            for version, role in sorted(self._folder.numbered()):
                if version < current.get(role, 0):
                    older.setdefault(role, []).append(version)
                elif role in current and version > current[role]:
                    newer.append(file_name(version, role))
            old = [file_name(version, role) for role, found in older.items() for version in found[:-1]]
            return (*old, *newer)

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
    def _state(self) -> State:
        if self._committed is None:
            raise DataFolderDamagedError("The image repository was not opened with ensure().")
        return self._committed

    def _read(self) -> State:
        roots = read_roots(self._folder)
        if self._folder.has(TIMESTAMP_FILE):
            return read_state(self._folder, roots)
        if any(role not in LIFE for _, role in self._folder.numbered()):
            raise DataFolderDamagedError(f"The image repository has releases and no {TIMESTAMP_FILE}.")
        return empty_state(roots[-1])

    def _first(self) -> First:
        """The first root of a laboratory; a ceremony's waits as a request."""
        waiting = next((r.change for r in self._pending if isinstance(r.change, First)), None)
        if waiting is not None:
            return waiting
        self._keys.ensure(IMAGE_ROLES)
        root = self._committed.root if self._committed else None
        roles = {
            role: documents.keys_of(root, role) if root else self._stored_keys(role) for role in sorted(LIFE)
        }
        return First(roles, self._stored_keys("release"))

    def _stored_keys(self, role: str) -> RoleKeys:
        signers = self._keys.signers(f"{PART}/{role}")
        return documents.role_keys([signer.public_key for signer in signers], 1)

    def _default(self) -> RoleKeys | None:
        """Keys of models, for a repository from before they were signed."""
        state = self._committed
        if state is None or not state.roles or release_keys(state.top) is not None:
            return None
        return self._stored_keys("release")

    def _renewals(self, due: dict[str, Signed], now: datetime, *, signed_here: bool) -> list[dict[str, int]]:
        """Roles that are due: the root alone, what is signed here in one change, the rest one by one."""
        late = {role: doc.version for role, doc in due.items() if documents.is_due(doc, now)}
        chosen = {role: version for role, version in late.items() if self._signs(role) is signed_here}
        root = {role: chosen.pop(role) for role in (Root.type,) if role in chosen}
        rest = [chosen] if signed_here else [{role: version} for role, version in chosen.items()]
        return [after for after in (root, *rest) if after]

    def _signs(self, role: str) -> bool:
        """Whether the keys of this machine reach a role's threshold."""
        wanted = documents.keys_of(self._state.authority_of(role), role)
        return len(self._keys.present(PART, wanted.keys)) >= wanted.threshold

    def _try(self, change: Change) -> None:
        known = self._pending.get(requests.identify(change)) is not None
        try:
            self._submit(change)
        except SignaturesMissingError as error:
            if not known:
                _log.warning("%s", error.sentence)

    def _submit(self, change: Change) -> bool:
        """Commit a change that can be signed here; hold it as a request otherwise."""
        before = self._committed
        held = self._pending.get(requests.identify(change))
        request = self._refreshed(held) if held else self._build(change, self._clock())
        if request is None:
            return self._committed is not before
        # A key may have come since a request was held: a token was plugged in, or its PIN given.
        request = self._signed_here(request, loud=held is None)
        if request.missing():
            if request != held:
                self._hold(request)
            raise SignaturesMissingError(f"Request {request.id} waits for {request.short_of()}.")
        self._commit(request)
        return True

    def _is_there(self, request: Request) -> bool:
        """Whether the repository holds exactly these documents."""
        docs: dict[str, Signed] = {Root.type: self._state.root, **self._state.roles}
        return all(
            part.role in docs
            and docs[part.role].version == part.version
            and documents.unsigned(docs[part.role]) == part.signed
            for part in request.parts
        )

    def _build(self, change: Change, now: datetime) -> Request | None:
        """The request for a change, without signatures; None where nothing is to be done."""
        proposal = changes.plan(change, self._committed, self._default(), now)
        if proposal.is_empty:
            return None
        signed: dict[str, Signed] = {Root.type: proposal.root} if proposal.root else {}
        for role in sorted(proposal.roles, key=lambda name: (name != Targets.type, name)):
            signed[role] = proposal.roles[role]
        parts = tuple(self._part(role, document, proposal, now) for role, document in signed.items())
        return Request(requests.identify(change), int(now.timestamp()), change, parts)

    def _part(self, role: str, signed: Signed, proposal: Proposal, now: datetime) -> Part:
        state = self._committed
        current: Signed | None = None
        if state is not None:
            current = state.root if role == Root.type else state.roles.get(role)
        above = current.version if current else 0
        # A root's number has to be the next one; no left-over can have it, because its file is its commit.
        signed.version = above + 1 if role == Root.type else self._folder.free_version(role, above)
        signed.expires = now + LIFE[signed.type]
        before = self._folder.read(file_name(above, role)).decode() if current else ""
        demands = changes.demands(proposal, state, role)
        return Part(role, signed.version, documents.unsigned(signed), before, demands)

    def _signed_here(self, request: Request, *, loud: bool = True) -> Request:
        wanted = {keyid for part in request.parts for demand in part.demands for keyid in demand.keys}
        for signer in self._keys.present(PART, wanted):
            try:
                request = requests.sign(request, [signer])
            except KeyStoreError as error:
                # A token that is not plugged in: its signature can still be imported.
                _log.log(logging.WARNING if loud else logging.DEBUG, "%s", error.sentence)
        return request

    def _refreshed(self, held: Request) -> Request | None:
        """A held request as it is now; None where it has nothing left to do, or was just committed."""
        now = self._build(held.change, datetime.fromtimestamp(held.made_at, UTC))
        if now is not None and _asked(now) == _asked(held):
            return held
        self._pending.drop(held.id)
        made = self._build(held.change, self._clock())
        if made is None:
            return None
        made = self._signed_here(made)
        if not made.missing():
            self._commit(made)
            return None
        return self._hold(made)

    def _hold(self, request: Request) -> Request:
        if not request.summary:
            request = msgspec.structs.replace(request, summary=words.summary(request))
        self._pending.put(request)
        return request

    def _review(self) -> None:
        """Carry on what was complete when the process was killed, and bring the rest up to date."""
        for request in list(self._pending):
            if request.missing() == 0:
                self._commit(request)
        for request in list(self._pending):
            self._try(request.change)

    def _commit(self, request: Request) -> None:
        """The parts' files, the root first; then the snapshot over them and the timestamp."""
        state = self._committed
        rotates = isinstance(request.change, Keys)
        if state is not None and state.settled and state.roles and self._is_there(request):
            self._pending.drop(request.id)
            return
        if rotates and self._pending.get(request.id) != request:
            self._pending.put(request)
        changed: dict[str, Targets] = {}
        for part in request.parts:
            signed = self._write_part(part)
            if isinstance(signed, Root):
                self._committed = state = state._replace(root=signed) if state else empty_state(signed)
            elif isinstance(signed, Targets):
                changed[part.role] = signed
        assert state is not None, "the first change brings a root"
        if changed or rotates:
            restart = isinstance(request.change, Keys) and request.change.restart
            self._commit_snapshot(state, changed, restart=restart)
        self._pending.drop(request.id)
        if rotates and not self._signs(Root.type):
            self._keys.graduate()

    def _write_part(self, part: Part) -> Signed:
        """Write a part's file; one that a killed process has written is as good."""
        name = file_name(part.version, part.role)
        written = self._folder.has(name) and documents.signed_part(self._folder.read(name)) == part.signed
        if not written:
            self._folder.write_numbered(part.version, part.role, requests.published(part))
        return documents.parse(part.signed)

    def _commit_snapshot(self, state: State, changed: dict[str, Targets], *, restart: bool = False) -> None:
        roles = {**state.roles, **changed}
        above = 0 if restart else state.snapshot.version if state.timestamp else 0
        snapshot = Snapshot(
            version=self._folder.free_version(Snapshot.type, above),
            expires=self._clock() + LIFE[Snapshot.type],
            meta={f"{name}.json": MetaFile(role.version) for name, role in roles.items()},
        )
        self._folder.write_numbered(snapshot.version, Snapshot.type, self._sign_online(state, snapshot))
        after = state._replace(snapshot=snapshot, roles=roles, settled=True)
        self._commit_timestamp(after, 1 if restart else state.timestamp + 1)

    def _commit_timestamp(self, state: State, version: int) -> None:
        timestamp = Timestamp(
            version=version,
            expires=self._clock() + LIFE[Timestamp.type],
            snapshot_meta=MetaFile(state.snapshot.version),
        )
        self._folder.write_timestamp(self._sign_online(state, timestamp))
        self._committed = state._replace(timestamp=version, timestamp_due=documents.due_at(timestamp))

    def _sign_online(self, state: State, signed: T) -> bytes:
        """A document of a role whose keys are always here."""
        wanted = documents.keys_of(state.root, signed.type)
        signers = self._keys.present(PART, wanted.keys)
        if len(signers) < wanted.threshold:
            raise DataFolderDamagedError(f"The signing key of {PART}/{signed.type} is gone.")
        return documents.sign(signed, signers)


def _asked(request: Request) -> list[tuple[str, tuple[RoleKeys, ...]]]:
    return [(part.signed, part.demands) for part in request.parts]
