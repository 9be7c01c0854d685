"""Tokens, sessions and what they say of a request, made once for an application."""

from pathlib import Path

from edgewright.controller.database.engine import Database
from edgewright.controller.people.sessions import Sessions
from edgewright.controller.people.tokens import Tokens


class People:
    """Who uses this controller.

    Attributes:
        tokens, sessions: the two tables.
    """

    def __init__(self, db: Database, local: Path) -> None:
        self.tokens = Tokens(db, local)
        self.sessions = Sessions(db, self.tokens)
