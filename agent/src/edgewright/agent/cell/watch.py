"""Is the picture right? Decides from a few numbers of each picture; no I/O, no clock.

What is wrong with one picture (the frame goes to the fallback):

==============  ========================================================================================
DamagedPicture  it cannot be decoded
Resolution      it does not measure what the settings name, or is too large for the line
BlackPicture    its deviation is at most ``even_deviation`` (one even colour); or its mean is at most 16 grey
                levels, where video black lies (ITU-R BT.601), and its deviation at most 6 (sensor noise)
FrozenPicture   it is the last of ``frozen_frames`` equal ones in a row
==============  ========================================================================================

A black picture is not called frozen too. And without a picture: ``SourceLost`` after ``lost_intervals``
expected intervals, 2 s at least, and 10 s after the start. The expected interval is the settings', or for a
camera a running mean of what it does. A folder, a video and a topic without one are lost when they cannot be
read for 2 s.

A trouble is told once at its begin and once at its end. It begins with three faults in a row, so that one
torn picture is no story (a damaged file is one at once); it ends after 5 s without. One that comes back
within ten minutes has to stay away twice as long each time, ten minutes at most: a loose cable fills no feed.

>>> watch = PictureWatch(SourceSettings(), None, 0.0)
>>> watch.judge(Look(4, 4, mean=120, deviation=40, change=9), 1.0)
('', [])
>>> watch.judge(Look(4, 4, mean=2, deviation=1, change=9), 2.0)
('BlackPicture', [])
"""

from typing import Final, NamedTuple, get_args

from edgewright.agent.settings import SourceSettings
from edgewright.wire.cell import MAX_CELL_MESSAGE_BYTES, Fault

FAULTS_TO_BEGIN: Final = 3
CALM_S: Final = 5.0
LONGEST_CALM_S: Final = 600.0
LEAST_SILENCE_S: Final = 2.0
FIRST_PICTURE_S: Final = 10.0
BLACK_MEAN: Final = 16.0
"""Grey levels of 255."""

BLACK_DEVIATION: Final = 6.0
MAX_PIXELS: Final = (MAX_CELL_MESSAGE_BYTES - 4096) // 3
"""What fits into a message to the line, beside the frame's other fields."""

_SMOOTHING: Final = 0.1
"""Weight of the newest interval in the running mean."""


class Look(NamedTuple):
    """What is looked at in a picture.

    Attributes:
        width, height: pixels; 0 for a picture that cannot be decoded.
        mean: grey level, 0 to 255.
        deviation: standard deviation of the channel that varies most, grey levels.
        change: mean absolute difference to the first of the equal pictures before it, grey levels.
    """

    width: int
    height: int
    mean: float = 0.0
    deviation: float = 0.0
    change: float = 0.0


DAMAGED: Final = Look(0, 0)


class Change(NamedTuple):
    """A trouble begins or has ended.

    Attributes:
        name: of the error.
        begun: False at the end.
        seconds: from its begin until it was last seen; 0 at the begin.
        frames: that went to the fallback.
        look: the picture that it began with; None without one.
    """

    name: str
    begun: bool
    seconds: float = 0.0
    frames: int = 0
    look: Look | None = None


class _Trouble:
    """One kind of trouble over time."""

    def __init__(self, name: str, faults_to_begin: int) -> None:
        self._name, self._faults_to_begin = name, faults_to_begin
        self._open = False
        self._in_a_row = self._frames = 0
        self._since = self._last = 0.0
        self._ended_at: float | None = None
        self._calm_s = CALM_S

    def bad(self, since: float, now: float, look: Look | None) -> list[Change]:
        """It is there at ``now``, and was since ``since``."""
        if not self._in_a_row and not self._open:
            self._since, self._frames = since, 0
        self._in_a_row += 1
        self._frames += look is not None
        self._last = now
        if self._open or self._in_a_row < self._faults_to_begin:
            return []
        self._open = True
        returned = self._ended_at is not None and now - self._ended_at < LONGEST_CALM_S
        self._calm_s = min(self._calm_s * 2, LONGEST_CALM_S) if returned else CALM_S
        return [Change(self._name, begun=True, look=look)]

    def good(self, now: float) -> list[Change]:
        """It is not there at ``now``."""
        self._in_a_row = 0
        if not self._open or now - self._last < self._calm_s:
            return []
        self._open, self._ended_at = False, now
        return [Change(self._name, begun=False, seconds=self._last - self._since, frames=self._frames)]


class PictureWatch:
    """Looks at one source's pictures.

    Args:
        settings: numbers, see there.
        interval_s: expected time between pictures; 0 measures it, None expects nothing.
        now: seconds, monotonic, as everywhere here.
    """

    def __init__(self, settings: SourceSettings, interval_s: float | None, now: float) -> None:
        self._settings = settings
        self._measuring = interval_s == 0.0
        self._interval_s = interval_s
        self._pictures = 0
        self._came_at = now
        self._equal = 1
        self._lost_since: float | None = None
        self._lost = _Trouble("SourceLost", 1)
        faults = [fault for fault in get_args(Fault) if fault]
        self._troubles = {
            fault: _Trouble(fault, 1 if fault == "DamagedPicture" else FAULTS_TO_BEGIN) for fault in faults
        }

    def judge(self, look: Look, now: float) -> tuple[Fault, list[Change]]:
        """What is wrong with a picture that has come at ``now``, and what begins or ends with it."""
        self._lost_since = None
        changes = self._lost.good(now)
        if self._measuring and self._pictures:
            passed = now - self._came_at
            old = self._interval_s or passed
            self._interval_s = old + _SMOOTHING * (min(passed, LEAST_SILENCE_S) - old)
        self._pictures += 1
        self._came_at = now
        fault = self._fault(look)
        for name, trouble in self._troubles.items():
            changes += trouble.bad(now, now, look) if name == fault else trouble.good(now)
        return fault, changes

    def silence(self, now: float, *, lost: bool) -> list[Change]:
        """What begins or ends because no picture has come until ``now``.

        Args:
            now: the time.
            lost: whether the source says that it cannot be read.
        """
        if not lost:
            self._lost_since = None
        elif self._lost_since is None:
            self._lost_since = now
        if self._silent(now - self._came_at):
            return self._lost.bad(self._came_at, now, None)
        if self._lost_since is not None and now - self._lost_since >= LEAST_SILENCE_S:
            return self._lost.bad(self._lost_since, now, None)
        return self._lost.good(now) if self._interval_s is None and not lost else []

    def _silent(self, passed: float) -> bool:
        intervals = self._settings.lost_intervals
        if not intervals or self._interval_s is None:
            return False
        if not self._pictures:
            return passed > FIRST_PICTURE_S
        return passed > max(LEAST_SILENCE_S, intervals * self._interval_s)

    def _fault(self, look: Look) -> Fault:
        settings = self._settings
        if not look.width:
            return "DamagedPicture"
        self._equal = self._equal + 1 if look.change <= settings.frozen_difference else 1
        if look.width * look.height > MAX_PIXELS:
            return "Resolution"
        wanted = (settings.width or look.width, settings.height or look.height)
        if (look.width, look.height) != wanted:
            return "Resolution"
        black = look.mean <= BLACK_MEAN and look.deviation <= BLACK_DEVIATION
        if settings.even_deviation and (black or look.deviation <= settings.even_deviation):
            return "BlackPicture"
        if settings.frozen_frames and self._equal >= settings.frozen_frames:
            return "FrozenPicture"
        return ""
