"""Talking to a running controller: the one file that imports httpx.

Which controller: ``--url``, else the data folder of ``--data``, else EDGEWRIGHT_URL, else the data folder of
EDGEWRIGHT_DATA, else the folder ``data`` here. The token: EDGEWRIGHT_TOKEN, else the ``api-token`` of that
data folder, which is sent to the address where that folder's controller listens and to no other. A door on
another machine is trusted by the fleet's authority: its certificate in the file that EDGEWRIGHT_CA names.
"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NoReturn, Self

import httpx

from edgewright.controller.datadir import read_endpoint
from edgewright.controller.errors import ControllerUnreachableError, NotAuthorisedError
from edgewright.controller.identity.tls import TlsContext, trusting

API: Final = "/api/v1"
DEFAULT_DATA: Final = Path("data")
TIMEOUT_S: Final = 60.0
"""A push is checked in a child process before it is answered, which takes seconds on a small machine."""
FILE_TIMEOUT_S: Final = 1800.0
"""A million labels are stored before they are answered."""
PART_BYTES: Final = 1 << 16


class RefusedError(Exception):
    """The controller refused; its problem is shown word for word.

    Attributes:
        number: of the problem, and the exit status.
    """

    def __init__(self, number: int, detail: str, remedy: str) -> None:
        super().__init__(f"E{number:03d} {detail} {remedy}".strip())
        self.number = number


class Client:
    """One controller; every method raises what the controller said, as a numbered error."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url.rstrip("/")
        self._http = httpx.Client(
            base_url=self.url + API,
            headers={"Authorization": f"Bearer {token}"},
            timeout=TIMEOUT_S,
            trust_env=False,
            verify=_trusted(),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._http.close()

    def get(self, path: str, **query: int | str) -> Any:
        """What lies at a path.

        Raises:
            RefusedError: the controller said no.
            ControllerUnreachableError: nobody answers, or somebody else does.
        """
        return self._answer("GET", path, params=query)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Ask for something; raises as ``get`` does."""
        return self._answer("POST", path, json=dict(body))

    def put(self, path: str, body: Mapping[str, Any]) -> Any:
        """Say what shall lie at a path; raises as ``get`` does."""
        return self._answer("PUT", path, json=dict(body))

    def delete(self, path: str) -> None:
        """Take something away; raises as ``get`` does."""
        self._answer("DELETE", path)

    def has_blob(self, sha256: str) -> bool:
        """Whether a blob need not be uploaded; raises as ``get`` does."""
        return self._send("HEAD", f"/blobs/{sha256}").status_code == httpx.codes.OK

    def put_blob(self, sha256: str, parts: Iterator[bytes], length: int) -> None:
        """Upload a blob; raises as ``get`` does."""
        headers = {"Content-Length": str(length), "Content-Type": "application/octet-stream"}
        self._answer("PUT", f"/blobs/{sha256}", content=parts, headers=headers)

    def post_file(self, path: str, parts: Iterator[bytes], length: int, **query: int | str) -> Any:
        """Send a file of text to a path; raises as ``get`` does."""
        headers = {"Content-Length": str(length), "Content-Type": "text/csv"}
        return self._answer(
            "POST", path, content=parts, params=query, headers=headers, timeout=FILE_TIMEOUT_S
        )

    def download(self, path: str) -> Iterator[bytes]:
        """The bytes at a path, in parts; raises as ``get`` does."""
        try:
            with self._http.stream("GET", path) as answer:
                if not answer.is_success:
                    answer.read()
                    self._refuse(answer)
                yield from answer.iter_bytes(PART_BYTES)
        except httpx.TransportError as error:
            raise ControllerUnreachableError(f"The download from {self.url} broke off: {error}.") from error

    def _answer(self, method: str, path: str, **arguments: Any) -> Any:
        answer = self._send(method, path, **arguments)
        return _body(answer) if answer.is_success else self._refuse(answer)

    def _refuse(self, answer: httpx.Response) -> NoReturn:
        body = _body(answer)
        if not isinstance(body, dict) or "number" not in body:
            raise ControllerUnreachableError(f"What answers at {self.url} is no Edgewright controller.")
        raise RefusedError(int(body["number"]), str(body.get("detail", "")), str(body.get("remedy", "")))

    def _send(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **arguments)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            said = str(error) or type(error).__name__
            raise ControllerUnreachableError(f"No controller answers at {self.url}: {said}.") from error


def _body(answer: httpx.Response) -> Any:
    try:
        return answer.json() if answer.content else None
    except json.JSONDecodeError:
        return None


def connect(url: str | None, data: Path | None) -> Client:
    """The controller that a person meant.

    Raises:
        ControllerUnreachableError: none is named, or none has run on the named folder.
        NotAuthorisedError: there is no token for it.
    """
    if url is None and data is None:
        url = os.environ.get("EDGEWRIGHT_URL")
    folder = data or Path(os.environ.get("EDGEWRIGHT_DATA", DEFAULT_DATA))
    token = os.environ.get("EDGEWRIGHT_TOKEN")
    if url is None:
        return Client(read_endpoint(folder).api, token or _read_token(folder))
    if token is None and not _listens_at(folder, url):
        where = f"the controller of the data folder {folder} does not listen there"
        raise NotAuthorisedError(f"There is no token for {url}: {where}.")
    return Client(url, token or _read_token(folder))


def _listens_at(folder: Path, url: str) -> bool:
    try:
        return read_endpoint(folder).api.rstrip("/") == url.rstrip("/")
    except ControllerUnreachableError:
        return False


def _trusted() -> TlsContext | bool:
    """Whom to trust over HTTPS: the named authority, else those of this machine."""
    named = os.environ.get("EDGEWRIGHT_CA")
    if not named:
        return True
    try:
        return trusting(Path(named))
    except OSError as error:
        raise ControllerUnreachableError(
            f"The authority in {named}, which EDGEWRIGHT_CA names, cannot be used: {error}."
        ) from error


def _read_token(folder: Path) -> str:
    try:
        return (folder / "api-token").read_text().strip()
    except OSError:
        raise NotAuthorisedError(f"There is no token: {folder / 'api-token'} cannot be read.") from None
