"""What waits to be stored, by sender: each gets its turn, so one that returns with a month holds nobody up.

A sender's messages stay in their order, and only so many of one sender wait: a device never has more than
``numbering.AHEAD`` numbers on their way, so one that fills its share says more than its protocol allows.

>>> waiting = FairQueue(total=10, each=3)
>>> [waiting.put("back", text) for text in "abcd"], waiting.put("live", "x")
([True, True, True, False], True)
>>> waiting.take(3, 0.0), waiting.take(3, 0.0)
((['a', 'x', 'b'], False), (['c'], False))
"""

import threading
import time
from collections import OrderedDict, deque
from typing import Generic, TypeVar

_T = TypeVar("_T")


class FairQueue(Generic[_T]):
    """A bounded queue with a turn a sender; any thread may put, one takes.

    Args:
        total: most items that wait.
        each: most of one sender.
    """

    def __init__(self, total: int, each: int) -> None:
        self._total, self._each = total, each
        self._waiting: OrderedDict[str, deque[_T]] = OrderedDict()
        self._count = 0
        self._closed = False
        self._changed = threading.Condition()

    def put(self, sender: str, item: _T) -> bool:
        """Let an item wait; False where there is no room for it."""
        with self._changed:
            mine = self._waiting.get(sender)
            if self._count >= self._total or (mine is not None and len(mine) >= self._each):
                return False
            if mine is None:
                mine = self._waiting[sender] = deque()
            mine.append(item)
            self._count += 1
            self._changed.notify()
            return True

    def close(self) -> None:
        """Nothing more will come."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def take(self, most: int, seconds: float) -> tuple[list[_T], bool]:
        """Wait for the first item, then so long for ``most``; the items, and whether all are out."""
        with self._changed:
            self._changed.wait_for(lambda: self._count or self._closed)
            until = time.monotonic() + seconds
            self._changed.wait_for(
                lambda: self._count >= most or self._closed, max(0.0, until - time.monotonic())
            )
            items = [self._next() for _ in range(min(most, self._count))]
            return items, self._closed and not self._count

    def _next(self) -> _T:
        sender, mine = self._waiting.popitem(last=False)
        item = mine.popleft()
        self._count -= 1
        if mine:
            self._waiting[sender] = mine
        return item
