"""Reports refusals without letting whoever causes them fill the outbox.

Who holds the broker can show garbage as fast as the network carries it. A payload that was refused is told
once, and each kind of refusal once a minute; the next report says how many were left out.
"""

import time
from collections.abc import Callable
from typing import Final

from edgewright.agent.ledger import Ledger
from edgewright.wire.errors import EdgewrightError

QUIET_SECONDS: Final = 60.0
"""Between two reports of one name."""

REMEMBERED: Final = 256
"""Refused payloads that are known again; a broker that shows more of them in turn costs a report a minute."""


class Refusals:
    """What was refused lately, and what was told of it.

    Args:
        ledger: takes the reports.
        monotonic: seconds that only grow.
    """

    def __init__(self, ledger: Ledger, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._ledger, self._monotonic = ledger, monotonic
        self._known: dict[tuple[str, str], None] = {}
        self._told_at: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def note(self, error: EdgewrightError, payload: str = "") -> None:
        """Report a refusal, unless it was told already.

        Args:
            error: why.
            payload: digest of what was refused; empty where nothing in particular was.
        """
        if payload and self._knows(payload, error.name):
            return
        now, last = self._monotonic(), self._told_at.get(error.name)
        if last is not None and now - last < QUIET_SECONDS:
            self._left_out[error.name] = self._left_out.get(error.name, 0) + 1
            return
        self._told_at[error.name] = now
        more = self._left_out.pop(error.name, 0)
        since = f" {more} more of this kind were refused since the last report." if more else ""
        self._ledger.note(type(error)(error.sentence + since))

    def _knows(self, payload: str, name: str) -> bool:
        if (payload, name) in self._known:
            return True
        self._known[payload, name] = None
        if len(self._known) > REMEMBERED:
            del self._known[next(iter(self._known))]
        return False
