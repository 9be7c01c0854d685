"""Labelled camera frames in files beside model.toml, and the model's inputs made from them.

A file is a NumPy ``.npz`` without pickled objects, in one of two forms. Pictures take a tenth of the room::

    labels  str   [n]                     the true label of each frame
    frames  uint8 [n, height, width, 3]   the frames, BGR
or  jpeg    uint8 [bytes]                 the frames as JPEG or PNG, end to end
    ends    int   [n]                     where each picture ends

All frames of a file have one size. Inputs and image statistics are made by the agent's own code: what the
compiler measures is what the device sees. This is the one file of the controller that imports the agent.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgewright.agent.preprocess import look, preprocess
from edgewright.controller.compiler.arrays import LARGEST_ARRAYS_BYTES, BadArraysError, read_arrays
from edgewright.controller.errors import ModelTomlError
from edgewright.wire.manifest import Preprocessing

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Frames:
    """Decoded frames, each uint8 [height, width, 3] BGR, and their labels."""

    pixels: tuple[Pixels, ...]
    labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def classes(self, labels: Sequence[str]) -> NDArray[np.intp]:
        """Number of each frame's label among ``labels``; -1 for one that is not among them."""
        numbers = {label: i for i, label in enumerate(labels)}
        return np.array([numbers.get(label, -1) for label in self.labels], np.intp)

    def spread(self, count: int) -> "Frames":
        """At most ``count`` of them, evenly spread over the file's order."""
        if len(self) <= count:
            return self
        rows = [i * len(self) // count for i in range(count)]
        return Frames(tuple(self.pixels[i] for i in rows), tuple(self.labels[i] for i in rows))

    def inputs(self, spec: Preprocessing) -> NDArray[np.float32]:
        """The model's inputs, one frame a row."""
        return np.concatenate([preprocess(frame, spec) for frame in self.pixels])

    def looks(self) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """What the agent says of the frames' looks, one a row.

        Brightness, contrast, sharpness and saturation in one array, the embedding in the other.
        """
        seen = [look(frame) for frame in self.pixels]
        return np.array([each.statistics for each in seen]), np.array([each.embedding for each in seen])


def read_frames(path: Path) -> Frames:
    """Read a file of frames.

    Raises:
        ModelTomlError: the file has another format.
    """
    arrays = read_frame_arrays(path)
    named = arrays.get("labels", np.empty(0, np.str_))
    if named.ndim != 1:
        raise ModelTomlError(f"[data] labels in {path.name} have to be text [n].")
    labels = tuple(str(label) for label in named)
    pixels = _pixels(path.name, arrays)
    if not labels or len(labels) != len(pixels):
        raise ModelTomlError(f"[data] {path.name} has {len(pixels)} frames and {len(labels)} labels.")
    return Frames(pixels, labels)


def read_frame_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a file of frames, whatever they hold.

    Raises:
        ModelTomlError: the file is no archive of arrays.
    """
    try:
        return read_arrays(path)
    except BadArraysError as error:
        raise ModelTomlError(f"[data] {path.name} is no .npz of arrays: {error}.") from error


def write_frames(pictures: Sequence[bytes], labels: Sequence[str]) -> bytes:
    """The bytes of a file with JPEG or PNG pictures; the same for the same content."""
    out = io.BytesIO()
    joined = np.frombuffer(b"".join(pictures), np.uint8)
    ends = np.cumsum([len(picture) for picture in pictures], dtype=np.int64)
    np.savez(out, jpeg=joined, ends=ends, labels=np.array(labels))
    return out.getvalue()


def decode_picture(picture: bytes) -> Pixels:
    """A JPEG or PNG as uint8 [height, width, 3] BGR.

    Raises:
        ModelTomlError: it is no picture that OpenCV reads.
    """
    try:
        frame = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ModelTomlError(f"[data] a picture cannot be decoded: {error.err}.") from error
    if frame is None:
        raise ModelTomlError("[data] a picture cannot be decoded.")
    return np.asarray(frame, np.uint8)


def _pixels(name: str, arrays: dict[str, NDArray[Any]]) -> tuple[Pixels, ...]:
    if "frames" in arrays:
        frames = arrays["frames"]
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
            raise ModelTomlError(f"[data] frames in {name} have to be uint8 [n, height, width, 3].")
        return tuple(frames)
    if "jpeg" not in arrays or "ends" not in arrays:
        raise ModelTomlError(f"[data] {name} has neither frames nor jpeg and ends.")
    if arrays["jpeg"].dtype != np.uint8 or arrays["ends"].dtype.kind not in "iu" or arrays["ends"].ndim != 1:
        raise ModelTomlError(
            f"[data] {name} has to have jpeg as uint8 [bytes] and ends as whole numbers [n]."
        )
    # As Python's numbers: differences of unsigned ones never are below zero.
    data, ends = arrays["jpeg"].tobytes(), arrays["ends"].tolist()
    edges = list(pairwise([0, *ends]))
    if not ends or any(end <= start for start, end in edges) or ends[-1] != len(data):
        raise ModelTomlError(f"[data] ends in {name} do not fit the pictures.")
    pixels: list[Pixels] = []
    for start, end in edges:
        pixels.append(decode_picture(data[start:end]))
        if pixels[-1].shape != pixels[0].shape:
            raise ModelTomlError(f"[data] {name} has frames of different sizes.")
        if len(pixels) * pixels[0].nbytes > LARGEST_ARRAYS_BYTES:
            raise ModelTomlError(
                f"[data] the frames in {name} take more than {LARGEST_ARRAYS_BYTES >> 30} GiB."
            )
    return tuple(pixels)
