"""Windows that become one, and windows that have to fit into a message. Pure, scalar Python.

Two windows of the same model, version and tag that follow on one another add up to one of their whole time:
histograms, counts and outcomes merge by addition, so nothing that was counted is lost, only when exactly it
happened. What does not fit into 2 KB then are rare labels: they become ``other``.
"""

from typing import Final

import msgspec

from edgewright.wire.errors import MessageError
from edgewright.wire.histograms import Histogram, merged
from edgewright.wire.messages import MAX_WINDOW_BYTES, Outcomes, Window

OTHER: Final = "other"
"""Where labels are counted that do not fit."""

OVERLAP_SECONDS: Final = 1.0
"""What a clock that is being set right gradually may take back between two windows."""

_OUTBOX_BYTES: Final = 96
"""What the outbox adds to a window: its stream's id and the number."""


def fitted(window: Window) -> Window:
    """A window of at most 2 KB; where it needs that, rare labels become ``other``."""
    keep = max(len(window.classes), len(window.truths))
    while keep and len(msgspec.msgpack.encode(window)) > MAX_WINDOW_BYTES - _OUTBOX_BYTES:
        keep //= 2
        window = msgspec.structs.replace(
            window, classes=_top_classes(window.classes, keep), truths=_top_truths(window.truths, keep)
        )
    return window


def follows(earlier: Window, later: Window) -> bool:
    """Whether two windows may become one: of one subject, and with less time between them than they took.

    A later one that began before the other had ended tells of a clock that was set back: together they would
    tell of all the time in between.
    """
    subject = earlier.model, earlier.version, earlier.tag
    gap = later.start - (earlier.start + earlier.seconds)
    near = -OVERLAP_SECONDS <= gap <= earlier.seconds + later.seconds
    return subject == (later.model, later.version, later.tag) and near


def merged_windows(earlier: Window, later: Window) -> Window | None:
    """Both as one window; None where their histograms do not add up, or it would not fit into a message."""
    try:
        histograms = {
            signal: merged(
                Histogram.unpack(window.histograms[signal])
                for window in (earlier, later)
                if signal in window.histograms
            ).pack()
            for signal in {**earlier.histograms, **later.histograms}
        }
    except MessageError:
        return None
    window = fitted(_sum(earlier, later, histograms))
    return window if len(msgspec.msgpack.encode(window)) <= MAX_WINDOW_BYTES - _OUTBOX_BYTES else None


def _sum(earlier: Window, later: Window, histograms: dict[str, bytes]) -> Window:
    start = min(earlier.start, later.start)
    end = max(earlier.start + earlier.seconds, later.start + later.seconds)
    return msgspec.structs.replace(
        earlier,
        start=start,
        seconds=end - start,
        frames=earlier.frames + later.frames,
        by_source=_added(earlier.by_source, later.by_source),
        causes=_added(earlier.causes, later.causes),
        classes=_added(earlier.classes, later.classes),
        histograms=histograms,
        outcomes=_added_outcomes(earlier.outcomes + later.outcomes),
        truths=_added_truths(earlier.truths, later.truths),
        merged=earlier.merged + later.merged,
    )


def _added(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in {**one, **other}}


def _added_truths(
    one: dict[str, tuple[int, int]], other: dict[str, tuple[int, int]]
) -> dict[str, tuple[int, int]]:
    none = (0, 0)
    return {
        label: (
            one.get(label, none)[0] + other.get(label, none)[0],
            one.get(label, none)[1] + other.get(label, none)[1],
        )
        for label in {**one, **other}
    }


def _added_outcomes(told: tuple[Outcomes, ...]) -> tuple[Outcomes, ...]:
    sums: dict[int, Outcomes] = {}
    for each in told:
        before = sums.get(each.version, Outcomes(each.version, 0, 0))
        sums[each.version] = Outcomes(
            each.version, before.labelled + each.labelled, before.wrong + each.wrong
        )
    return tuple(sums[version] for version in sorted(sums))


def _top_classes(classes: dict[str, int], keep: int) -> dict[str, int]:
    ordered = sorted(classes.items(), key=lambda entry: (entry[0] == OTHER, -entry[1]))
    top, rest = dict(ordered[:keep]), ordered[keep:]
    if rest:
        top[OTHER] = top.get(OTHER, 0) + sum(count for _, count in rest)
    return top


def _top_truths(truths: dict[str, tuple[int, int]], keep: int) -> dict[str, tuple[int, int]]:
    ordered = sorted(truths.items(), key=lambda entry: (entry[0] == OTHER, -entry[1][0]))
    top, rest = dict(ordered[:keep]), ordered[keep:]
    if rest:
        labelled, wrong = top.get(OTHER, (0, 0))
        top[OTHER] = (
            labelled + sum(counts[0] for _, counts in rest),
            wrong + sum(counts[1] for _, counts in rest),
        )
    return top
