"""What this controller has put on retained topics, by kind: how many topics, and how many bytes.

It is what the broker has acknowledged to this process, so after a start it fills as everything is published
again. Safe to use from several threads.
"""

import threading
from collections.abc import Iterable

import msgspec

from edgewright.wire import topics

KINDS = {"chunk": "chunks", "tuf": "metadata", "director": "metadata", "d": "assignments"}
"""The level below the root of a topic to what it counts as."""

_DEPTH = topics.ROOT.count("/") + 1


class Figure(msgspec.Struct, frozen=True):
    """Of one kind."""

    topics: int = 0
    bytes: int = 0


class Figures(msgspec.Struct, frozen=True):
    """Of all kinds."""

    chunks: Figure = Figure()
    metadata: Figure = Figure()
    assignments: Figure = Figure()

    @property
    def bytes(self) -> int:
        """Payload bytes in all."""
        return self.chunks.bytes + self.metadata.bytes + self.assignments.bytes


class Retained:
    """Topic by topic.

    >>> retained = Retained()
    >>> retained.note("ew/1/d/r1/assignment", 900)
    >>> retained.figures().assignments
    Figure(topics=1, bytes=900)
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bytes: dict[str, int] = {}

    def __contains__(self, topic: str) -> bool:
        with self._lock:
            return topic in self._bytes

    def note(self, topic: str, length: int) -> None:
        """The broker has taken ``length`` bytes for a topic; none of them clears it."""
        with self._lock:
            # Taken out first, so that the newest stands last.
            self._bytes.pop(topic, None)
            if length:
                self._bytes[topic] = length

    def forget(self) -> None:
        """Nothing is known of the broker any more."""
        with self._lock:
            self._bytes.clear()

    def missing(self, wanted: Iterable[str]) -> list[str]:
        """Those of some topics that have to be published."""
        with self._lock:
            return [topic for topic in wanted if topic not in self._bytes]

    def of_kind(self, kind: str) -> list[str]:
        """The topics of a kind."""
        with self._lock:
            return [topic for topic in self._bytes if _kind(topic) == kind]

    def figures(self) -> Figures:
        """How much lies there."""
        with self._lock:
            known = dict(self._bytes)
        sums = {kind: [0, 0] for kind in KINDS.values()}
        for topic, length in known.items():
            found = sums[_kind(topic)]
            found[0] += 1
            found[1] += length
        return Figures(**{kind: Figure(*both) for kind, both in sums.items()})


def _kind(topic: str) -> str:
    return KINDS[topic.split("/", _DEPTH + 1)[_DEPTH]]
