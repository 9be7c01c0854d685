"""What waits to be stored, by sender: each gets its turn, so one that returns with a month holds nobody up.

A sender's messages stay in their order, and only so many of one sender wait: a device never has more than
``numbering.AHEAD`` numbers on their way, so one that fills its share says more than its protocol allows. Of
what is taken at once a sender has a share too: the time that a batch takes is the time that others wait.

>>> waiting = FairQueue(total=10, each=3, share=2)
>>> [waiting.put("back", text) for text in "abcd"], waiting.put("live", "x")
([True, True, True, False], True)
>>> waiting.take(9, 0.0), waiting.take(9, 0.0)
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
        share: most of one sender that are taken at once.
    """

    def __init__(self, total: int, each: int, share: int) -> None:
        self._total, self._each, self._share = total, each, share
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
            items = self._turns(most)
            return items, self._closed and not self._count

    def _turns(self, most: int) -> list[_T]:
        items: list[_T] = []
        for _ in range(self._share):
            for sender in list(self._waiting)[: most - len(items)]:
                mine = self._waiting.pop(sender)
                items.append(mine.popleft())
                if mine:
                    self._waiting[sender] = mine  # behind all others
        self._count -= len(items)
        return items
