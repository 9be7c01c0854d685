"""Who may do what.

One token exists for now: the data folder's ``api-token``. Programs show it as a bearer token and may do
everything. A person opens the page once with ``/?token=...`` (or types the token at ``/login``) and gets a
session cookie that is derived from the token, so it survives a restart and ends when the token is replaced.
The cookie reads; it changes something only through the page's own forms, which have to come from this
origin. A new device shows its one-time enrolment token instead.
"""

import hashlib
import hmac
from functools import cached_property
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.security import HTTPBearer

from edgewright.controller.errors import DataFolderDamagedError, InvalidRequestError, NotAuthorisedError

COOKIE: Final = "edgewright_session"
COOKIE_LIFE_S: Final = 30 * 24 * 3600

bearer_scheme = HTTPBearer(auto_error=False, description="The data folder's api-token")


class Access:
    """Compares what is shown with the one token, in constant time.

    The token is read at the first request: the data folder makes it when the controller starts.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    @cached_property
    def _token(self) -> bytes:
        try:
            token = self._file.read_text().strip()
        except OSError as error:
            raise DataFolderDamagedError(f"The api-token cannot be read: {error.strerror}.") from error
        if not token:
            raise DataFolderDamagedError("The api-token is empty.")
        return token.encode()

    @cached_property
    def session(self) -> str:
        """What the session cookie holds."""
        return hmac.new(self._token, b"edgewright page session 1", hashlib.sha256).hexdigest()

    def knows_token(self, shown: str) -> bool:
        """Whether it is the token."""
        return hmac.compare_digest(shown.encode(), self._token)

    def has_bearer(self, request: Request) -> bool:
        """Whether the request shows the token in its header."""
        scheme, _, shown = request.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self.knows_token(shown.strip())

    def has_session(self, request: Request) -> bool:
        """Whether the request carries the session cookie."""
        return hmac.compare_digest(request.cookies.get(COOKIE, "").encode(), self.session.encode())


def access_of(request: Request) -> Access:
    """The application's access rules."""
    access: Access = request.app.state.access
    return access


def authorise(request: Request) -> None:
    """Let a program through; let a page read.

    Raises:
        NotAuthorisedError: neither the token nor, for reading, the session is shown.
    """
    access = access_of(request)
    reads = request.method in ("GET", "HEAD")
    if not (access.has_bearer(request) or (reads and access.has_session(request))):
        raise NotAuthorisedError("The API token is missing or wrong.")


def authorise_form(request: Request) -> None:
    """Let a form of our own pages through.

    SameSite keeps other sites out, but another port of this host counts as the same site, so the browser
    has to say that the form came from this very origin.

    Raises:
        NotAuthorisedError: there is no session.
        InvalidRequestError: the form comes from another origin.
    """
    if not access_of(request).has_session(request):
        raise NotAuthorisedError("This page has no session.")
    verify_origin(request)


def verify_origin(request: Request) -> None:
    """Refuse a form that another origin sent.

    Raises:
        InvalidRequestError: it does not come from a page of this controller.
    """
    origin = request.headers.get("origin", "")
    if urlsplit(origin).netloc != request.headers.get("host"):
        raise InvalidRequestError("The form was not sent by a page of this controller.")
