"""Download windows: times of day in which large versions are fetched.

A window is two times of the wall clock, ``22:00-05:00``; where the second is not later, it ends the next day.
The clock on the wall decides, so a night in which the clock is turned back has an hour more and the one in
which it is put forward an hour less. A window that begins inside the skipped hour opens when as much time has
passed, an hour later by the clock; one that lies wholly in it is left out that night.

Moments are held against each other by their timestamps: two datetimes of one zone are compared and subtracted
by what the wall shows, and are wrong by an hour in those nights.

>>> from datetime import datetime
>>> from zoneinfo import ZoneInfo
>>> night = (parse_window("22:00-05:00"),)
>>> noon = datetime(2026, 11, 21, 12, 0, tzinfo=ZoneInfo("Europe/Paris"))
>>> next_opening(night, noon).isoformat()
'2026-11-21T22:00:00+01:00'
"""

import os
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, time, timedelta, tzinfo
from pathlib import Path
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

_WINDOW: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]|24):([0-5]\d)")
_LOCAL_ZONE: Final = Path("/etc/localtime")

_SEARCHED_DAYS: Final = 3
"""A window opens at least every second day: only one that lies in a skipped hour leaves a day out."""


class DayWindow(NamedTuple):
    """Times of the wall clock, in minutes of the day; ``end`` is not inside."""

    start: int
    end: int

    def holds(self, minute: int) -> bool:
        """Whether a minute of the day is inside.

        >>> parse_window("22:00-05:00").holds(0), parse_window("08:00-09:00").holds(9 * 60)
        (True, False)
        """
        if self.start < self.end:
            return self.start <= minute < self.end
        return minute >= self.start or minute < self.end


def parse_window(text: str) -> DayWindow:
    """Read ``HH:MM-HH:MM``.

    Raises:
        ValueError: it is none.
    """
    found = _WINDOW.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:40]!r} is no window such as `22:00-05:00`")
    hours, minutes, until_hours, until_minutes = map(int, found.groups())
    start, end = hours * 60 + minutes, until_hours * 60 + until_minutes
    if end > 24 * 60:
        raise ValueError(f"{text!r} ends after 24:00")
    return DayWindow(start, end)


def is_open(windows: Sequence[DayWindow], now: datetime) -> bool:
    """Whether a moment, in the device's time zone, lies in a window; without any it does."""
    minute = now.hour * 60 + now.minute
    return not windows or any(window.holds(minute) for window in windows)


def next_opening(windows: Sequence[DayWindow], now: datetime) -> datetime:
    """The first moment from ``now`` on, which carries the device's time zone, that lies in a window."""
    if is_open(windows, now):
        return now
    after = now.timestamp()
    starts = (moment for moment in _starts(windows, now) if moment.timestamp() > after)
    return min((moment for moment in starts if is_open(windows, moment)), key=datetime.timestamp)


def closing(windows: Sequence[DayWindow], now: datetime) -> datetime | None:
    """When what is open now closes; None where it does not within a day."""
    if not windows:
        return None
    for minutes in range(24 * 60):
        moment = (now.astimezone(UTC) + timedelta(minutes=minutes)).astimezone(now.tzinfo)
        if not is_open(windows, moment):
            return moment.replace(second=0, microsecond=0)
    return None


def device_zone() -> tzinfo:
    """The device's time zone: ``TZ`` in the environment, else its local time; UTC where neither is set."""
    try:
        if name := os.environ.get("TZ"):
            return ZoneInfo(name.removeprefix(":"))
        with _LOCAL_ZONE.open("rb") as file:
            return ZoneInfo.from_file(file)
    except (OSError, ValueError, KeyError):  # a zone that is not found is a KeyError
        return UTC


def _starts(windows: Sequence[DayWindow], now: datetime) -> Iterator[datetime]:
    """Beginnings around and after a moment, as instants that exist."""
    for days in range(-1, _SEARCHED_DAYS):
        day = now.date() + timedelta(days=days)
        for window in windows:
            start = datetime.combine(day, time(window.start // 60, window.start % 60), now.tzinfo)
            for fold in (0, 1):
                # By way of UTC, a time that the clock skips becomes the one as long after midnight.
                yield start.replace(fold=fold).astimezone(UTC).astimezone(now.tzinfo)
