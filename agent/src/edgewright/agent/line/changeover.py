"""When a line changes over to other goods, and for how many frames that is not settled.

After a changeover the first frames show a belt that is being cleared, a lamp that warms up, an exposure that
settles. They are counted apart, so that they are no evidence about the new goods. A line that mixes tags, one
item of this and one of that, changes over once for each tag, when it first comes: a tag that was seen lately
comes back without grace, or such a line would never be settled. Neither would one whose tags are too many to
come back soon, or that gives each item a tag of its own; so a few changeovers may follow each other closely,
but over time no more than one frame in ``SETTLED_TIMES`` is in grace.

>>> changeovers = Changeovers(frames=2)
>>> [changeovers.grace(tag) for tag in ("a", "a", "b", "b", "b", "a", "b")]
[False, False, True, True, False, False, False]
"""

from typing import Final

DEFAULT_FRAMES: Final = 20
MIXED_TIMES: Final = 10
"""A tag comes back within so many times the grace: the line mixes, it does not change over."""

SETTLED_TIMES: Final = 5
"""Over time there is one grace in so many times its frames."""

CLOSE_CHANGEOVERS: Final = 3
"""So many have grace however close they are, on a line that was settled before."""

_REMEMBERED_TAGS: Final = 256


class Changeovers:
    """Tags as they come, frame by frame.

    Attributes:
        frames: of grace after a changeover; 0 for none.
        tag: of the last frame; empty before the first.
    """

    def __init__(self, frames: int = DEFAULT_FRAMES) -> None:
        self.frames = frames
        self.tag = ""
        self._frame = self._grace_until = self._paid_until = 0
        self._left: dict[str, int] = {}

    def grace(self, tag: str) -> bool:
        """Take note of the next frame's tag; whether the frame is within the grace of a changeover."""
        self._frame += 1
        if tag != self.tag:
            self._change(tag)
        return self._frame < self._grace_until

    def _change(self, tag: str) -> None:
        """Another tag than that of the frame before; the very first one changes nothing over."""
        if self._frame > 1:
            self._left[self.tag] = self._frame - 1
            left = self._left.pop(tag, None)
            if left is None or self._frame - left > MIXED_TIMES * self.frames:
                self._begin()
        self.tag = tag
        if len(self._left) > _REMEMBERED_TAGS:
            del self._left[next(iter(self._left))]

    def _begin(self) -> None:
        """Begin a grace if there is room for one: the generic cell rate algorithm (ITU-T I.371)."""
        cost = SETTLED_TIMES * self.frames
        if self._paid_until <= self._frame + (CLOSE_CHANGEOVERS - 1) * cost:
            self._paid_until = max(self._paid_until, self._frame) + cost
            self._grace_until = self._frame + self.frames
