"""What a window may claim: numbers that no honest device sends are set aside, with a reason.

An enrolled device may be broken or hostile. ``why_impossible`` looks at one window; ``Ledger`` remembers how
many frames each device has told of, because nobody can label more items than came by. What is set aside is
stored and shown, and is no evidence of anything but of its device.
"""

from math import isfinite
from typing import Final

from edgewright.controller.evidence.signals import Seen
from edgewright.wire.messages import Outcomes, Window

MOST_FRAMES_PER_S: Final = 10_000.0
"""No line takes more pictures."""

LONGEST_S: Final = 7 * 24 * 3600.0
"""Of one window; the longest are merged ones from an outage."""

UNTOLD_FRAMES: Final = 20_000
"""Labels beyond the frames that were counted: of those that came by before the controller looked."""

_ROUNDING: Final = 1.001
"""Sums of floating-point weights are allowed to be off by this factor."""


def why_impossible(window: Window) -> str:
    """Why no honest device can have sent this, in a few words; empty where one can.

    >>> window = Window(device="r", stream="s", seq=1, start=0.0, seconds=2.0, model="m", version=1, tag="",
    ...     frames=20, by_source={"active": 20}, causes={}, classes={"A": 21}, histograms={}, outcomes=(),
    ...     truths={})
    >>> why_impossible(window)
    'more decisions by class than frames'
    """
    if not (isfinite(window.start) and isfinite(window.seconds) and 0.0 <= window.seconds <= LONGEST_S):
        return "a time that is none"
    if window.frames < 0 or window.frames > MOST_FRAMES_PER_S * max(window.seconds, 1.0):
        return "more frames than a camera takes"
    for name, counts in (
        ("source", window.by_source),
        ("cause", window.causes),
        ("class", window.classes),
    ):
        if any(count < 0 for count in counts.values()):
            return f"a negative number of decisions by {name}"
        if sum(counts.values()) > window.frames:
            return f"more decisions by {name} than frames"
    return next((why for outcome in window.outcomes if (why := why_impossible_outcome(outcome))), "")


def why_impossible_signals(window: Window, seen: Seen) -> str:
    """The same of what was read of its signals: each frame has one value of a signal at most."""
    histograms = [*seen.histograms.values(), *([seen.latency] if seen.latency else [])]
    counts = [histogram.total + histogram.invalid for histogram in histograms]
    counts += [seen.embedding.n] if seen.embedding else []
    return "more values of a signal than frames" if max(counts, default=0) > window.frames else ""


def why_impossible_outcome(told: Outcomes) -> str:
    """The same of the labels of one version and source."""
    if not 0 <= told.wrong <= told.labelled:
        return "more wrong items than labelled ones"
    weights = (told.weight, told.wrong_weight, told.weight_squares)
    if not all(isfinite(weight) and weight >= 0.0 for weight in weights):
        return "a weight that is no number"
    if not told.weight:
        return "" if not (told.wrong_weight or told.weight_squares) else "weights of nothing"
    if told.wrong_weight > told.weight * _ROUNDING:
        return "a larger weight of wrong items than of all"
    # Sums of squares lie between what one item and what equal items would have (Cauchy and Schwarz).
    possible = (
        told.weight_squares <= (told.weight * _ROUNDING) ** 2
        and told.weight**2 <= told.weight_squares * told.labelled * _ROUNDING
    )
    return "" if possible else "weights that no choice of items has"


class Ledger:
    """Frames and labels by device; see the module's text."""

    def __init__(self) -> None:
        self._room: dict[str, int] = {}

    def why_impossible(self, window: Window) -> str:
        """Count a window; why its labels are too many, or empty."""
        labelled = sum(outcome.labelled for outcome in window.outcomes)
        room = self._room.get(window.device, UNTOLD_FRAMES) + window.frames
        if labelled > room:
            return "more labelled items than came by"
        # Room is bounded, so that frames of months do not buy a flood of labels.
        self._room[window.device] = min(room - labelled, UNTOLD_FRAMES + window.frames * 1000)
        return ""
