"""Who acts now: what the audit log writes as the actor of a change.

A request sets an ``Acting`` at its beginning, in the context of its own task; the threads that serve it see
the same object. Outside a request nothing is set, and what changes then is done by the controller itself. A
request that has ended acts no longer, should some thread have copied its context.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final

from edgewright.controller.people.person import Person

CONTROLLER: Final = "controller"


@dataclass
class Acting:
    """One request.

    Attributes:
        action: row of ``OPERATIONS`` that the route names; empty before a route was found.
        changes: whether the row says that the audit log has to know.
        person: who asks, once known.
        claimed: name and id of a token that was shown and refused, for the entry of the refusal.
        subject, detail: what it is about, where the route says more than its address.
        entered: whether an entry stands in a transaction of this request.
        error: number of the error that ended it.
        ended: the request was answered.
    """

    action: str = ""
    changes: bool = False
    person: Person | None = None
    claimed: str = ""
    subject: str = ""
    detail: dict[str, Any] = field(default_factory=dict)
    entered: bool = False
    error: int = 0
    ended: bool = False

    @property
    def actor(self) -> str:
        """Name and token of the person; empty where a device or nobody asks."""
        return self.person.actor if self.person else self.claimed

    @property
    def role(self) -> str:
        """The person's role; empty where a device or nobody asks."""
        return self.person.role.word if self.person else ""


# A context variable is the one way to tell code that is called far below who asked, without a parameter
# through every service; each task has a value of its own.
_present: ContextVar[Acting | None] = ContextVar("acting", default=None)


def present() -> Acting | None:
    """The request that runs here; None where the controller acts by itself."""
    acting = _present.get()
    return None if acting is None or acting.ended else acting


@contextmanager
def acting(value: Acting) -> Iterator[Acting]:
    """Act for a request while the block lasts."""
    before = _present.set(value)
    try:
        yield value
    finally:
        value.ended = True
        _present.reset(before)
