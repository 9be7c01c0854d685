"""What was stored does not stay for ever: events are kept for a time, and only so many of them.

The audit log keeps what people changed; events tell what happened.
"""

from typing import Final

from edgewright.controller.database import Session, col, delete, func, select
from edgewright.controller.database.tables import Event

KEPT_S: Final = 400 * 24 * 3600.0
"""A year and a month, so that a page can show the same day of last year."""

EVENTS: Final = 200_000


def prune(session: Session, now: float, events: int = EVENTS) -> None:
    """Delete events that are too old, and all but the newest ``events``."""
    newest = session.exec(select(func.max(Event.id))).one() or 0
    session.exec(delete(Event).where((col(Event.at) < now - KEPT_S) | (col(Event.id) <= newest - events)))
