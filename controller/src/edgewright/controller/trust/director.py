"""The director: one signed document a device, which says what that device shall run.

The document is Targets metadata with one target and our field beside it (``wire.assignment``). Its keys are
not the image repository's: who steals one half can order nothing that the other half has not signed. It has
no snapshot and no timestamp; expiry, a version that only grows, and the device's own floors stand in their
place (Uptane's partial verification for the director's half, full verification for the image half).

::

    director/roots/ keys/ waiting.json    see ``director_roots``
    director/last.db                      see ``director_record``

What it refuses whoever asks: a version that does not grow, and a second document under one version. Expiry
and the smallest root of its own it sets itself. In a controller it runs as a process of its own
(``director_process``), and nothing else reads its folder.
"""

import shutil
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
from tuf.api.metadata import Timestamp

from edgewright.controller.durable import Write, write_durably
from edgewright.controller.errors import DataFolderDamagedError, InvalidRequestError
from edgewright.controller.trust import documents, requests
from edgewright.controller.trust.director_record import Record
from edgewright.controller.trust.director_roots import ROLES, DirectorRoots
from edgewright.controller.trust.director_seam import Order, RoleState, State, Trials
from edgewright.controller.trust.documents import role_keys
from edgewright.controller.trust.pem import read_public
from edgewright.controller.trust.repository import now_utc
from edgewright.wire.assignment import Orders
from edgewright.wire.qualification import QualificationOrders

MAX_ORDER_LIFE_S: Final = 3600.0
"""How far an order's ``issued`` may be from the director's clock: a device takes the time from it."""


class Director:
    """Signs assignments under roots of its own, which lie in its folder; used by one thread at a time."""

    def __init__(
        self,
        folder: Path,
        *,
        write: Write = write_durably,
        clock: Callable[[], datetime] = now_utc,
    ) -> None:
        self._folder = folder
        self._roots = DirectorRoots(folder, write, clock)
        self._clock = clock
        self._record: Record | None = None

    def open(self, acknowledger: str) -> State:
        """Make keys and a root at the first start; verify them later.

        Args:
            acknowledger: the controller's public acknowledgement key, PEM.

        Raises:
            DataFolderDamagedError: keys, roots or record are missing, changed or cannot be written.
        """
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise DataFolderDamagedError(f"{self._folder} cannot be made: {error.strerror}.") from error
        self._roots.open(role_keys([read_public(acknowledger.encode())], 1))
        self._record = self._record or Record(self._folder / "last.db")
        return self.show()

    def close(self) -> None:
        """Close the record."""
        if self._record is not None:
            self._record.close()

    def last(self, devices: Sequence[str]) -> list[int]:
        """Version of each device's last document, 0 for none."""
        return self._opened.last(devices)

    def sign(self, orders: Sequence[Order]) -> list[bytes]:
        """The signed documents, in order, each good for seven days: all of them, or none.

        Raises:
            DirectorUnavailableError: a version does not grow, or stood over other content.
            InvalidRequestError: an order is dated long before or after now.
        """
        now = self._clock()
        for order in orders:
            _verify_dated(order.orders, now)
        signers, version = self._roots.signers(), self._roots.newest.version

        def make(order: Order) -> bytes:
            said = msgspec.structs.replace(order.orders, min_director_root=version)
            return documents.sign(documents.assignment(order.version, order.entry, said, now), signers)

        return self._opened.sign(orders, make)

    def last_trials(self, device: str) -> int:
        """Number of a device's last order to measure candidates, 0 for none."""
        return self._opened.last_trials(device)

    def sign_trials(self, trials: Trials) -> bytes:
        """The signed order to measure candidates, good for a day.

        Raises:
            DirectorUnavailableError: its number does not grow, or stood over other content.
            InvalidRequestError: it is dated long before or after now.
        """
        now = self._clock()
        _verify_dated(trials.orders, now)
        signers, version = self._roots.signers(), self._roots.newest.version

        def make(order: Trials) -> bytes:
            said = msgspec.structs.replace(order.orders, min_director_root=version)
            document = documents.qualification(order.version, order.entries, said, now)
            return documents.sign(document, signers)

        return self._opened.sign_trials(trials, make)

    def show(self) -> State:
        """What a person and the controller may know."""
        roots, waiting = self._roots, self._roots.waiting()
        newest = roots.newest
        keys = [newest.keys[keyid] for keyid in newest.roles[Timestamp.type].keyids]
        names = (*ROLES, Timestamp.type)
        return State(
            roots=roots.files(),
            expires=newest.expires.timestamp(),
            roles={n: RoleState(newest.roles[n].threshold, roots.key_state(n)) for n in names},
            acknowledgers=tuple(key.keyval["public"] for key in keys),
            laboratory=roots.laboratory(),
            devices=self._opened.devices(),
            waiting=requests.encode(waiting) if waiting else b"",
            waits_for=waiting.short_of() if waiting else "",
        )

    def rotate(self, role: str, public: Sequence[str] = (), threshold: int = 1) -> State:
        """Give a role other keys, in a next root.

        Args:
            role: ``root``, ``targets``, or ``timestamp`` with a key.
            public: public keys in PEM; the director makes one itself where none is given.
            threshold: how many of them have to sign.

        Raises:
            InvalidRequestError: the director has no such role, or the keys cannot be.
            KeyStoreError: a public key cannot be read.
        """
        if role not in (*ROLES, Timestamp.type):
            raise InvalidRequestError(f"The director has no role {role[:80]!r}: root, targets or timestamp.")
        if role == Timestamp.type and not public:
            raise InvalidRequestError("The controller makes the acknowledgement key, not the director.")
        given = [read_public(text.encode()) for text in public]
        keys = role_keys(given, threshold) if given else self._roots.made(role)
        self._roots.change({role: keys})
        return self.show()

    def adopt(self, request: bytes) -> State:
        """Take signatures for a next root that were made elsewhere.

        Raises:
            SignatureRefusedError: they do not count.
        """
        self._roots.adopt(request)
        return self.show()

    @property
    def _opened(self) -> Record:
        if self._record is None:
            raise DataFolderDamagedError("The director was not opened.")
        return self._record


def _verify_dated(orders: Orders | QualificationOrders, now: datetime) -> None:
    """A device takes time, or an order's life, from its date.

    Raises:
        InvalidRequestError: it is long before or after now.
    """
    if abs(orders.issued - now.timestamp()) > MAX_ORDER_LIFE_S:
        raise InvalidRequestError(f"An order for {orders.device} is dated {orders.issued:.0f}, not now.")


def move_in(data: Path) -> Path:
    """The director's folder in a data folder; what an older release had elsewhere is moved there once.

    Keys and roots are renamed, never read: the controller's process does this before the director's starts.

    Raises:
        DataFolderDamagedError: something cannot be moved.
    """
    folder = data / "director"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        old_keys, old_roots = data / "keys" / "director", data / "tuf" / "director"
        marker = data / "keys" / "LABORATORY.txt"
        if old_keys.is_dir():
            if marker.exists():
                shutil.copy(marker, folder / marker.name)
            old_keys.rename(folder / "keys")
        if old_roots.is_dir():
            old_roots.rename(folder / "roots")
    except OSError as error:
        raise DataFolderDamagedError(f"The director's keys cannot be moved: {error.strerror}.") from error
    return folder
