"""Tokens of people and programs: ``ewt_<id>_<secret>``, shown once, stored as SHA-256.

A secret has 256 random bits, so a fast hash is right and a slow one would only burn time. The id finds the
row; the secret is compared in constant time. The data folder's ``api-token`` stands beside them as the
local admin's: whoever may read the owner's files is root here anyway.

A token that is revoked or too old is refused from the next request on: nothing is kept in memory.
"""

import hmac
import secrets
import time
from pathlib import Path
from typing import Final

import msgspec

from edgewright.controller.database import Session, col, select
from edgewright.controller.database.engine import Database
from edgewright.controller.database.tables import ApiToken
from edgewright.controller.errors import (
    DataFolderDamagedError,
    InvalidRequestError,
    NotAuthorisedError,
    UnknownTokenError,
)
from edgewright.controller.people import audit
from edgewright.controller.people.attempts import Attempts
from edgewright.controller.people.person import LOCAL, Person
from edgewright.controller.people.roles import Role, read_role
from edgewright.wire.canonical import sha256_hex

PREFIX: Final = "ewt"
ID_BYTES: Final = 6
SECRET_BYTES: Final = 32
DAY_S: Final = 86400.0
LIFE_DAYS: Final = 90
LIFE_DAYS_AT_MOST: Final = 365
LAST_USED_STEP_S: Final = 60.0
"""``last_used`` is written at most so often: a request that reads should not wait for the one writer."""
SHOWN_AT_MOST: Final = 200
"""Characters; a token has 61. Longer texts are not even hashed."""


class NewToken(msgspec.Struct, frozen=True):
    """A token at the one moment when its text is known."""

    id: str
    text: str
    expires: float


class Claim(msgspec.Struct, frozen=True):
    """What a shown text turned out to be.

    Attributes:
        person: who it is; None when it does not count.
        name, id: of the token that it claims to be and that exists, else empty.
        sentence: why it does not count.
        sha256: of the token that counts: what a session is bound to.
    """

    person: Person | None = None
    name: str = ""
    id: str = ""
    sentence: str = "The token is missing or wrong."
    sha256: str = ""

    @property
    def of(self) -> Person:
        """The person.

        Raises:
            NotAuthorisedError: it does not count.
        """
        if self.person is None:
            raise NotAuthorisedError(self.sentence)
        return self.person


