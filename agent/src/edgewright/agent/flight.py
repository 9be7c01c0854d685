"""What of the outbox is on its way: how much may be, since when each message is, and when to send it again.

A number that the controller has passed over is sent again after a second; all are sent again when the oldest
has waited too long, with a pause that doubles. The room begins small with each connection and doubles with
each acknowledgement (slow start, RFC 5681 section 3.1): on a slow link the newest message then waits behind
few older ones. Pure: times come in as monotonic seconds.
"""

from collections.abc import Iterable
from typing import Final

from edgewright.wire.numbering import AHEAD, Received

RESEND_SECONDS: Final = 5.0
LONGEST_RESEND_SECONDS: Final = 60.0
PASSED_OVER_SECONDS: Final = 1.0
FIRST_ROOM: Final = 16
LEAST_ROOM: Final = 8


class Flight:
    """Numbers on their way.

    Attributes:
        room: how many may be.
    """

    def __init__(self) -> None:
        self._sent_at: dict[int, float] = {}
        self._pause = RESEND_SECONDS
        self.room = FIRST_ROOM

    def __contains__(self, number: int) -> bool:
        return number in self._sent_at

    @property
    def free(self) -> int:
        """How many more may go."""
        return max(0, self.room - len(self._sent_at))

    def restart(self) -> None:
        """A new connection: nothing is on its way."""
        self._sent_at.clear()
        self._pause, self.room = RESEND_SECONDS, FIRST_ROOM

    def sent(self, number: int, now: float) -> None:
        """A number goes out."""
        self._sent_at[number] = now

    def overdue(self, now: float) -> bool:
        """Whether the oldest waits too long."""
        return bool(self._sent_at) and now - min(self._sent_at.values()) >= self._pause

    def give_up_waiting(self) -> None:
        """Everything is sent again, later each time, and less at once."""
        self._sent_at.clear()
        self._pause = min(2 * self._pause, LONGEST_RESEND_SECONDS)
        self.room = max(LEAST_ROOM, self.room // 2)

    def acknowledged(self, received: Received, now: float) -> None:
        """The controller has these."""
        arrived = [number for number in self._sent_at if received.has(number)]
        newest = received.through + received.beyond.bit_length()
        self._forget(arrived)
        self._forget(
            [
                number
                for number, at in self._sent_at.items()
                if number < newest and now - at >= PASSED_OVER_SECONDS
            ]
        )
        if arrived:
            self._pause = RESEND_SECONDS
            self.room = min(2 * self.room, AHEAD)

    def _forget(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            del self._sent_at[number]
