"""What items truly were, told on a topic of the cell's broker by a scanner, a gripper or an operator.

Each payload is one JSON object, ``{"item": "0042.png", "truth": "Bag"}``. Truths come later than decisions
and are never urgent: they wait for the line, within a bound, and the oldest goes first.
"""

import logging
from collections import deque
from typing import Final

import msgspec

from edgewright.agent.link import Link
from edgewright.wire.cell import Outcome

MAX_WAITING: Final = 1000
MAX_CHARACTERS: Final = 256
"""Of an item's id and of a class."""

_log = logging.getLogger(__name__)


class _Told(msgspec.Struct, frozen=True):
    item: str
    truth: str


_decoder = msgspec.json.Decoder(_Told)


class OutcomeTopic:
    """Keeps what the topic says until it is taken.

    Attributes:
        malformed: payloads that were none.
    """

    def __init__(self, topic: str, link: Link) -> None:
        self._topic = topic
        self._waiting: deque[Outcome] = deque(maxlen=MAX_WAITING)
        self.malformed = 0
        link.subscribe(topic, self._take, 1)

    def next(self) -> Outcome | None:
        """The oldest that waits."""
        return self._waiting.popleft() if self._waiting else None

    def give_back(self, outcome: Outcome) -> None:
        """It could not be passed on; it is the next one again."""
        if len(self._waiting) < MAX_WAITING:
            self._waiting.appendleft(outcome)

    def _take(self, payload: bytes) -> None:
        """Called on the network thread."""
        try:
            told = _decoder.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            told = _Told("", "")
        if not told.item or not told.truth or max(len(told.item), len(told.truth)) > MAX_CHARACTERS:
            self.malformed += 1
            if self.malformed == 1:
                _log.warning("A payload of topic %s is no outcome; others like it are not told.", self._topic)
            return
        self._waiting.append(Outcome(told.item, told.truth))
