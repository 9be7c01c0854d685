"""When the clock asks for a rebuild: five cron fields, read as UTC. The only file that imports croniter.

A moment that passed while the controller was down is not lost: it is asked for what the last moment before
now was, and whoever has answered nothing since then answers it.

>>> last_moment("0 3 * * 1", 1_700_000_000.0)
1699844400.0
"""

from datetime import UTC, datetime
from typing import Final

from croniter import CroniterError, croniter  # type: ignore[import-untyped]  # it ships no types

from edgewright.controller.errors import ModelTomlError

FIELDS: Final = 5
"""Croniter takes seconds and years too; a rebuild a second is no schedule."""


def verify_schedule(text: str) -> None:
    """Check the text of ``[rebuild] schedule``.

    Raises:
        ModelTomlError: it is none.
    """
    if len(text.split()) != FIELDS:
        raise ModelTomlError(f"[rebuild] schedule: {text!r} has not the five fields of cron.")
    try:
        last_moment(text, 0.0)
    except CroniterError as error:
        raise ModelTomlError(f"[rebuild] schedule: {text!r} is no schedule: {error}.") from error


def last_moment(text: str, now: float) -> float:
    """The last moment of a schedule at or before ``now``, seconds since the epoch."""
    clock = croniter(text, datetime.fromtimestamp(now + 1.0, UTC))
    return float(clock.get_prev(float))
