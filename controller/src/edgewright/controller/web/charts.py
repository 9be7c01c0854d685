"""Sums of windows into chart series, one a version, with the moments that explain them.

A bucket's mispack rate is wrong over labelled among the labels that arrived in it, told by the version that
had decided; its confidence is the mean over the frames. A bucket without a label has no rate: a gap, not a
zero. The bucket's length follows the span that there is, so that a young line shows a full chart.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from edgewright.controller.web.words import Tone, event_tone

DEFAULT_SINCE_S: Final = 900
MAX_SINCE_S: Final = 90 * 86400

BUCKETS_S: Final = (2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 6 * 3600, 86400)
TARGET_POINTS: Final = 90
"""A chart of 600 pixels shows about this many points without becoming a hedge."""

ROLLUP_FROM_S: Final = 60
"""Buckets of a minute and more are read from rollups; shorter ones from the windows themselves."""

MARKS: Final[dict[str, str]] = {
    "drift.noticed": "change",
    "alarm.raised": "alarm",
    "rebuild.queued": "rebuild",
    "rebuild.candidate": "candidate",
    "rebuild.failed": "rebuild failed",
    "rollout.started": "rollout",
    "rollout.wave": "next wave",
    "rollout.stopped": "stopped",
    "rollout.finished": "rolled out",
    "alarm.closed": "fixed",
}
"""Label of each kind of event that a chart marks."""


class Sums(NamedTuple):
    """What one version did in one bucket."""

    bucket: float
    version: int
    labelled: int
    wrong: int
    confidence_sum: float
    confidence_count: int


class Moment(NamedTuple):
    """An event as far as a chart needs it."""

    at: float
    kind: str
    sentence: str
    version: int


class Reference(msgspec.Struct, frozen=True):
    """What a version showed on held-out frames when it was compiled."""

    version: int
    mispack: float
    confidence: float | None


class Series(msgspec.Struct, frozen=True):
    """One version's values, one a bucket, None where there is none."""

    version: int
    values: tuple[float | None, ...]


class Mark(msgspec.Struct, frozen=True):
    """A vertical line in the chart."""

    at: float
    kind: str
    label: str
    tone: Tone
    sentence: str


class Charts(msgspec.Struct, frozen=True):
    """Everything the two charts show; times are seconds since the epoch."""

    model: str
    start: float
    end: float
    bucket_s: int
    times: tuple[float, ...]
    mispack: tuple[Series, ...]
    confidence: tuple[Series, ...]
    marks: tuple[Mark, ...]
    references: tuple[Reference, ...]


def bucket_for(span_s: float) -> int:
    """Length of a bucket, in seconds, for a chart over ``span_s`` seconds.

    >>> bucket_for(120), bucket_for(900), bucket_for(86400)
    (2, 10, 1800)
    """
    return next((b for b in BUCKETS_S if span_s / b <= TARGET_POINTS), BUCKETS_S[-1])


def shape_charts(
    model: str,
    start: float,
    end: float,
    bucket_s: int,
    sums: Sequence[Sums],
    moments: Sequence[Moment],
    references: Sequence[Reference],
) -> Charts:
    """Lay the sums out in columns, one a version, over the buckets that have any."""
    times = sorted({s.bucket for s in sums})
    versions = sorted({s.version for s in sums if s.version})
    cells = {(s.bucket, s.version): s for s in sums}
    mispack, confidence = [], []
    for version in versions:
        column = [cells.get((t, version)) for t in times]
        mispack.append(Series(version, tuple(c and _share(c.wrong, c.labelled) for c in column)))
        confidence.append(
            Series(version, tuple(c and _share(c.confidence_sum, c.confidence_count) for c in column))
        )
    return Charts(
        model=model,
        start=start,
        end=end,
        bucket_s=bucket_s,
        times=tuple(times),
        mispack=tuple(s for s in mispack if any(v is not None for v in s.values)),
        confidence=tuple(s for s in confidence if any(v is not None for v in s.values)),
        marks=_marks(start, moments),
        references=tuple(r for r in references if r.version in versions),
    )


def _share(part: float, whole: int) -> float | None:
    return round(part / whole, 5) if whole else None


def _marks(start: float, moments: Sequence[Moment]) -> tuple[Mark, ...]:
    found = [
        Mark(m.at, m.kind, _label(m), event_tone(m.kind), m.sentence)
        for m in moments
        if m.kind in MARKS and m.at >= start
    ]
    return tuple(sorted(found, key=lambda mark: mark.at))


def _label(moment: Moment) -> str:
    label = MARKS[moment.kind]
    return f"{label} v{moment.version}" if moment.kind == "rollout.started" and moment.version else label
