"""Sources that OpenCV captures: a camera, a network camera, a video file."""

import itertools
import time
from pathlib import Path

from edgewright.agent.addresses import without_password
from edgewright.agent.cell.opencv import Capture
from edgewright.agent.cell.source import Picture, Source, SourceEnded
from edgewright.agent.settings import SourceSettings
from edgewright.wire.errors import SourceLostError


class LiveCapture(Source):
    """A camera by V4L2 (``0``, ``/dev/video0``, ``/dev/v4l/by-id/...``), or an RTSP stream over TCP."""

    live = True

    def __init__(self, settings: SourceSettings) -> None:
        self._settings = settings
        self._network = settings.kind == "rtsp"
        place = without_password(settings.place)
        self.place = place if self._network else f"camera {place}"
        rate = settings.frames_per_second
        self.interval_s = 1 / rate if rate else 0.0
        self._capture: Capture | None = None
        # Numbers go on over reopenings; the start's time keeps those of two processes apart.
        self._start_ms = time.time_ns() // 1_000_000
        self._numbers = itertools.count(1)

    def open(self) -> None:
        """Open the device, or connect."""
        settings = self._settings
        self.close()
        try:
            self._capture = Capture(
                settings.place,
                "stream" if self._network else "camera",
                width=settings.width,
                height=settings.height,
                rate=settings.frames_per_second,
            )
        except SourceLostError as error:
            raise SourceLostError(f"There is no picture from {self.place}. {error.sentence}") from error

    def read(self, timeout_s: float) -> Picture | None:  # noqa: ARG002 - the driver or FFmpeg has its own
        """Wait for the next picture as long as driver or FFmpeg do."""
        pixels = self._capture.read() if self._capture else None
        if pixels is None:
            self.close()
            raise SourceLostError(f"{self.place} has stopped giving pictures.")
        return Picture(f"{self._start_ms}-{next(self._numbers)}", time.time(), pixels)

    def close(self) -> None:
        """Release it."""
        if self._capture is not None:
            self._capture.close()
            self._capture = None


class VideoFile(Source):
    """A video file, every frame in order, at its own pace or at the one that the settings name."""

    live = False

    def __init__(self, settings: SourceSettings) -> None:
        self._settings = settings
        self.place = without_password(settings.place)
        self._capture: Capture | None = None
        self._run = self._index = 0
        # As with a camera: the frames of two processes are two items.
        self._start_ms = time.time_ns() // 1_000_000
        self._pace_s = 0.0
        self._due_at = 0.0

    def open(self) -> None:
        """Begin at the first frame."""
        self.close()
        try:
            self._capture = Capture(self._settings.place)
        except SourceLostError as error:
            raise SourceLostError(f"The video {self.place} cannot be read.") from error
        rate = self._settings.frames_per_second or self._capture.frames_per_second
        self._pace_s = 1 / rate if rate else 0.0
        self._run, self._index = self._run + 1, 0
        self._due_at = time.monotonic()

    def read(self, timeout_s: float) -> Picture | None:
        """The next frame at its time; a line that is slower than the video slows the video down."""
        if self._capture is None:
            raise SourceLostError(f"The video {self.place} is not open.")
        wait = self._due_at - time.monotonic()
        if wait > timeout_s:
            time.sleep(timeout_s)
            return None
        time.sleep(max(0.0, wait))
        self._due_at = max(self._due_at + self._pace_s, time.monotonic())
        pixels = self._capture.read()
        if pixels is None:
            self._at_the_end()
            return None
        self._index += 1
        item = f"{Path(self.place).stem}-{self._start_ms}-{self._run}-{self._index}"
        return Picture(item, time.time(), pixels)

    def close(self) -> None:
        """Release it."""
        if self._capture is not None:
            self._capture.close()
            self._capture = None

    def _at_the_end(self) -> None:
        if not self._index:
            raise SourceLostError(f"The video {self.place} holds no frame that can be read.")
        if not self._settings.repeat:
            raise SourceEnded
        self.open()
