"""What the device remembers of an order to measure candidates: its number, what of it is open, what it took.

The number is a floor: it is raised with the acceptance and goes back only with all of the director's keys
(``Journal.note_director_root``). A
candidate is open until its result is in the outbox; both happen in one commit. A start is counted before a
trial, so a candidate that takes the whole device with it is known after the next start.
"""

from typing import Final

import msgspec

from edgewright.agent.agreement import ImageTarget
from edgewright.agent.database import Database
from edgewright.agent.qualificationorder import Accepted, QualificationOrder

DAY_SECONDS: Final = 86_400

_targets = msgspec.msgpack.Decoder(ImageTarget)


class Open(msgspec.Struct, frozen=True):
    """A candidate without a result.

    Attributes:
        place: in its order, from 0.
        target: its manifest.
        starts: of a trial of it that did not end by themselves.
    """

    place: int
    target: ImageTarget
    starts: int


class Trials:
    """The tables ``qualification`` and ``candidates`` of the agent's database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def accepted(self) -> Accepted:
        """The newest order that was accepted."""
        row = self._database.connection.execute("SELECT number, sha256 FROM qualification").fetchone()
        return Accepted(*row)

    @property
    def expires(self) -> float:
        """When that order ends, seconds since the epoch."""
        (expires,) = self._database.connection.execute("SELECT expires FROM qualification").fetchone()
        return float(expires)

    def accept(self, order: QualificationOrder) -> None:
        """Remember an order in the place of the one before, whose open candidates are dropped."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE qualification SET number = ?, sha256 = ?, expires = ?",
                (order.version, order.sha256, order.expires),
            )
            connection.execute("DELETE FROM candidates")
            connection.executemany(
                "INSERT INTO candidates (place, target) VALUES (?, ?)",
                [(place, msgspec.msgpack.encode(target)) for place, target in enumerate(order.candidates)],
            )

    def open(self) -> list[Open]:
        """Candidates without a result, in the order's order; none where what is written cannot be read."""
        rows = self._database.connection.execute(
            "SELECT place, target, starts FROM candidates ORDER BY place"
        )
        try:
            return [Open(place, _targets.decode(target), starts) for place, target, starts in rows]
        except (msgspec.DecodeError, TypeError):
            self.drop()
            return []

    def needed(self) -> set[str]:
        """Manifests whose files a trial needs."""
        return {candidate.target.sha256 for candidate in self.open()[:1]}

    def count_start(self, candidate: Open) -> None:
        """A trial is about to begin."""
        self._set_starts(candidate.place, candidate.starts + 1)

    def forget_start(self, candidate: Open) -> None:
        """A trial was called off, or has not come to its process: that start says nothing."""
        self._set_starts(candidate.place, max(0, candidate.starts - 1))

    def close(self, candidate: Open) -> None:
        """A candidate has its result."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM candidates WHERE place = ?", (candidate.place,))

    def drop(self) -> None:
        """Close all."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM candidates")

    def spend(self, seconds: float, now: float) -> None:
        """Trials have taken so many seconds of the day of ``now``, seconds since the epoch; a negative number
        gives back what was spent before.
        """
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE qualification SET seconds = ?, day = ?",
                (max(0.0, self.spent(now) + seconds), _day(now)),
            )

    def spent(self, now: float) -> float:
        """Seconds that trials have taken in the day of ``now``."""
        day, seconds = self._database.connection.execute("SELECT day, seconds FROM qualification").fetchone()
        return float(seconds) if day == _day(now) else 0.0

    def _set_starts(self, place: int, starts: int) -> None:
        with self._database.transaction() as connection:
            connection.execute("UPDATE candidates SET starts = ? WHERE place = ?", (starts, place))


def _day(now: float) -> int:
    return int(now // DAY_SECONDS)
