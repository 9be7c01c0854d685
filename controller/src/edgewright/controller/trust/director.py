"""The director: one signed document a device, which says what that device shall run.

The document is Targets metadata with one target and our field beside it (``wire.assignment``). Its keys are
not the image repository's: who steals one half can order nothing that the other half has not signed. It has
no snapshot and no timestamp; expiry, a version that only grows, and the device's own floors stand in their
place (Uptane's partial verification for the director's half, full verification for the image half).
"""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from tuf.api.metadata import Root, Targets

from edgewright.controller.errors import DataFolderDamagedError
from edgewright.controller.trust import documents
from edgewright.controller.trust.documents import TargetEntry
from edgewright.controller.trust.durable import Write, write_durably
from edgewright.controller.trust.keys import DIRECTOR_ROLES, KeyStore
from edgewright.controller.trust.repository import now_utc
from edgewright.wire.assignment import Orders


class Director:
    """Signs assignments under a root of its own, which lies in its folder."""

    def __init__(
        self,
        folder: Path,
        keys: KeyStore,
        *,
        write: Write = write_durably,
        clock: Callable[[], datetime] = now_utc,
    ) -> None:
        self._root = folder / "1.root.json"
        self._keys = keys
        self._write = write
        self._clock = clock

    def ensure(self) -> None:
        """Make keys and root at the first start; verify them later.

        Raises:
            DataFolderDamagedError: keys or root are missing, changed or cannot be written.
        """
        if self._root.exists():
            documents.read_root(self.root_bytes(), None)
            self._keys.signers("director/targets")
            return
        self._keys.ensure(DIRECTOR_ROLES)
        signers = {role: self._keys.signers(f"director/{role}") for role in (Root.type, Targets.type)}
        root = documents.new_root(signers, self._clock())
        try:
            self._write(self._root, documents.sign(root, signers[Root.type]))
        except OSError as error:
            raise DataFolderDamagedError(f"{self._root} cannot be written: {error.strerror}.") from error

    def root_bytes(self) -> bytes:
        """The root, which a device gets when it enrols."""
        try:
            return self._root.read_bytes()
        except OSError as error:
            raise DataFolderDamagedError(f"{self._root} cannot be read: {error.strerror}.") from error

    def assign(self, version: int, entry: TargetEntry, orders: Orders) -> bytes:
        """The signed document for the device that ``orders`` names, good for seven days.

        Args:
            version: larger than that of every earlier document for this device; the same version must never
                stand over two different contents, because the device would report an equivocation.
            entry: the release, as in the image repository.
            orders: everything else.
        """
        document = documents.assignment(version, entry, orders, self._clock())
        return documents.sign(document, self._keys.signers("director/targets"))
