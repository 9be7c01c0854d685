"""The line's news, written down in their order: each one once, however often the line tells it.

The last number that was taken is written in the commit that stores the message itself, with the name of the
line whose number it is. What comes again is dropped by that. What the disk does not take now waits here, and
everything behind it: numbers are taken in their order, or a gap would be acknowledged.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable

from edgewright.agent import control
from edgewright.agent.ledger import Ledger
from edgewright.agent.outbox import Outbox
from edgewright.agent.qualifier import device_error
from edgewright.wire.errors import DamagedDatabaseError, StorageFullError


class LineNews:
    """Takes news of one line after the other.

    Args:
        outbox: where windows and samples go, and where the last number is.
        ledger: where reports are made.
        send: hands ``Taken`` to the line.
        replaced: reports that a runner was replaced.
    """

    def __init__(
        self,
        outbox: Outbox,
        ledger: Ledger,
        send: Callable[[control.Taken], None],
        replaced: Callable[[control.RunnerReplaced], None],
    ) -> None:
        self._outbox, self._ledger = outbox, ledger
        self._send, self._replaced = send, replaced
        self._line = ""
        self._untaken: deque[tuple[str, control.News]] = deque()

    def line_started(self, line: str) -> None:
        """A line listens; it tells everything again that it was not told to be taken."""
        self._line = line
        self._untaken = deque(one for one in self._untaken if one[0] != line)

    def left(self, line: str, news: Iterable[control.News]) -> None:
        """A line that was replaced has told all that it had to tell; nobody will tell it again.

        Raises:
            StorageFullError: it cannot be written down now; ``take`` tries again.
        """
        self._untaken = deque(one for one in self._untaken if one[0] != line)
        self._untaken.extend((line, message) for message in news)
        self.take()

    def heard(self, message: control.News) -> None:
        """The line has told something.

        Raises:
            StorageFullError: it cannot be written down now; ``take`` tries again.
        """
        self._untaken.append((self._line, message))
        self.take()

    def take(self) -> None:
        """Write down what waits.

        Raises:
            StorageFullError: the disk is full; what waits goes on waiting.
            DamagedDatabaseError: nothing can be written down any more.
        """
        while self._untaken:
            line, message = self._untaken[0]
            if message.number > self._outbox.taken_of(line):
                self._write(line, message)
            self._untaken.popleft()
            self._answer(line, message)

    def _answer(self, line: str, message: control.News) -> None:
        """Only who told it knows the number."""
        if line == self._line:
            self._send(control.Taken(message.number))

    def _write(self, line: str, message: control.News) -> None:
        try:
            with self._ledger.transaction():
                self._outbox.note_taken(line, message.number)
                self._store(message)
        except (StorageFullError, DamagedDatabaseError):
            raise
        except Exception:
            # Whatever it is, it would come again and hold up everything behind it. The loop reports it.
            self._untaken.popleft()
            self._outbox.note_taken(line, message.number)
            self._answer(line, message)
            raise

    def _store(self, message: control.News) -> None:
        match message:
            case control.WindowReady():
                self._outbox.put(message.window, time.time())
            case control.SampleReady():
                self._outbox.put(message.sample, time.time())
            case control.Trouble():
                self._ledger.note(device_error(message.error, message.detail))
            case control.RunnerReplaced():
                self._replaced(message)
            case control.GivenUp():
                self._outbox.lost(message, message.why)
