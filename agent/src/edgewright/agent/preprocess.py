"""All that the device does with OpenCV: the model's input, what a frame looks like, the PNG of a sample.

The input follows ``wire.manifest.Preprocessing`` in its order: area-interpolated resize, colour, scale to
0..1, mean and deviation, layout. A pixel has 256 values, so scale, mean and deviation are one table per
channel, and the last step writes straight into the caller's array (the runner's shared memory).

>>> from edgewright.wire.manifest import Preprocessing
>>> spec = Preprocessing(width=4, height=2, colour="rgb", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
>>> preprocess(np.full((8, 16, 3), 255, np.uint8), spec).shape
(1, 3, 2, 4)

What a frame looks like is told twice: by four statistics of the optics, and by an embedding, eight numbers
that also move when other goods or another background come into the picture. The embedding is linear, and
nothing in it is learnt: the low spatial frequencies of the gray picture. So every machine computes the same,
a new version of a model keeps its reference, and an engineer can say what a component means (decision 40).
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

THUMBNAIL_PX: Final = 8
"""Side of a thumbnail; its pixels are means over the rows and columns that the statistics look at."""

FREQUENCIES: Final = ((0, 0), (0, 1), (1, 0), (0, 2), (1, 1), (2, 0), (1, 2), (2, 1))
"""Half waves down and across the picture of the embedding's components; the first is the mean."""

_GRAY_OF_BGR: Final = (0.114, 0.587, 0.299)
"""ITU-R BT.601, as OpenCV converts."""

_FULL_SCALE: Final = 255

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
        saturation: share of the pixels' colour values at the end of the camera's scale, 255, 0 to 1: what is
            over-exposed and says nothing any more. Not the S of HSV.
    """

    brightness: float
    contrast: float
    sharpness: float
    saturation: float


class Look(NamedTuple):
    """What a frame looks like, made in one go.

    Attributes:
        statistics: of the optics.
        thumbnail: uint8, 8 x 8 x 3, BGR: what near duplicates share.
        embedding: float32, one component for each of ``FREQUENCIES``: the orthonormal cosine transform of the
            gray thumbnail, over its side, in units of full scale. The first component lies in 0 to 1, the
            others in -0.5 to 0.5.
    """

    statistics: ImageStatistics
    thumbnail: NDArray[np.uint8]
    embedding: NDArray[np.float32]


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


def look(frame: NDArray[np.uint8]) -> Look:
    """Statistics, thumbnail and embedding of a frame (uint8, height x width x 3, BGR)."""
    few = _few(frame)
    mean, deviation = cv2.meanStdDev(cv2.cvtColor(few, cv2.COLOR_BGR2GRAY))
    statistics = ImageStatistics(
        brightness=float(mean[0, 0]) / _FULL_SCALE,
        contrast=float(deviation[0, 0]) / _FULL_SCALE,
        sharpness=_sharpness(frame),
        saturation=int(np.count_nonzero(few == _FULL_SCALE)) / few.size,
    )
    thumbnail = np.asarray(
        cv2.resize(few, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA), np.uint8
    )
    return Look(statistics, thumbnail, _BASIS @ thumbnail.reshape(-1))


def embed(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The embedding alone; see ``Look``.

    >>> embed(np.full((480, 640, 3), 255, np.uint8)).round(3).tolist() == [1, 0, 0, 0, 0, 0, 0, 0]
    True
    """
    return look(frame).embedding


def encode_png(frame: NDArray[np.uint8]) -> bytes:
    """A frame as PNG, without loss."""
    _, data = cv2.imencode(".png", frame, [cv2.IMWRITE_PNG_COMPRESSION, _PNG_COMPRESSION])
    return data.tobytes()


def use_one_thread() -> None:
    """Keep OpenCV from starting threads: the line's frames are small and its cores are shared."""
    cv2.setNumThreads(1)


def _few(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Some rows and columns of a frame, evenly: as many as divide into a thumbnail's pixels."""
    step = max(1, min(frame.shape[:2]) // _STATISTICS_SIDE_PX)
    height, width = (max(1, side // step // THUMBNAIL_PX) * THUMBNAIL_PX for side in frame.shape[:2])
    return np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)


def _sharpness(frame: NDArray[np.uint8]) -> float:
    height, width = frame.shape[:2]
    top = max(0, height - _STATISTICS_SIDE_PX) // 2
    left = max(0, width - _STATISTICS_SIDE_PX) // 2
    middle = frame[top : top + _STATISTICS_SIDE_PX, left : left + _STATISTICS_SIDE_PX]
    laplacian = cv2.Laplacian(cv2.cvtColor(middle, cv2.COLOR_BGR2GRAY), cv2.CV_16S)
    # A Laplacian's mean is 0, so its mean square is its variance.
    return cv2.norm(laplacian, cv2.NORM_L2SQR) / laplacian.size


def _basis() -> NDArray[np.float32]:
    """From a thumbnail's BGR pixels, row by row, to the embedding: 8 x 192."""
    side = THUMBNAIL_PX
    across = (np.arange(side) + 0.5) * np.pi / side
    waves = [np.cos(frequency * across) * np.sqrt((2 if frequency else 1) / side) for frequency in range(3)]
    rows = [np.kron(np.outer(waves[down], waves[right]).ravel(), _GRAY_OF_BGR) for down, right in FREQUENCIES]
    return (np.array(rows) / (side * _FULL_SCALE)).astype(np.float32)


_BASIS: Final = _basis()


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
