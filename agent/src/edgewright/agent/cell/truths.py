"""What items truly were: read, checked, and kept until the line takes it.

Topic, HTTP and CSV tell the same thing, one truth of one item::

    {"item": "0042.png", "truth": "Bag"}
    {"item": "0042.png", "truth": "Bag", "source": "scanner-2", "probability": 0.05}

``source`` is who says so, and ``probability`` the chance with which this item was chosen to be told of, above
0 and at most 1. ``audit`` is no name of a program: it is a person's, who looked at the frame at the
controller; ``line`` is what a source is called there that says no name. What is no truth is counted and told,
a few words of the first one in each ten minutes; it never holds up those behind it. Truths come later than
decisions and are never urgent.
"""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from edgewright.agent.cell.control import Noted
from edgewright.wire.cell import Outcome
from edgewright.wire.errors import MalformedTruthError

MAX_WAITING: Final = 1000
MAX_CHARACTERS: Final = 256
"""Of an item's id and of a class."""

MAX_SOURCE_CHARACTERS: Final = 64
MAX_AT_ONCE: Final = 500
"""Truths of one request or payload: half of what may wait."""

MAX_BYTES: Final = 512 * 1024
TELL_AGAIN_S: Final = 600.0
MAX_TOLD: Final = 16
"""Places that are told of in that time; those of more are in the log."""


_TEXTS: Final = (
    ("item", 1, MAX_CHARACTERS),
    ("truth", 1, MAX_CHARACTERS),
    ("source", 0, MAX_SOURCE_CHARACTERS),
)
KEPT_SOURCES: Final = ("audit", "line")
_log = logging.getLogger(__name__)


def outcome_of(told: Any) -> Outcome:
    """A truth out of a mapping, as JSON and CSV give it.

    >>> outcome_of({"item": "7", "truth": "Bag", "probability": "0.25"})
    Outcome(item='7', truth='Bag', source='', probability=0.25)

    Raises:
        MalformedTruthError: it is none; the sentence says why.
    """
    if not isinstance(told, dict):
        raise MalformedTruthError("A truth is an object with item and truth.")
    texts = [_text(told, name, least, most) for name, least, most in _TEXTS]
    if texts[2] in KEPT_SOURCES:
        raise MalformedTruthError(f"Its source cannot be {texts[2]!r}: that name is kept for another one.")
    return Outcome(texts[0], texts[1], texts[2], _probability(told.get("probability")))


def _text(told: dict[Any, Any], name: str, least: int, most: int) -> str:
    value = told.get(name)
    if value is None and not least:
        return ""
    if not isinstance(value, str) or not least <= len(value) <= most:
        raise MalformedTruthError(f"Its {name} is no text of {least} to {most} characters.")
    if not value.isprintable():
        raise MalformedTruthError(f"Its {name} has characters that cannot be shown.")
    return value


def _probability(value: Any) -> float:
    if value is None or value == "":
        return 1.0
    try:
        number = float(value) if isinstance(value, str | int | float) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not 0 < number <= 1:
        raise MalformedTruthError("Its probability is no number above 0 and at most 1.")
    return number


def outcomes_of_json(payload: bytes) -> tuple[list[Outcome], list[tuple[int, str]]]:
    """Truths out of one JSON object or an array of them, and the places in it that are none, each with why.

    Raises:
        MalformedTruthError: the payload is no such thing at all.
    """
    if len(payload) > MAX_BYTES:
        raise MalformedTruthError(f"A payload of {len(payload)} bytes exceeds {MAX_BYTES}.")
    try:
        told: Any = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedTruthError("A payload is no JSON.") from error
    each = told if isinstance(told, list) else [told]
    if len(each) > MAX_AT_ONCE:
        raise MalformedTruthError(f"{len(each)} truths at once exceed {MAX_AT_ONCE}.")
    right, wrong = [], []
    for place, one in enumerate(each):
        try:
            right.append(outcome_of(one))
        except MalformedTruthError as error:
            wrong.append((place, error.sentence))
    return right, wrong


class Truths:
    """Truths that wait for the line, from every side; may be used on any thread.

    What a topic says cannot be held up, so of it the oldest give way where there is no room. What a request
    or a file said was taken, and gives way to nothing; both have their turn with the line.

    Args:
        tell: takes what the supervisor shall know.

    Attributes:
        taken, malformed, dropped: truths that came, that were none, and that gave way to newer ones.
    """

    def __init__(self, tell: Callable[[Noted], None] = lambda _noted: None) -> None:
        self._tell = tell
        self._taken: deque[Outcome] = deque()
        self._heard: deque[Outcome] = deque()
        self._lock = threading.Lock()
        self._told_at: dict[str, float] = {}
        self._topic_next = False
        self.taken = self.malformed = self.dropped = 0

    @property
    def room(self) -> int:
        """How many more may wait."""
        return MAX_WAITING - len(self._taken) - len(self._heard)

    def push(self, outcomes: Sequence[Outcome]) -> None:
        """Those of a topic: where there is no room, the oldest of a topic give way."""
        with self._lock:
            self._heard.extend(outcomes)
            self.taken += len(outcomes)
            self._make_room()

    def keep(self, outcomes: Sequence[Outcome]) -> None:
        """Those of a file, which looks for room before it reads."""
        with self._lock:
            self._taken.extend(outcomes)
            self.taken += len(outcomes)
            self._make_room()

    def offer(self, outcomes: Sequence[Outcome]) -> bool:
        """Take all of them, or none where there is no room for all; whether they were taken."""
        with self._lock:
            if len(outcomes) > self.room:
                return False
            self._taken.extend(outcomes)
            self.taken += len(outcomes)
            return True

    def next(self) -> Outcome | None:
        """The oldest that waits, of a topic and of the others in turn."""
        with self._lock:
            self._topic_next = not self._topic_next
            turn = (self._heard, self._taken) if self._topic_next else (self._taken, self._heard)
            waiting = turn[0] or turn[1]
            return waiting.popleft() if waiting else None

    def give_back(self, outcome: Outcome) -> None:
        """It could not be passed on; it is the next one again."""
        with self._lock:
            self._taken.appendleft(outcome)

    def _make_room(self) -> None:
        while self._heard and self.room < 0:
            self._heard.popleft()
            self.dropped += 1

    def complain(self, place: str, count: int, why: str) -> None:
        """Something from a place was no truth: count it, and tell it where that was not done lately."""
        now = time.monotonic()
        with self._lock:
            self.malformed += count
            lately = {one: at for one, at in self._told_at.items() if now - at < TELL_AGAIN_S}
            if place in lately:
                return
            told = len(lately) < MAX_TOLD
            self._told_at = {**lately, place: now} if told else lately
        _log.warning("%s: %s", place, why)
        if told:
            self._tell(Noted(MalformedTruthError.number, f"{place}: {why}"))
