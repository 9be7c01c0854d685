"""Download windows: over midnight, over both changes of the clock, and what is none."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from edgewright.agent.schedule import closing, device_zone, is_open, next_opening, parse_window

PARIS = ZoneInfo("Europe/Paris")
NIGHT = (parse_window("22:00-05:00"),)


def at(text: str) -> datetime:
    """A moment in Paris, by its wall clock."""
    return datetime.fromisoformat(text).replace(tzinfo=PARIS)


@pytest.mark.parametrize(
    ("now", "opens"),
    [
        ("2026-06-10T12:00", "2026-06-10T22:00"),
        ("2026-06-10T22:00", "2026-06-10T22:00"),
        ("2026-06-11T04:59", "2026-06-11T04:59"),
        ("2026-06-11T05:00", "2026-06-11T22:00"),
    ],
)
def test_a_window_over_midnight(now: str, opens: str) -> None:
    """From ten to five: open on both sides of midnight, its end not inside."""
    assert next_opening(NIGHT, at(now)) == at(opens)
    assert is_open(NIGHT, at(now)) is (now == opens)


def test_the_nearest_of_several_windows() -> None:
    """Of two windows the next one opens, not the first in the list."""
    windows = (parse_window("22:00-23:00"), parse_window("13:00-14:00"))
    assert next_opening(windows, at("2026-06-10T12:00")) == at("2026-06-10T13:00")


def test_without_windows_it_is_always_open() -> None:
    """No window is any time, and nothing closes."""
    assert is_open((), at("2026-06-10T12:00"))
    assert closing((), at("2026-06-10T12:00")) is None


def test_a_whole_day_never_closes() -> None:
    """A window from midnight to midnight, and one from a time to itself, are open all day."""
    for text in ("00:00-24:00", "06:00-06:00"):
        assert closing((parse_window(text),), at("2026-06-10T12:00")) is None


def test_the_night_with_an_hour_more() -> None:
    """When the clock is turned back, a window from two to three is open for both hours called two."""
    windows = (parse_window("02:00-03:00"),)
    first = at("2026-10-25T02:00")
    assert closing(windows, first) is not None
    assert closing(windows, first).astimezone(UTC) - first.astimezone(UTC) == timedelta(hours=2)  # type: ignore[union-attr]  # just asserted


def test_the_night_with_an_hour_less() -> None:
    """When the clock is put forward, a window in the skipped hour is left out, one over it opens."""
    skipped = (parse_window("02:10-02:50"),)
    assert next_opening(skipped, at("2026-03-29T00:00")) == at("2026-03-30T02:10")
    over = (parse_window("01:00-05:00"),)
    closes = closing(over, at("2026-03-29T01:00"))
    assert closes == at("2026-03-29T05:00")
    assert closes.astimezone(UTC) - at("2026-03-29T01:00").astimezone(UTC) == timedelta(hours=3)
    into = next_opening((parse_window("02:30-05:00"),), at("2026-03-29T00:00"))
    assert into == at("2026-03-29T03:30")


def test_the_next_opening_is_open_and_the_nearest() -> None:
    """Over two days around each change of the clock: every opening is open, and nothing before it was."""
    windows = (parse_window("22:30-01:15"), parse_window("04:00-04:30"))
    for start in ("2026-03-28T12:00", "2026-10-24T12:00"):
        moments = [
            (at(start).astimezone(UTC) + timedelta(minutes=15 * n)).astimezone(PARIS) for n in range(192)
        ]
        for index, now in enumerate(moments[:96]):
            opens = next_opening(windows, now)
            assert is_open(windows, opens)
            assert not any(
                is_open(windows, moment)
                for moment in moments[index:]
                if moment.timestamp() < opens.timestamp()
            )


def test_a_window_that_opens_twice_in_a_night() -> None:
    """On the night with an hour more, a window within that hour opens again forty minutes later."""
    windows = (parse_window("02:10-02:20"),)
    first_half_past = at("2026-10-25T02:30")
    opens = next_opening(windows, first_half_past)
    assert opens.timestamp() - first_half_past.timestamp() == 40 * 60


@pytest.mark.parametrize("text", ["", "22-05", "24:00-05:00", "22:00-25:00", "22:00-24:01", "22:00 - 05:00"])
def test_what_is_no_window(text: str) -> None:
    """A window that cannot be read is refused."""
    with pytest.raises(ValueError, match=r"window|ends"):
        parse_window(text)


def test_the_zone_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """``TZ`` names the zone; one that does not exist is UTC."""
    monkeypatch.setenv("TZ", ":Europe/Paris")
    assert device_zone() == PARIS
    monkeypatch.setenv("TZ", "Nowhere/None")
    assert device_zone() is UTC
