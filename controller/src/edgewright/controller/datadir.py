"""The data folder: one controller at a time, of a layout that this release knows.

::

    version.json    layout of the folder
    lock            held while a controller runs
    edgewright.db   SQLite
    dbos.db         progress of builds and rebuilds
    blobs/          content-addressed files
    compiled/       what was compiled before, by what determines it; may be deleted
    keys/ tuf/      signing keys (0600) and signed metadata
    broker/         the embedded broker's configuration and store
    api-token       what the command line shows to the API (0600)
    ca/             the fleet's certificate authority (0600)
    door-port       where the HTTPS door listened last
    endpoint.json   where the API and the broker listen
"""

import fcntl
import json
import os
import secrets
from pathlib import Path
from typing import Final

import msgspec

from edgewright.controller.durable import write_durably
from edgewright.controller.errors import (
    ControllerUnreachableError,
    DataFolderBusyError,
    DataFolderDamagedError,
    DataFolderNewerError,
)

LAYOUT: Final = 1
"""Grows when an older release could not read the folder."""


class Endpoint(msgspec.Struct, frozen=True):
    """Where a running controller listens."""

    api: str
    broker_host: str
    broker_port: int
    door: str = ""


class DataFolder:
    """An opened data folder; the lock is held until ``close``."""

    def __init__(self, root: Path, lock: int) -> None:
        self.root = root
        self._lock = lock

    @classmethod
    def open(cls, root: Path) -> "DataFolder":
        """Open or make the folder.

        Raises:
            DataFolderNewerError: a newer release wrote it; nothing was changed.
            DataFolderBusyError: another controller runs on it.
            DataFolderDamagedError: it cannot be read or written.
        """
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check_layout(root / "version.json")
            lock = os.open(root / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DataFolderDamagedError(f"The data folder cannot be opened: {error.strerror}.") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise DataFolderBusyError(f"Another controller runs on {root}.") from None
        version = root / "version.json"
        if not version.exists():
            write_durably(version, json.dumps({"layout": LAYOUT}).encode())
        return cls(root, lock)

    def api_token(self) -> str:
        """The local API token, made at the first call."""
        path = self.root / "api-token"
        if not path.exists():
            write_durably(path, b"ew_" + secrets.token_urlsafe(32).encode())
        return path.read_text().strip()

    def write_endpoint(self, endpoint: Endpoint) -> None:
        """Tell the command line where this controller listens."""
        write_durably(self.root / "endpoint.json", msgspec.json.encode(endpoint))

    def close(self) -> None:
        """Forget the endpoint and give the lock back."""
        (self.root / "endpoint.json").unlink(missing_ok=True)
        os.close(self._lock)


def read_endpoint(root: Path) -> Endpoint:
    """Where the controller of a data folder listens.

    Raises:
        ControllerUnreachableError: none has written it.
    """
    try:
        return msgspec.json.decode((root / "endpoint.json").read_bytes(), type=Endpoint)
    except (OSError, msgspec.DecodeError):
        raise ControllerUnreachableError(f"No controller runs on the data folder {root}.") from None


def _check_layout(path: Path) -> None:
    if not path.exists():
        return
    try:
        layout = int(json.loads(path.read_bytes())["layout"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataFolderDamagedError("The data folder's version.json cannot be read.") from error
    if layout > LAYOUT:
        raise DataFolderNewerError(f"The data folder has layout {layout}; this release knows {LAYOUT}.")
