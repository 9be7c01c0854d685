"""Bringing versions into the store, however many tries it takes.

What a later try may mend ends no deployment: such a try ends with the seconds after which the next one is
in order, drawn so that a fleet does not ask in step. Tries that brought something begin the pauses anew. The
time that a version may take counts over its tries; when it is over that is told, and after a pause it begins
anew.
"""

import random
from collections.abc import Iterator
from typing import Final

import msgspec

from edgewright.agent.agreement import ImageTarget
from edgewright.agent.attempt import Attempt, Check, Means, Misses, Note
from edgewright.agent.backoff import pauses
from edgewright.agent.fetcher import Interrupt
from edgewright.agent.transfer import Postponed
from edgewright.wire.errors import (
    BlobTimeoutError,
    BrokerUnreachableError,
    DoorUnreachableError,
    EdgewrightError,
    SlowRetrievalError,
    TransferDeadlineError,
)

FIRST_PAUSE_SECONDS: Final = 15.0
LONGEST_PAUSE_SECONDS: Final = 3600.0

_TRANSIENT: Final = (
    BlobTimeoutError,
    BrokerUnreachableError,
    DoorUnreachableError,
    SlowRetrievalError,
    TransferDeadlineError,
)


class Fetching(msgspec.Struct, frozen=True):
    """How a try ended.

    Attributes:
        fetched_bytes: payload bytes that it took from the network, wrong ones included.
        error: why it ended early; None where the version is complete.
        retry_after: seconds after which another try is in order; None where none would help.
    """

    fetched_bytes: int
    error: EdgewrightError | None = None
    retry_after: float | None = None


class VersionFetcher:
    """Fetches versions, one at a time; used by one thread.

    Args:
        means: what every try works with.
        draw: jitter of the pauses between tries.
    """

    def __init__(self, means: Means, draw: random.Random | None = None) -> None:
        self._means = means
        self._draw = draw or random.Random()  # noqa: S311 - jitter is no secret
        self._misses = Misses()
        self._version, self._active = "", 0.0
        self._pauses = self._new_pauses()

    def fetch(
        self,
        target: ImageTarget,
        check: Check,
        now: float,
        note: Note,
        interrupt: Interrupt,
        signed: float = 0.0,
        share: float = 1.0,
    ) -> Fetching:
        """Have a version complete in the store, or say why not.

        Arguments are those of ``Attempt``; ``signed`` and ``share`` are the budget's.

        Raises:
            Interrupted: the work was called off; what arrived is kept.
            StorageFullError: what is taken cannot be written down.
        """
        if target.sha256 != self._version:
            self._version, self._active, self._pauses = target.sha256, 0.0, self._new_pauses()
        self._means.budget.begin(now, signed, share)
        attempt = Attempt(self._means, self._misses, now, note, interrupt, self._active)
        try:
            attempt.run(target, check)
        except Postponed as wait:
            return Fetching(attempt.fetched_bytes, wait.error, wait.seconds)
        except EdgewrightError as error:
            return Fetching(attempt.fetched_bytes, error, self._pause(error, attempt.fetched_bytes))
        finally:
            attempt.close()
            over = attempt.transfer.active > self._means.policy.limits.seconds
            self._active = 0.0 if over else attempt.transfer.active
            self._means.budget.end()
        return Fetching(attempt.fetched_bytes)

    def _pause(self, error: EdgewrightError, fetched_bytes: int) -> float | None:
        if not isinstance(error, _TRANSIENT):
            return None
        if fetched_bytes:
            self._pauses = self._new_pauses()
        return next(self._pauses)

    def _new_pauses(self) -> Iterator[float]:
        return pauses(self._draw, FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
