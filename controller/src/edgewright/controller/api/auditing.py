"""Enters every changing request into the audit log, before it is answered.

A service that changes a row enters it in its own transaction. What is left is entered here: a changing
request whose service entered nothing, and what was refused to somebody whom we know. A refusal that repeats
itself is entered once a minute, so that a forgotten program with an old token cannot fill the log; a refusal
of an unknown token is not entered at all.
"""

import logging
import time
from collections import OrderedDict
from typing import Final

import anyio.to_thread
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgewright.controller.database.engine import Database
from edgewright.controller.people import audit
from edgewright.controller.people.acting import Acting, acting

logger = logging.getLogger(__name__)

REPEAT_S: Final = 60.0
REMEMBERED_AT_MOST: Final = 1024
_KEY: Final = "edgewright.acting"


def acting_of(request: HTTPConnection) -> Acting:
    """Who acts by this request, as far as it is known yet."""
    found: Acting = request.scope[_KEY]
    return found


def note_error(scope: Scope, number: int) -> None:
    """The request ends with this error."""
    if _KEY in scope:
        scope[_KEY].error = number


class Auditing:
    """ASGI middleware around the routes."""

    def __init__(self, app: ASGIApp, db: Database) -> None:
        self._app = app
        self._db = db
        self._refused: OrderedDict[tuple[str, str, int], float] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope[_KEY] = present = Acting()

        async def send_entered(message: Message) -> None:
            if message["type"] == "http.response.start" and self._has_to_enter(present):
                await anyio.to_thread.run_sync(self._enter, present, scope["path"])
            await send(message)

        with acting(present):
            try:
                await self._app(scope, receive, send_entered)
            except Exception:
                present.error = present.error or DEFECT
                if self._has_to_enter(present):
                    await anyio.to_thread.run_sync(self._enter, present, scope["path"])
                raise

    def _has_to_enter(self, present: Acting) -> bool:
        if not present.actor or not present.action:
            return False
        if present.error:
            return present.changes or present.error in REFUSALS
        return present.changes and not present.entered

    def _enter(self, present: Acting, path: str) -> None:
        key = (present.actor, present.action, present.error)
        if present.error and not self._is_new(key):
            return
        try:
            with self._db.session() as session:
                audit.enter(
                    session,
                    present.action,
                    present.subject or path,
                    outcome=f"E{present.error:03d}" if present.error else audit.DONE,
                    detail=present.detail,
                )
        # The change itself is done: an answer that says it failed would be wrong, so the log says it.
        except Exception:
            logger.exception("%s by %s could not be entered", present.action, present.actor)

    def _is_new(self, key: tuple[str, str, int]) -> bool:
        now = time.monotonic()
        if now - self._refused.get(key, -REPEAT_S) < REPEAT_S:
            return False
        self._refused[key] = now
        self._refused.move_to_end(key)
        while len(self._refused) > REMEMBERED_AT_MOST:
            self._refused.popitem(last=False)
        return True


DEFECT: Final = 1
"""Number of an error that nobody foresaw."""
REFUSALS: Final = frozenset({94, 107})
"""Errors that say "you may not": they are entered for reading too."""