class Tokens:
    """The table of tokens; safe to use from several threads."""

    def __init__(self, db: Database, local: Path) -> None:
        self._db = db
        self._local_file = local
        self._attempts = Attempts()
        self._used: dict[str, float] = {}

    def authenticate(self, shown: str, address: str) -> Claim:
        """Who shows a token; a claim without a person is a refusal.

        Wrong ones are limited and the right one never is: nobody guesses 256 bits, but whoever shows wrong
        ones from behind the same address could keep its holder out.

        Raises:
            TooManyAttemptsError: it is wrong, and the address has shown too many such.
        """
        now = time.time()
        named = self._named(shown)
        claim = self._claim(shown, named, now)
        if claim.person is None:
            self._attempts.verify_allowed(address, named, now)
            self._attempts.count_wrong(address, named, now)
        else:
            self._note_use(claim.id, now)
        return claim

    def holder(self, token: str, sha256: str) -> Person:
        """Whoever a session was opened for, as they are now.

        Raises:
            NotAuthorisedError: the token was replaced, revoked or is too old.
        """
        if token == LOCAL:
            if not hmac.compare_digest(sha256, sha256_hex(self._local())):
                raise NotAuthorisedError("The data folder's token was replaced.")
            return _LOCAL_ADMIN
        with self._db.reading() as session:
            row = session.get(ApiToken, token)
        refusal = refusal_of(row, sha256, time.time())
        if row is None or refusal:
            raise NotAuthorisedError(refusal)
        return _person(row)

    def list(self) -> list[ApiToken]:
        """All tokens, newest first; revoked and old ones too."""
        with self._db.reading() as session:
            return list(session.exec(select(ApiToken).order_by(col(ApiToken.created_at).desc())))

    def add(
        self, name: str, role: str, models: tuple[str, ...] = (), days: int = LIFE_DAYS, by: str = ""
    ) -> NewToken:
        """Give somebody a token.

        Raises:
            InvalidRequestError: no such role, or a life beyond 365 days.
        """
        granted, now = read_role(role), time.time()
        if not name.strip():
            raise InvalidRequestError("A token needs the name of whoever has it.")
        with self._db.session() as session:
            made = _made(secrets.token_hex(ID_BYTES), days, now)
            session.add(
                ApiToken(
                    id=made.id,
                    sha256=sha256_hex(made.text.encode()),
                    name=name.strip(),
                    role=granted.word,
                    models=list(models),
                    created_at=now,
                    created_by=by,
                    expires=made.expires,
                )
            )
            detail = {"name": name.strip(), "role": granted.word, "models": list(models), "days": days}
            audit.enter(session, "people.add", f"token {made.id}", detail=detail)
        return made

    def renew(self, token: str, days: int = LIFE_DAYS) -> NewToken:
        """Give a token a new secret and a new end; the old secret and its sessions end now.

        Raises:
            UnknownTokenError: there is none, or it was revoked.
        """
        with self._db.session() as session:
            row = _existing(session, token)
            made = _made(row.id, days, time.time())
            row.sha256, row.expires = sha256_hex(made.text.encode()), made.expires
            session.add(row)
            audit.enter(session, "people.renew", f"token {token}", detail={"name": row.name, "days": days})
        return made

    def revoke(self, token: str) -> None:
        """End a token and its sessions.

        Raises:
            UnknownTokenError: there is none, or it was revoked before.
        """
        with self._db.session() as session:
            row = _existing(session, token)
            row.revoked_at = time.time()
            session.add(row)
            audit.enter(session, "people.revoke", f"token {token}", detail={"name": row.name})

    def _named(self, shown: str) -> str:
        """Id that a text claims; the data folder's own token has none in it."""
        parts = shown.split("_", 2)
        if len(parts) != 3 or parts[0] != PREFIX or len(parts[1]) != 2 * ID_BYTES:
            return LOCAL if shown.startswith("ew_") else ""
        return parts[1]

    def _claim(self, shown: str, named: str, now: float) -> Claim:
        if not named or len(shown) > SHOWN_AT_MOST:
            return Claim()
        digest = sha256_hex(shown.encode(errors="surrogatepass"))
        if named == LOCAL:
            right = hmac.compare_digest(digest, sha256_hex(self._local()))
            return Claim(_LOCAL_ADMIN, _LOCAL_ADMIN.name, LOCAL, "", digest) if right else Claim()
        with self._db.reading() as session:
            row = session.get(ApiToken, named)
        refusal = refusal_of(row, digest, now)
        if row is None:
            return Claim()
        if refusal:
            return Claim(None, row.name, row.id, refusal)
        return Claim(_person(row), row.name, row.id, "", digest)

    def _local(self) -> bytes:
        try:
            token = self._local_file.read_bytes().strip()
        except OSError as error:
            raise DataFolderDamagedError(f"The api-token cannot be read: {error.strerror}.") from error
        if not token:
            raise DataFolderDamagedError("The api-token is empty.")
        return token

    def _note_use(self, token: str, now: float) -> None:
        if token == LOCAL or now - self._used.get(token, 0.0) < LAST_USED_STEP_S:
            return
        self._used[token] = now
        with self._db.session() as session:
            row = session.get(ApiToken, token)
            if row is not None:
                row.last_used = now
                session.add(row)


_LOCAL_ADMIN: Final = Person(LOCAL, "local admin", Role.ADMIN)


def refusal_of(row: ApiToken | None, digest: str, now: float) -> str:
    """Why a token does not count; empty where it does. The digest is compared in any case."""
    right = hmac.compare_digest(row.sha256 if row else "0" * 64, digest)
    if row is None or not right:
        return "The token is missing or wrong."
    if row.revoked_at:
        return "The token was revoked."
    return "The token is too old." if row.expires <= now else ""


def _made(token: str, days: int, now: float) -> NewToken:
    if not 1 <= days <= LIFE_DAYS_AT_MOST:
        raise InvalidRequestError(f"A token may live from 1 to {LIFE_DAYS_AT_MOST} days.")
    text = f"{PREFIX}_{token}_{secrets.token_urlsafe(SECRET_BYTES)}"
    return NewToken(token, text, now + days * DAY_S)


def _person(row: ApiToken) -> Person:
    return Person(row.id, row.name, read_role(row.role), tuple(row.models), row.expires)


def _existing(session: Session, token: str) -> ApiToken:
    row = session.get(ApiToken, token)
    if row is None or row.revoked_at:
        raise UnknownTokenError(f"There is no token {token!r} that is not revoked.")
    return row
