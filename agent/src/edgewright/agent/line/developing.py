"""Captured frames become pictures that may be kept: redacted, then PNG, on a thread beside the line's loop.

The loop hands a frame over and takes what has become of it later; it never waits. There is room for a few
frames. Whether there is room is known before the next frame is looked at, so it belongs to the chance that
the frame has, as the budgets do.

A frame fails closed: without a picture in time it is given up. A function that does not come back holds the
thread, and while it does there is no room, so nothing is captured. What is wrong is told once at its begin,
and once in the log when pictures are made again.
"""

import contextlib
import threading
from collections import deque
from collections.abc import Sequence
from time import monotonic
from typing import Final, NamedTuple

from edgewright.agent.line.redaction import Pixels, Redactor, load_redactor, redacted
from edgewright.agent.preprocess import encode_png
from edgewright.agent.settings import MaskSettings
from edgewright.wire.errors import ConfigurationError

ROOM: Final = 4
"""Frames that wait, are worked on or were not taken back; of 2 megapixels, 25 MB."""

CLOSE_S: Final = 2.0
"""What may be finished when the line ends."""

NOT_TO_BE_KEPT: Final = "The redactor says that it must not be kept."


class Developed(NamedTuple):
    """What has become of a frame: its PNG, empty where it must not be kept; ``said`` is why."""

    number: int
    png: bytes
    said: str = ""


class _Work(NamedTuple):
    number: int
    item: str
    image: Pixels


class DarkRoom:
    """The thread and its two queues.

    Args:
        masks: see ``redaction``.
        redactor: name of the site's function; empty for none.
        limit_s: what the function may take for a picture.
    """

    def __init__(self, masks: Sequence[MaskSettings], redactor: str, limit_s: float) -> None:
        self._masks, self._name, self._limit_s = tuple(masks), redactor, limit_s
        self._work: deque[_Work] = deque()
        self._done: deque[Developed] = deque()
        self._changed = threading.Condition()
        self._redactor: Redactor | None = None
        self._busy_since: float | None = None
        self._in_hand = self._late = 0
        self._stopping = False
        self._numbers = 0
        self._thread: threading.Thread | None = None
        if redactor:
            self._start()

    @property
    def room(self) -> bool:
        """Whether one more frame can be handed over."""
        with self._changed:
            drawn = len(self._work) + len(self._done) + bool(self._in_hand)
            return drawn < ROOM and not self._late

    def hand_over(self, item: str, image: Pixels) -> int:
        """A frame; its number here."""
        with self._changed:
            self._numbers += 1
            self._work.append(_Work(self._numbers, item, image))
            if self._thread is None:
                self._start()
            self._changed.notify()
            return self._numbers

    def take(self, now: float) -> list[Developed]:
        """What has become of frames since the last call; one that takes too long has become nothing."""
        with self._changed:
            since = self._busy_since
            if since is not None and now - since > self._limit_s and not self._late:
                self._late = self._in_hand
                self._done.append(Developed(self._late, b"", self._late_said()))
            done = list(self._done)
            self._done.clear()
            return done

    def close(self) -> None:
        """Finish what waits, as far as that goes in ``CLOSE_S``."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(CLOSE_S)

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="dark room", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (work := self._next()) is not None:
            try:
                redactor = self._function()
                with self._changed:
                    self._busy_since = monotonic() if redactor is not None else None
                image = redacted(work.image, self._masks, redactor, work.item)
                said = "" if image is not None else NOT_TO_BE_KEPT
            except ConfigurationError as error:
                image, said = None, error.sentence
            took = self._took()
            done = Developed(work.number, b"" if image is None else encode_png(image), said)
            with self._changed:
                if took > self._limit_s:
                    done = Developed(work.number, b"", self._late_said())
                if work.number != self._late:
                    self._done.append(done)
                self._late = self._in_hand = 0

    def _next(self) -> _Work | None:
        """The oldest frame that waits; None at the end."""
        if self._name:
            with contextlib.suppress(ConfigurationError):
                self._function()  # Before the first frame: an import may take seconds.
        with self._changed:
            self._changed.wait_for(lambda: self._work or self._stopping)
            if not self._work:
                return None
            work = self._work.popleft()
            self._in_hand = work.number
            return work

    def _function(self) -> Redactor | None:
        if self._redactor is None:
            self._redactor = load_redactor(self._name)
        return self._redactor

    def _took(self) -> float:
        """Seconds that the site's function had."""
        with self._changed:
            since, self._busy_since = self._busy_since, None
        return 0.0 if since is None else monotonic() - since

    def _late_said(self) -> str:
        return f"The redactor takes longer than {self._limit_s * 1000:.0f} ms."
