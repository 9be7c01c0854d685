"""Who says that this moment is safe for a change of model: one question, five answers.

A line asks only while a model waits for its swap: after each frame's decision, and at each tick between. No
inference is under way at these moments. What cannot be read is not safe, and is told once until it can be
read again. Where nothing decides yet, a model is let in without asking: nothing runs that it could disturb.

- ``frame``: the cell says it with each frame; a line without frames for a second is at rest.
- ``always``: every moment is safe.
- ``topic``: a retained value of the cell's broker. A value is as old as its connection: when that is lost,
  the value is forgotten.
- ``file``: a file that the machine writes. ``gpio``: the value file of a line of the kernel's GPIO interface
  (sysfs), which holds 0 or 1 and nothing else.

>>> open_interlock("always", "", "", Broker("127.0.0.1", 1883), "robot-1").safe(Moment(None, quiet=False))
True
"""

import os
import stat
from collections.abc import Callable
from typing import Final, Literal, NamedTuple, Protocol

from edgewright.wire.errors import InterlockError

Kind = Literal["frame", "always", "topic", "file", "gpio"]

_MOST_BYTES: Final = 256
_GPIO_VALUES: Final = frozenset({"0", "1"})


class Moment(NamedTuple):
    """When it is asked.

    Attributes:
        frame_safe: what the frame that was just decided says; None between frames.
        quiet: whether no frame has come for a second.
    """

    frame_safe: bool | None
    quiet: bool


class Broker(NamedTuple):
    """The cell's own broker."""

    host: str
    port: int


class Interlock(Protocol):
    """Says whether a moment is safe."""

    def safe(self, moment: Moment, /) -> bool:
        """Whether the model may be changed now.

        Raises:
            InterlockError: nobody can tell.
        """

    def close(self) -> None:
        """Let go of whatever it holds."""


class SafeMoments:
    """An interlock whose trouble is told once, until it can be read again.

    Args:
        interlock: whom to ask.
        tell: takes the error.
    """

    def __init__(self, interlock: Interlock, tell: Callable[[InterlockError], None]) -> None:
        self._interlock, self._tell = interlock, tell
        self._told = False

    def allow(self, moment: Moment) -> bool:
        """Whether the model may be changed now."""
        try:
            allowed = self._interlock.safe(moment)
        except InterlockError as error:
            if not self._told:
                self._told = True
                self._tell(error)
            return False
        self._told = False
        return allowed

    def close(self) -> None:
        """Let go of whatever the interlock holds."""
        self._interlock.close()


class FrameInterlock:
    """The cell says it with each frame."""

    def safe(self, moment: Moment) -> bool:
        """See the module's text."""
        return moment.quiet if moment.frame_safe is None else moment.frame_safe

    def close(self) -> None:
        """It holds nothing."""


class AlwaysSafe:
    """For a machine that nothing can disturb."""

    def safe(self, _moment: Moment) -> bool:
        """Yes."""
        return True

    def close(self) -> None:
        """It holds nothing."""


class FileInterlock:
    """A file that the machine writes.

    Args:
        place: its path.
        word: what stands in it while it is safe.
        allowed: what may stand in it; empty for anything.
    """

    def __init__(self, place: str, word: str, allowed: frozenset[str] = frozenset()) -> None:
        self._place, self._word, self._allowed = place, word, allowed

    def safe(self, _moment: Moment) -> bool:
        """Whether the word stands there.

        Raises:
            InterlockError: the file cannot be read, or holds what it may not.
        """
        found = self._read()
        if self._allowed and found not in self._allowed:
            raise InterlockError(f"The interlock's file {self._place} holds {found[:20]!r}.")
        return found == self._word

    def close(self) -> None:
        """It holds nothing."""

    def _read(self) -> str:
        # Without waiting: a pipe in the file's place must not stop the line.
        try:
            file = os.open(self._place, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, ValueError) as error:
            raise InterlockError(f"The interlock's file {self._place} cannot be read: {error}.") from error
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise InterlockError(f"The interlock's place {self._place} is no file.")
            return os.read(file, _MOST_BYTES).decode(errors="replace").strip()
        except OSError as error:
            raise InterlockError(
                f"The interlock's file {self._place} cannot be read: {error.strerror}."
            ) from error
        finally:
            os.close(file)


def open_interlock(kind: Kind, place: str, word: str, broker: Broker, device: str) -> Interlock:
    """The interlock that the configuration names.

    Args:
        kind: see the module's text.
        place: path or topic.
        word: what stands there while it is safe.
        broker: where a topic is.
        device: this device's id.
    """
    if kind == "topic":
        # Imported here: a line without a topic holds no MQTT client.
        from edgewright.agent.line.topicinterlock import TopicInterlock

        return TopicInterlock(place, word, broker, device)
    if kind == "file":
        return FileInterlock(place, word)
    if kind == "gpio":
        return FileInterlock(place, word, _GPIO_VALUES)
    return AlwaysSafe() if kind == "always" else FrameInterlock()
