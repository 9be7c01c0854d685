"""The director's roots: who may sign assignments, who may acknowledge, and who may say so.

::

    roots/1.root.json 2.root.json ...    every root, for ever: devices walk from theirs to the newest
    keys/root, keys/targets              private keys that are on this machine
    waiting.json                         a next root that waits for signatures of keys that are elsewhere

TUF's ``timestamp`` role, for which a single document has no other use, names the key that signs
acknowledgements; its private half lies with the controller. A next root needs the signatures of the one
before and its own. What this machine's keys cannot sign is asked for, as for the image repository
(``requests``). Keys that the newest root does not name are deleted: a key that was rotated out is gone.
"""

import logging
from collections.abc import Callable, Mapping
from copy import deepcopy
from datetime import datetime
from pathlib import Path
from typing import Final

from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from edgewright.controller.durable import Write
from edgewright.controller.errors import DataFolderDamagedError, SignatureRefusedError
from edgewright.controller.trust import documents, requests
from edgewright.controller.trust.changes import Keys, verify_keys
from edgewright.controller.trust.documents import LIFE, RoleKeys, role_keys
from edgewright.controller.trust.folder import MetadataFolder, file_name
from edgewright.controller.trust.keys import KeyStore, Signer
from edgewright.controller.trust.requests import Part, Request

ROLES: Final = (Root.type, Targets.type)
"""Roles of which private keys can lie with the director."""

_WAITING: Final = "waiting.json"

logger = logging.getLogger(__name__)


class DirectorRoots:
    """The chain of roots in one folder, and the keys beside it."""

    def __init__(self, folder: Path, write: Write, clock: Callable[[], datetime]) -> None:
        self._folder = folder
        self._files = MetadataFolder(folder / "roots", write)
        self.keys = KeyStore(folder / "keys", write)
        self._write = write
        self._clock = clock
        self._newest: Root | None = None

    def open(self, acknowledger: RoleKeys) -> None:
        """Make keys and a first root, or read and verify what is there; renew what is past half of its life.

        Raises:
            DataFolderDamagedError: keys or roots are missing, changed or cannot be written.
        """
        if not self._files.has(file_name(1, Root.type)):
            self._make_first(acknowledger)
        self._newest = self._read()
        if not self.newest.roles[Timestamp.type].keyids:
            # A folder of an older release: nobody could acknowledge yet.
            self.change({Timestamp.type: acknowledger})
        elif documents.is_due(self.newest, self._clock()) and not self.waiting():
            self.change({})
        if not self.signers():
            raise DataFolderDamagedError(f"The director's signing key is gone from {self._folder / 'keys'}.")

    @property
    def newest(self) -> Root:
        """The newest root."""
        if self._newest is None:
            raise DataFolderDamagedError("The director was not opened.")
        return self._newest

    def files(self) -> tuple[bytes, ...]:
        """Every root, the first first."""
        return tuple(self._files.read(file_name(n, Root.type)) for n in range(1, self.newest.version + 1))

    def signers(self) -> list[Signer]:
        """Keys that sign assignments."""
        return self.keys.present(Targets.type, self.newest.roles[Targets.type].keyids)

    def laboratory(self) -> bool:
        """Whether the keys on this machine alone can sign a next root."""
        role = self.newest.roles[Root.type]
        return len(self.keys.present(Root.type, role.keyids)) >= role.threshold

    def waiting(self) -> Request | None:
        """The next root that waits for signatures.

        Raises:
            DataFolderDamagedError: its file cannot be read.
        """
        path = self._folder / _WAITING
        if not path.exists():
            return None
        try:
            return requests.decode(path.read_bytes())
        except (OSError, SignatureRefusedError) as error:
            raise DataFolderDamagedError(f"{path} cannot be read.") from error

    def change(self, wanted: Mapping[str, RoleKeys]) -> None:
        """Sign a next root in which these roles have exactly these keys, as far as keys are here.

        One that waits is replaced. What can be signed here wholly is the newest root when this returns.

        Raises:
            InvalidRequestError: a threshold cannot be reached.
            DataFolderDamagedError: a file cannot be written.
        """
        root = deepcopy(self.newest)
        root.version += 1
        root.expires = self._clock() + LIFE[Root.type]
        for role, keys in wanted.items():
            verify_keys(role, keys)
            documents.set_keys(root, role, keys)
        before, own = (documents.keys_of(each, Root.type) for each in (self.newest, root))
        part = Part(
            role=Root.type,
            version=root.version,
            signed=documents.unsigned(root),
            before=self._files.read(file_name(self.newest.version, Root.type)).decode(),
            demands=(before,) if before == own else (before, own),
        )
        change = Keys(dict(wanted))
        made = Request(requests.identify(change), int(self._clock().timestamp()), change, (part,))
        here = self.keys.present(Root.type, {*before.keys, *own.keys})
        self._take(requests.sign(made, here))

    def adopt(self, data: bytes) -> None:
        """Take signatures that were made elsewhere.

        Raises:
            SignatureRefusedError: nothing waits, the file is about something else, or brings nothing.
        """
        held = self.waiting()
        if held is None:
            raise SignatureRefusedError("No root of the director waits for signatures.")
        merged = requests.merge(held, requests.decode(data))
        requests.refuse_unchanged(held, merged)
        self._take(merged)

    def _take(self, request: Request) -> None:
        if request.missing():
            self._write(self._folder / _WAITING, requests.encode(request))
            logger.warning("The director's next root waits for %s.", request.short_of())
            return
        (part,) = request.parts
        data = documents.assemble(part.signed, part.signatures)
        root = documents.read_root(data, self.newest)
        self._files.write_numbered(root.version, Root.type, data)
        self._newest = root
        (self._folder / _WAITING).unlink(missing_ok=True)
        self._forget_keys()

    def _forget_keys(self) -> None:
        for role in ROLES:
            named = {keyid[:16] for keyid in self.newest.roles[role].keyids}
            for path in (self._folder / "keys" / role).glob("*.pem"):
                if path.stem not in named:
                    path.unlink()

    def _make_first(self, acknowledger: RoleKeys) -> None:
        self.keys.ensure(ROLES)
        signers = {role: self.keys.signers(role) for role in ROLES}
        root = documents.new_root(signers, self._clock())
        documents.set_keys(root, Timestamp.type, acknowledger)
        # Nobody signs a snapshot here, and a role without keys can be signed by nobody.
        assert not root.roles[Snapshot.type].keyids
        self._files.write_numbered(1, Root.type, documents.sign(root, signers[Root.type]))

    def _read(self) -> Root:
        root = documents.read_root(self._files.read(file_name(1, Root.type)), None)
        while self._files.has(name := file_name(root.version + 1, Root.type)):
            root = documents.read_root(self._files.read(name), root)
        return root

    def key_state(self, role: str) -> dict[str, str]:
        """Where each key of a role is, by its id."""
        return {keyid: self.keys.store_of(role, keyid) for keyid in self.newest.roles[role].keyids}

    def made(self, role: str) -> RoleKeys:
        """A new key of a role, made and kept here; it counts once a root names it."""
        return role_keys([self.keys.generate(role)], 1)
