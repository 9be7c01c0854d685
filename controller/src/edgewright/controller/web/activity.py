"""What devices did lately: the strip beside each robot, and its figures of the last minute."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from edgewright.controller.web.words import rate

BUCKET_S: Final = 10
CELLS: Final = 36
"""Six minutes in steps of ten seconds."""
RECENT_CELLS: Final = 6
FULL_HEIGHT: Final = 0.5
"""Mispack rate at which a cell's bar reaches the top."""


class Activity(NamedTuple):
    """One device, one bucket, one version; the bucket is its start in seconds since the epoch."""

    device: str
    bucket: float
    version: int
    frames: int
    fallback: int
    labelled: int
    wrong: int
    confidence_sum: float
    confidence_count: int


class Cell(msgspec.Struct, frozen=True):
    """One step of a strip.

    Attributes:
        version: which version decided most frames; 0 where there was none.
        height: the mispack bar, from 0 to 1.
        fallback: whether a frame was decided by the fallback.
    """

    version: int
    height: float
    fallback: bool


class Recent(msgspec.Struct, frozen=True):
    """Figures of the last minute; rates are None where there was nothing to count."""

    frames: int = 0
    fallback: int = 0
    labelled: int = 0
    wrong: int = 0
    mispack: float | None = None
    confidence: float | None = None


def strip(activities: Sequence[Activity], now: float) -> tuple[Cell, ...]:
    """The last cells of one device, oldest first."""
    last = now // BUCKET_S * BUCKET_S
    cells: dict[int, list[Activity]] = {}
    for a in activities:
        cells.setdefault(CELLS - 1 - round((last - a.bucket) / BUCKET_S), []).append(a)
    return tuple(_cell(cells.get(i, [])) for i in range(CELLS))


def _cell(parts: Sequence[Activity]) -> Cell:
    busiest = max(parts, key=lambda a: a.frames, default=None)
    mispack = rate(sum(a.wrong for a in parts), sum(a.labelled for a in parts)) or 0.0
    return Cell(
        version=busiest.version if busiest else 0,
        height=round(min(mispack / FULL_HEIGHT, 1.0), 2),
        fallback=any(a.fallback for a in parts),
    )


def recent_start(now: float) -> float:
    """Where the last minute begins: at a cell's start, 50 to 60 seconds ago."""
    return (now // BUCKET_S - RECENT_CELLS + 1) * BUCKET_S


def recent(activities: Sequence[Activity], now: float) -> Recent:
    """Figures over the last minute (50 to 60 seconds of it), of one device or of many."""
    start = recent_start(now)
    parts = [a for a in activities if a.bucket >= start]
    labelled, wrong = sum(a.labelled for a in parts), sum(a.wrong for a in parts)
    return Recent(
        frames=sum(a.frames for a in parts),
        fallback=sum(a.fallback for a in parts),
        labelled=labelled,
        wrong=wrong,
        mispack=rate(wrong, labelled),
        confidence=rate(sum(a.confidence_sum for a in parts), sum(a.confidence_count for a in parts)),
    )
