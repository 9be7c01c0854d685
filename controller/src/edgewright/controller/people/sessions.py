"""Sessions of the page: a random cookie, stored hashed, that counts for one token and one origin.

A cookie ignores ports, so every program on this host sees it; its name therefore carries the port, and the
row says which scheme, host and port it was given to. The token is looked up at each use: a session ends
with its token, with its own time, or when its person logs out, whichever comes first.
"""

import secrets
import time
from typing import Final

import msgspec

from edgewright.controller.database import col, delete
from edgewright.controller.database.engine import Database
from edgewright.controller.database.tables import PageSession
from edgewright.controller.errors import NotAuthorisedError
from edgewright.controller.people.person import Person
from edgewright.controller.people.roles import Role
from edgewright.controller.people.tokens import Claim, Tokens
from edgewright.wire.canonical import sha256_hex

ID_BYTES: Final = 32
COOKIE_AT_MOST: Final = 100
"""Characters; an id has 43."""

LIFE_S: Final[dict[Role, float]] = {
    Role.VIEWER: 30 * 86400.0,
    Role.OPERATOR: 12 * 3600.0,
    Role.ENGINEER: 12 * 3600.0,
    Role.ADMIN: 12 * 3600.0,
}
"""A screen on the wall shall stay; who may change something logs in once a shift."""


class OpenedSession(msgspec.Struct, frozen=True):
    """A session at the one moment when its cookie is known."""

    cookie: str
    life_s: float


class Sessions:
    """The table of sessions."""

    def __init__(self, db: Database, tokens: Tokens) -> None:
        self._db = db
        self._tokens = tokens

    def open(self, claim: Claim, origin: str) -> OpenedSession:
        """A session for a token that counts.

        Raises:
            NotAuthorisedError: it does not.
        """
        person, cookie, now = claim.of, secrets.token_urlsafe(ID_BYTES), time.time()
        expires = now + LIFE_S[person.role]
        if person.expires:
            expires = min(expires, person.expires)
        with self._db.session() as session:
            session.exec(delete(PageSession).where(col(PageSession.expires) < now))
            session.add(
                PageSession(
                    sha256=sha256_hex(cookie.encode()),
                    token=person.token,
                    token_sha256=claim.sha256,
                    origin=origin,
                    created_at=now,
                    expires=expires,
                )
            )
        return OpenedSession(cookie, expires - now)

    def person(self, cookie: str, origin: str) -> Person:
        """Whose session a cookie is.

        Raises:
            NotAuthorisedError: there is none, it has ended, or it was given to another origin.
        """
        with self._db.reading() as session:
            row = session.get(PageSession, _key(cookie)) if 0 < len(cookie) <= COOKIE_AT_MOST else None
        if row is None or row.expires <= time.time() or row.origin != origin:
            raise NotAuthorisedError("This page has no session, or it has ended.")
        return self._tokens.holder(row.token, row.token_sha256)

    def close(self, cookie: str) -> None:
        """End a session; one that is not there has ended already."""
        with self._db.session() as session:
            row = session.get(PageSession, _key(cookie))
            if row is not None:
                session.delete(row)


def _key(cookie: str) -> str:
    return sha256_hex(cookie.encode(errors="surrogatepass"))
