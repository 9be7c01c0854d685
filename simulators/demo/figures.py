"""The demo's last line: what was measured, and nothing else. Pure functions over what cells and events
said.
"""

from collections.abc import Mapping, Sequence

import msgspec


class Tally(msgspec.Struct, frozen=True):
    """Decisions of one version in one phase of the stream, by the cells' ground truth."""

    decided: int = 0
    mispacked: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(self.decided + other.decided, self.mispacked + other.mispacked)

    def __sub__(self, other: "Tally") -> "Tally":
        return Tally(self.decided - other.decided, self.mispacked - other.mispacked)

    @property
    def rate(self) -> float:
        """Share of wrong cartons; not a number before the first decision."""
        return self.mispacked / self.decided if self.decided else float("nan")


class PhaseCounts(msgspec.Struct, frozen=True):
    """One cell's counters of one phase, cumulative."""

    sent: int = 0
    decided: int = 0
    dropped: int = 0
    fallback: int = 0
    mispacked: int = 0
    labelled: int = 0
    by_version: dict[str, Tally] = {}


class Moment(msgspec.Struct, frozen=True):
    """An event of the controller."""

    id: int
    at: float
    kind: str
    sentence: str
    model: str = ""
    version: int = 0
    device: str = ""
    rollout: int = 0


class Marks(msgspec.Struct):
    """Moments of the story, seconds since the epoch; 0 while it has not come."""

    pushed: float = 0.0
    running: float = 0.0
    drifted: float = 0.0
    alarm: float = 0.0
    queued: float = 0.0
    fixed: float = 0.0


def tally(cells: Sequence[Mapping[str, PhaseCounts]], phase: str, version: int) -> Tally:
    """All cells' decisions of a version in a phase."""
    total = Tally()
    for phases in cells:
        counts = phases.get(phase, PhaseCounts())
        total = total + counts.by_version.get(str(version), Tally())
    return total


def dropped(cells: Sequence[Mapping[str, PhaseCounts]]) -> int:
    """Frames that got no decision before their deadline, in all phases."""
    return sum(counts.dropped for phases in cells for counts in phases.values())


def first(moments: Sequence[Moment], kind: str, since: float = 0.0) -> Moment | None:
    """The first moment of a kind at or after ``since``."""
    return next((moment for moment in moments if moment.kind == kind and moment.at >= since), None)


def alarms_before(moments: Sequence[Moment], drifted: float) -> int:
    """False alarms: those that came before the world changed."""
    return sum(moment.kind == "alarm.raised" and moment.at < drifted for moment in moments)


def last_line(
    devices: int,
    marks: Marks,
    rates: Mapping[str, Tally],
    transferred: Mapping[str, int],
    versions: Sequence[int],
    counted: Mapping[str, int],
) -> bytes:
    """The one line of JSON that ends the demo; rates are shares, times seconds, sizes bytes."""
    return msgspec.json.encode(
        {
            "devices": devices,
            "mispack_rate": {name: round(each.rate, 4) for name, each in rates.items()},
            "seconds": {
                "push_to_running": round(marks.running - marks.pushed, 2),
                "drift_to_alarm": round(marks.alarm - marks.drifted, 2),
                "alarm_to_queued": round(marks.queued - marks.alarm, 3),
                "drift_to_fixed": round(marks.fixed - marks.drifted, 2),
            },
            "bytes": dict(transferred),
            "versions": list(versions),
            **counted,
        }
    )
