"""Windows that become one, and windows that have to fit into a message. Pure, scalar Python.

Two windows of one subject that follow on one another add up to one of their whole time: histograms, moments,
counts and outcomes merge by addition, so nothing that was counted is lost, only when exactly it happened.

What does not fit into 2 KB goes in an order (``fitted``): first what is rare, then what the rest implies.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from edgewright.wire.errors import MessageError
from edgewright.wire.histograms import Histogram, merged
from edgewright.wire.messages import MAX_WINDOW_BYTES, Outcomes, Window
from edgewright.wire.moments import Moments

OTHER: Final = "other"
"""Where labels are counted that do not fit."""

OVERLAP_SECONDS: Final = 1.0
"""What a clock that is being set right gradually may take back between two windows."""

_OUTBOX_BYTES: Final = 96
"""What the outbox adds to a window: its stream's id and the number."""


_ENOUGH_LABELS: Final = 16
"""So many classes stay apart while anything else can go."""

Subject = tuple[str, int, str, bool]


def subject(window: Window) -> Subject:
    """Whose window it is; only windows of one subject become one."""
    return window.model, window.version, window.tag, window.grace


def fitted(window: Window) -> Window:
    """A window of at most 2 KB.

    Where it needs that, things go in this order, until it fits:

    1. rare labels, of decisions and of truths, become ``other``; ``_ENOUGH_LABELS`` of each stay;
    2. margin and entropy, which say of a model's doubt what confidence says too;
    3. the embedding, then the statistics of the optics but sharpness: what changed, not whether it harms;
    4. all labels become ``other``.

    Frames, sources, causes, outcomes, latency and the confidences, labelled ones too, never go: alarms rest
    on them. A merged window that does not fit with them is not merged.
    """
    for smaller in _smaller(window):
        if fits(smaller):
            return smaller
        window = smaller
    return window


def fits(window: Window) -> bool:
    """Whether it and what the outbox adds to it are one message."""
    return len(msgspec.msgpack.encode(window)) <= MAX_WINDOW_BYTES - _OUTBOX_BYTES


def _smaller(window: Window) -> Iterator[Window]:
    """The window, and what it is after each step of ``fitted``."""
    yield window
    keep = max(len(window.classes), len(window.truths))
    while keep > _ENOUGH_LABELS:
        keep = max(keep // 2, _ENOUGH_LABELS)
        window = _with_labels(window, keep)
        yield window
    window = _without(window, "margin", "entropy")
    yield window
    window = msgspec.structs.replace(window, embedding=b"")
    yield window
    window = _without(window, "contrast", "saturation", "brightness")
    yield window
    yield _with_labels(window, 0)


def _with_labels(window: Window, keep: int) -> Window:
    classes, truths = _top_classes(window.classes, keep), _top_truths(window.truths, keep)
    return msgspec.structs.replace(window, classes=classes, truths=truths)


def _without(window: Window, *signals: str) -> Window:
    left = {signal: packed for signal, packed in window.histograms.items() if signal not in signals}
    return msgspec.structs.replace(window, histograms=left)


def follows(earlier: Window, later: Window) -> bool:
    """Whether two windows may become one: of one subject, and with less time between them than they took.

    A later one that began before the other had ended tells of a clock that was set back: together they would
    tell of all the time in between.
    """
    gap = later.start - (earlier.start + earlier.seconds)
    near = -OVERLAP_SECONDS <= gap <= earlier.seconds + later.seconds
    return subject(earlier) == subject(later) and near


def merged_windows(earlier: Window, later: Window) -> Window | None:
    """Both as one window; None where what they counted does not add up, or would not fit into a message."""
    try:
        histograms = {
            signal: merged(
                Histogram.unpack(window.histograms[signal])
                for window in (earlier, later)
                if signal in window.histograms
            ).pack()
            for signal in {**earlier.histograms, **later.histograms}
        }
        embedding = _added_moments(earlier.embedding, later.embedding)
    except MessageError:
        return None
    window = fitted(_sum(earlier, later, histograms, embedding))
    return window if fits(window) else None


def _sum(earlier: Window, later: Window, histograms: dict[str, bytes], embedding: bytes) -> Window:
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
        embedding=embedding,
        unknown_truths=earlier.unknown_truths + later.unknown_truths,
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
    sums: dict[tuple[int, str], Outcomes] = {}
    for each in told:
        who = each.version, each.source
        before = sums.get(who, Outcomes(each.version, 0, 0, each.source))
        sums[who] = Outcomes(
            each.version,
            before.labelled + each.labelled,
            before.wrong + each.wrong,
            each.source,
            before.weight + each.weight,
            before.wrong_weight + each.wrong_weight,
            before.weight_squares + each.weight_squares,
        )
    return tuple(sums[who] for who in sorted(sums))


def _added_moments(one: bytes, other: bytes) -> bytes:
    if not (one and other):
        return one or other
    moments = Moments.unpack(one)
    moments.merge(Moments.unpack(other))
    return moments.pack()


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
