"""All that the device does with OpenCV: the model's input, the image's statistics, the PNG of a sample.

The input follows ``wire.manifest.Preprocessing`` in its order: area-interpolated resize, colour, scale to
0..1, mean and deviation, layout. A pixel has 256 values, so scale, mean and deviation are one table per
channel, and the last step writes straight into the caller's array (the runner's shared memory).

>>> from edgewright.wire.manifest import Preprocessing
>>> spec = Preprocessing(width=4, height=2, colour="rgb", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
>>> preprocess(np.full((8, 16, 3), 255, np.uint8), spec).shape
(1, 3, 2, 4)
"""

from functools import lru_cache
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from edgewright.wire.errors import MalformedMessageError
from edgewright.wire.manifest import Preprocessing

_STATISTICS_SIDE_PX: Final = 48
"""Statistics look at about so many rows and columns: a fixed cost whatever the camera."""

_PNG_COMPRESSION: Final = 1
_FROM_BGR: Final = {"rgb": cv2.COLOR_BGR2RGB, "gray": cv2.COLOR_BGR2GRAY}


class ImageStatistics(NamedTuple):
    """What the optics did to a frame.

    Attributes:
        brightness: mean gray, 0 to 1.
        contrast: standard deviation of gray, 0 to 1 (at most 0.5).
        sharpness: variance of the Laplacian of gray (0 to 255) in the middle of the frame, at the camera's
            own resolution, because a smaller picture hides blur (Pech-Pacheco et al., "Diatom autofocusing
            in brightfield microscopy", 2000).
    """

    brightness: float
    contrast: float
    sharpness: float


def input_shape(spec: Preprocessing) -> tuple[int, int, int, int]:
    """Shape of the model's input, batch of one in front."""
    channels = _channels(spec)
    if spec.layout == "NCHW":
        return (1, channels, spec.height, spec.width)
    return (1, spec.height, spec.width, channels)


def preprocess(frame: NDArray[np.uint8], spec: Preprocessing) -> NDArray[np.float32]:
    """The model's input for a frame (uint8, height x width x 3, BGR), shape ``input_shape(spec)``.

    Raises:
        MalformedMessageError: see ``preprocess_into``.
    """
    out = np.empty(input_shape(spec), np.float32)
    preprocess_into(frame, spec, out)
    return out


def preprocess_into(frame: NDArray[np.uint8], spec: Preprocessing, out: NDArray[np.float32]) -> None:
    """Write the model's input for a frame into ``out``, contiguous and of the shape ``input_shape(spec)``.

    Raises:
        MalformedMessageError: the specification has another number of means than channels.
    """
    tables = _tables(spec)
    small = _resized(frame, spec)
    if spec.colour != "bgr":
        small = cv2.cvtColor(small, _FROM_BGR[spec.colour]).astype(np.uint8, copy=False)
    if spec.layout == "NHWC":
        cv2.LUT(small, tables, dst=out[0])
        return
    for channel, plane in enumerate(cv2.split(small)):
        cv2.LUT(plane, tables[channel], dst=out[0, channel])


def image_statistics(frame: NDArray[np.uint8]) -> ImageStatistics:
    """Brightness, contrast and sharpness of a frame (uint8, height x width x 3, BGR)."""
    height, width = frame.shape[:2]
    step = max(1, min(height, width) // _STATISTICS_SIDE_PX)
    few = cv2.resize(frame, (width // step, height // step), interpolation=cv2.INTER_NEAREST)
    mean, deviation = cv2.meanStdDev(cv2.cvtColor(few, cv2.COLOR_BGR2GRAY))
    top = max(0, height - _STATISTICS_SIDE_PX) // 2
    left = max(0, width - _STATISTICS_SIDE_PX) // 2
    middle = frame[top : top + _STATISTICS_SIDE_PX, left : left + _STATISTICS_SIDE_PX]
    laplacian = cv2.Laplacian(cv2.cvtColor(middle, cv2.COLOR_BGR2GRAY), cv2.CV_16S)
    return ImageStatistics(
        brightness=float(mean[0, 0]) / 255,
        contrast=float(deviation[0, 0]) / 255,
        # A Laplacian's mean is 0, so its mean square is its variance.
        sharpness=cv2.norm(laplacian, cv2.NORM_L2SQR) / laplacian.size,
    )


def encode_png(frame: NDArray[np.uint8]) -> bytes:
    """A frame as PNG, without loss."""
    _, data = cv2.imencode(".png", frame, [cv2.IMWRITE_PNG_COMPRESSION, _PNG_COMPRESSION])
    return data.tobytes()


def use_one_thread() -> None:
    """Keep OpenCV from starting threads: the line's frames are small and its cores are shared."""
    cv2.setNumThreads(1)


def _channels(spec: Preprocessing) -> int:
    return 1 if spec.colour == "gray" else 3


@lru_cache(maxsize=8)
def _tables(spec: Preprocessing) -> NDArray[np.float32]:
    """What each pixel value becomes: channels x 256 for planes, 256 x 1 x channels for interleaved pixels."""
    if not len(spec.mean) == len(spec.std) == _channels(spec) or not all(spec.std):
        raise MalformedMessageError(
            f"Preprocessing to {spec.colour} needs {_channels(spec)} means and deviations, none of them 0."
        )
    values = ((np.arange(256)[:, None] / 255 - spec.mean) / spec.std).astype(np.float32)
    return np.ascontiguousarray(values.T) if spec.layout == "NCHW" else values[:, None, :]


def _resized(frame: NDArray[np.uint8], spec: Preprocessing) -> NDArray[np.uint8]:
    if frame.shape[:2] == (spec.height, spec.width):
        return frame
    small = cv2.resize(frame, (spec.width, spec.height), interpolation=cv2.INTER_AREA)
    return small.astype(np.uint8, copy=False)
