"""One interface for everything that gives pictures.

Rules:

- A source is opened, read and closed by one thread. ``read`` returns soon after its time limit, or its native
  code hangs, which the cell notices.
- ``SourceLostError`` means: close it, wait, open it again. ``SourceEnded`` means: there is no more, for good.
- A picture that is there and cannot be decoded is a ``Picture`` without pixels: its item gets a decision.
- A ``live`` source goes on whether it is read or not, so only its newest picture counts; every picture of the
  others is decided, in order.
"""

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray


class SourceEnded(Exception):  # noqa: N818 - an end is no error
    """The source has no more pictures."""


class Picture(NamedTuple):
    """One picture.

    Attributes:
        item: id of what it shows, unique on the device as far as the source allows.
        taken_at: seconds since the epoch.
        pixels: height x width x 3, BGR; None where they cannot be decoded.
        detail: why not, a sentence.
    """

    item: str
    taken_at: float
    pixels: NDArray[np.uint8] | None
    detail: str = ""


class Source(ABC):
    """Where pictures come from.

    Attributes:
        live: whether only the newest picture counts.
        place: what it reads, for people; without a password.
        interval_s: expected time between two pictures; 0 where it is measured, None where there is none.
        skipped: pictures that the source itself has dropped for newer ones.
    """

    live: ClassVar[bool]
    place: str
    interval_s: float | None = None
    skipped: int = 0

    @abstractmethod
    def open(self) -> None:
        """Get ready to read.

        Raises:
            SourceLostError: it is not there.
        """

    @abstractmethod
    def read(self, timeout_s: float) -> Picture | None:
        """The next picture; None where there was none within the time.

        Raises:
            SourceLostError: it has gone; it may be opened again.
            SourceEnded: it has no more pictures.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of it; may be called twice."""

    def item_of(self, told: str) -> str:
        """The item that somebody means who tells a truth; a source may know it by a shorter name."""
        return told

    def name_of(self, item: str) -> str:
        """The shorter name, the other way round."""
        return item

    def names_nothing_yet(self, told: str) -> bool:
        """Whether it is a shorter name of which no item is known: a truth that came before its picture."""
        del told
        return False
