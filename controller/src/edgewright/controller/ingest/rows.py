"""From messages to rows: pure shaping, no database."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from edgewright.wire.deployment import State
from edgewright.wire.errors import MalformedMessageError
from edgewright.wire.histograms import Histogram
from edgewright.wire.messages import Hello, Report, Sequenced, Window, encode

RESOLUTIONS_S: Final = (60, 3600, 86400)
"""Rollups are kept per minute, hour and day."""

LARGEST: Final = 2**53
"""Up to here floats are exact, and sums of many still fit an SQL integer."""

_EVENT_OF_STATE: Final[Mapping[State, str]] = {
    State.COMMITTED: "device.committed",
    State.FAILED: "device.failed",
    State.REFUSED: "device.refused",
    State.ROLLED_BACK: "device.rolled-back",
}


def window_row(window: Window, *, is_past: bool = False) -> dict[str, Any]:
    """A row of ``Window``; ``is_past`` for one that is stored and is no evidence.

    Raises:
        MalformedMessageError: the confidence histogram cannot be read.
    """
    confidence = _confidence(window)
    count = confidence.total if confidence else 0
    return {
        "ts": window.start,
        "device": window.device,
        "stream": window.stream,
        "seq": window.seq,
        "seconds": window.seconds,
        "model": window.model,
        "version": window.version,
        "frames": window.frames,
        "fallback": window.by_source.get("fallback", 0),
        "labelled": sum(o.labelled for o in window.outcomes),
        "wrong": sum(o.wrong for o in window.outcomes),
        "confidence_sum": confidence.mean() * count if confidence and count else 0.0,
        "confidence_count": count,
        "is_past": is_past,
        "payload": encode(window),
    }


def verify_numbers(message: Hello | Sequenced) -> None:
    """Refuse numbers that no database can hold: one such row would undo the whole batch, for ever.

    Raises:
        MalformedMessageError: one is not finite, or beyond 2^53.
    """
    if not all(-LARGEST <= number <= LARGEST for number in _numbers(message)):
        raise MalformedMessageError(f"A {type(message).__name__} of {message.device} has an absurd number.")


def _numbers(value: object) -> Iterator[int | float]:
    if isinstance(value, int | float):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _numbers(each)
    elif isinstance(value, tuple):
        for each in value:
            yield from _numbers(each)
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from _numbers(getattr(value, name))


def outcome_rows(window: Window) -> list[dict[str, Any]]:
    """Rows of ``Outcome``, one a version."""
    told: dict[int, tuple[int, int]] = {}
    for outcome in window.outcomes:
        labelled, wrong = told.get(outcome.version, (0, 0))
        told[outcome.version] = (labelled + outcome.labelled, wrong + outcome.wrong)
    return [
        {
            "model": window.model,
            "version": version,
            "ts": window.start,
            "device": window.device,
            "seq": window.seq,
            "labelled": labelled,
            "wrong": wrong,
        }
        for version, (labelled, wrong) in told.items()
    ]


def rollup_rows(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Sums of window rows by minute, hour and day, one row a key."""
    sums: dict[tuple[float, int, str, int], dict[str, Any]] = {}
    for row in rows:
        for resolution in RESOLUTIONS_S:
            bucket = row["ts"] // resolution * resolution
            key = (bucket, resolution, row["model"], row["version"])
            total = sums.setdefault(key, _empty_rollup(key))
            total["windows"] += 1
            for name in ("frames", "fallback", "labelled", "wrong", "confidence_sum", "confidence_count"):
                total[name] += row[name]
    return list(sums.values())


def event_of(report: Report) -> tuple[str, str] | None:
    """Kind and sentence of the event that a report is worth, if it is."""
    if report.state is None:
        return ("device.event", f"{report.device}: {report.detail or report.name}")
    kind = _EVENT_OF_STATE.get(report.state)
    if kind is None or report.release is None:
        return None
    what = f"{report.device}: {report.release.model} v{report.release.version} {report.state}"
    return (kind, f"{what}. {report.detail}" if report.detail else f"{what}.")


def _confidence(window: Window) -> Histogram | None:
    packed = window.histograms.get("confidence")
    return Histogram.unpack(packed) if packed else None


def _empty_rollup(key: tuple[float, int, str, int]) -> dict[str, Any]:
    bucket, resolution, model, version = key
    return {
        "bucket": bucket,
        "resolution": resolution,
        "model": model,
        "version": version,
        "windows": 0,
        "frames": 0,
        "fallback": 0,
        "labelled": 0,
        "wrong": 0,
        "confidence_sum": 0.0,
        "confidence_count": 0,
    }
