"""References by tag: what a version does with one SKU's goods while it does no harm.

Without a tag windows are held against testing (``targets``). A tag's goods may look otherwise and be rightly
so; therefore each tag gets a reference of its own, of the first windows that it brings while no harm is
shown. Until it is ready, nothing of the tag's input is compared; its labels always are, because a promise on
errors holds for every SKU. A ready reference is stored, and used at once when the tag returns, after a
restart too.

The time of a window decides which reference it meets, never the time at which it is looked at, so a replay
makes the same state. No robot gives more than half of a reference where there are others.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from edgewright.controller.evidence.signals import SIGNALS, Baseline, Seen
from edgewright.controller.evidence.targets import Targets, baseline_of
from edgewright.wire.histograms import Histogram
from edgewright.wire.messages import Window
from edgewright.wire.moments import Moments

MOST_TAGS: Final = 64
"""Of a version that are told apart, the first that come; the others count under no tag."""

READY_FRAMES: Final = 400
READY_WINDOWS: Final = 20


class StoredReference(NamedTuple):
    """A tag's reference as it is stored.

    Attributes:
        ready_at: windows that start from here on are held against it, seconds since the epoch.
        payload: msgpack of ``_Payload``.
    """

    tag: str
    frames: int
    windows: int
    since: float
    ready_at: float
    payload: bytes


class _Payload(msgspec.Struct, frozen=True):
    histograms: dict[str, bytes]
    classes: dict[str, int]
    embedding: bytes = b""


class _Growing:
    """A reference that has not seen enough."""

    def __init__(self, since: float) -> None:
        self.since = since
        self.windows = self.frames = 0
        self.by_robot: dict[str, int] = {}
        self.classes: dict[str, int] = {}
        self.histograms = {signal: Histogram(schema) for signal, schema in SIGNALS.items()}
        self.embedding = Moments()

    def add(self, window: Window, seen: Seen) -> None:
        self.windows += 1
        self.frames += window.frames
        self.by_robot[window.device] = self.by_robot.get(window.device, 0) + window.frames
        for label, count in window.classes.items():
            self.classes[label] = self.classes.get(label, 0) + count
        for signal, histogram in seen.histograms.items():
            self.histograms[signal].merge(histogram)
        if seen.embedding is not None and seen.embedding.dims == self.embedding.dims:
            self.embedding.merge(seen.embedding)

    def stored(self, tag: str, ready_at: float) -> StoredReference:
        payload = _Payload(
            {signal: histogram.pack() for signal, histogram in self.histograms.items() if histogram.total},
            self.classes,
            self.embedding.pack() if self.embedding.n else b"",
        )
        return StoredReference(
            tag, self.frames, self.windows, self.since, ready_at, msgspec.msgpack.encode(payload)
        )


class Baselines:
    """See the module's text.

    Attributes:
        fresh: references that became ready and wait to be stored.
    """

    def __init__(self, targets: Targets, stored: Iterable[StoredReference]) -> None:
        self._targets = targets
        self.fresh: list[StoredReference] = []
        self._ready: dict[str, tuple[float, Baseline]] = {}
        self._growing: dict[str, _Growing] = {}
        self._tags: set[str] = set()
        for one in stored:
            self._take(one)

    def told_apart(self, tag: str) -> str:
        """The tag, or none where there are too many."""
        if tag and tag not in self._tags:
            if len(self._tags) >= MOST_TAGS:
                return ""
            self._tags.add(tag)
        return tag

    def of(self, window: Window) -> Baseline | None:
        """What a window is held against; None where its tag has nothing yet."""
        if not window.tag:
            return self._targets.baseline(window.device)
        ready = self._ready.get(window.tag)
        return ready[1] if ready is not None and window.start >= ready[0] else None

    def of_tag(self, tag: str) -> Baseline | None:
        """What a tag is held against; None where it has nothing of its own."""
        ready = self._ready.get(tag)
        return ready[1] if ready is not None else None

    def learn(self, window: Window, seen: Seen, robots: int) -> None:
        """Take a window of a time without harm into its tag's reference, if that is not ready."""
        if not self.told_apart(window.tag) or window.tag in self._ready or not window.frames:
            return
        growing = self._growing.get(window.tag)
        if growing is None:
            growing = self._growing[window.tag] = _Growing(window.start)
        if robots > 1 and growing.by_robot.get(window.device, 0) >= READY_FRAMES / 2:
            return
        growing.add(window, seen)
        if growing.frames >= READY_FRAMES and growing.windows >= READY_WINDOWS:
            del self._growing[window.tag]
            ready = growing.stored(window.tag, window.start + window.seconds)
            self._take(ready)
            self.fresh.append(ready)

    def spoil(self, tag: str) -> None:
        """Forget what a tag's reference has so far: harm was shown while it grew."""
        self._growing.pop(tag, None)

    def _take(self, one: StoredReference) -> None:
        try:
            payload = msgspec.msgpack.decode(one.payload, type=_Payload)
            baseline = baseline_of(payload.histograms, payload.classes, payload.embedding)
        except (msgspec.ValidationError, msgspec.DecodeError):
            return  # it grows again
        self._tags.add(one.tag)
        self._ready[one.tag] = (one.ready_at, baseline)
