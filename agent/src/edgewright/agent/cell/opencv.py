"""All that the cell does with OpenCV: cameras, streams, videos, and decoding pictures.

It is told before it is loaded to be silent, because its messages hold addresses with passwords, and to decode
no picture above a limit of pixels, because a few bytes of a picture's header may ask for gigabytes.
"""

import os
import re
from typing import Final, Literal

from edgewright.agent.cell.watch import MAX_PIXELS
from edgewright.wire.errors import SourceLostError

OPEN_MS: Final = 5000
READ_MS: Final = 5000
"""After so long without an answer a network camera is lost."""

STREAM_OPTIONS: Final = "rtsp_transport;tcp|fflags;nobuffer"
"""RTSP over TCP, because a lost UDP packet is a torn picture. And FFmpeg drops what it has read to probe the
stream: here 21 old pictures, which of a file would be missing."""

os.environ["OPENCV_LOG_LEVEL"] = "SILENT"
os.environ["OPENCV_FFMPEG_LOGLEVEL"] = "-8"
os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(MAX_PIXELS)

import cv2  # noqa: E402 - it reads the environment when it is loaded
import numpy as np  # noqa: E402 - after cv2, which loads it anyway
from numpy.typing import NDArray  # noqa: E402 - likewise

cv2.setNumThreads(1)


CaptureKind = Literal["file", "camera", "stream"]

_DEVICE: Final = re.compile(r"(?:/dev/video)?(\d{1,9})", re.ASCII)


class Capture:
    """One open camera, stream or video.

    Args:
        place: device number, path or address.
        kind: a ``camera`` is read by V4L2, whatever its path; a ``stream`` is an address, with time limits.
        width, height, rate: what a camera is asked for; 0 leaves its own.

    Raises:
        SourceLostError: it cannot be opened.
    """

    def __init__(
        self, place: str, kind: CaptureKind = "file", *, width: int = 0, height: int = 0, rate: float = 0.0
    ) -> None:
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPEN_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, READ_MS]
        os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = STREAM_OPTIONS if kind == "stream" else ""
        try:
            if kind == "stream":
                self._capture = cv2.VideoCapture(place, cv2.CAP_FFMPEG, limits)
            elif backend(kind, place) == cv2.CAP_V4L2:
                self._capture = cv2.VideoCapture(camera_device(place), cv2.CAP_V4L2)
                self._ask_for(width, height, rate)
            else:
                self._capture = cv2.VideoCapture(place, cv2.CAP_FFMPEG)
        except (cv2.error, ValueError) as error:
            raise SourceLostError(f"OpenCV cannot open it: {type(error).__name__}.") from error
        if not self._capture.isOpened():
            raise SourceLostError("It cannot be opened.")

    @property
    def frames_per_second(self) -> float:
        """What it says of itself, 0 where it says nothing."""
        rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        return rate if 0 < rate < 1000 else 0.0

    def read(self) -> NDArray[np.uint8] | None:
        """The next picture, height x width x 3, BGR; None at the end, or where the camera has gone."""
        try:
            there, picture = self._capture.read()
        except cv2.error:
            return None
        return picture.astype(np.uint8, copy=False) if there and picture is not None else None

    def close(self) -> None:
        """Release the device or connection."""
        self._capture.release()

    def _ask_for(self, width: int, height: int, rate: float) -> None:
        # One buffered picture: the default of four is four intervals of delay.
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        for name, value in (
            (cv2.CAP_PROP_FRAME_WIDTH, width),
            (cv2.CAP_PROP_FRAME_HEIGHT, height),
            (cv2.CAP_PROP_FPS, rate),
        ):
            if value:
                self._capture.set(name, value)


def backend(kind: CaptureKind, place: str) -> int:
    """Which part of OpenCV reads it; a recording that stands in for a camera is a file."""
    camera = kind == "camera" and not os.path.isfile(place)  # noqa: PTH113 - may be a number
    return cv2.CAP_V4L2 if camera else cv2.CAP_FFMPEG


def camera_device(place: str) -> int | str:
    """What V4L2 opens: a number, or the path of a device; names of udev's are followed to theirs.

    >>> camera_device("0"), camera_device("/dev/video12"), camera_device("/dev/video_cam1")
    (0, 12, '/dev/video_cam1')
    """
    found = _DEVICE.fullmatch(place) or _DEVICE.fullmatch(path := os.path.realpath(place))
    return int(found[1]) if found else path


def decode_picture(data: bytes) -> NDArray[np.uint8] | None:
    """A JPEG, PNG or BMP as height x width x 3, BGR; None where it is none of them, damaged or too large."""
    if not data:
        return None
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    return picture.astype(np.uint8, copy=False) if picture is not None else None
