"""The requests that wait for signatures, each a file of the repository's folder ``requests``."""

from collections.abc import Iterator
from pathlib import Path

from edgewright.controller.durable import Write
from edgewright.controller.errors import DataFolderDamagedError, SignatureRefusedError
from edgewright.controller.trust import requests
from edgewright.controller.trust.requests import Request


class PendingRequests:
    """Held in memory, written before anything depends on them."""

    def __init__(self, folder: Path, write: Write) -> None:
        self._folder = folder
        self._write = write
        self._held: dict[str, Request] = {}

    def load(self) -> None:
        """Read what an earlier process held.

        Raises:
            DataFolderDamagedError: a file cannot be read.
        """
        self._held = {}
        for path in sorted(self._folder.glob("*.json")):
            try:
                request = requests.decode(path.read_bytes())
            except (OSError, SignatureRefusedError) as error:
                raise DataFolderDamagedError(f"The signing request {path} cannot be read.") from error
            self._held[request.id] = request

    def __iter__(self) -> Iterator[Request]:
        return iter(sorted(self._held.values(), key=lambda request: (request.made_at, request.id)))

    def get(self, number: str) -> Request | None:
        """The request of an id."""
        return self._held.get(number)

    def put(self, request: Request) -> None:
        """Hold a request.

        Raises:
            DataFolderDamagedError: it cannot be written.
        """
        try:
            self._write(self._path(request.id), requests.encode(request))
        except OSError as error:
            raise DataFolderDamagedError(
                f"{self._path(request.id)} cannot be written: {error.strerror}."
            ) from error
        self._held[request.id] = request

    def drop(self, number: str) -> None:
        """Hold it no longer."""
        self._held.pop(number, None)
        self._path(number).unlink(missing_ok=True)

    def _path(self, number: str) -> Path:
        return self._folder / f"{number}.json"
