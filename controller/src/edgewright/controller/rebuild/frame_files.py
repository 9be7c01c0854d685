"""Adding fresh frames to a model folder's file of frames; see ``compiler.frames`` for the format.

A rebuild may be given frames that an earlier one was given, so a picture that is in the file is not added
again; its label becomes the newer one, because what is told of a frame can be corrected. A file that has
grown large is thinned evenly over its order: old frames and new ones stay in it, and twenty rebuilds a week
cost no more than one.
"""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgewright.controller.compiler.frames import decode_picture, read_frame_arrays, write_frames

MOST_FRAMES: Final = 5000
"""Frames in a file, or as many as it came with: all of them are decided on for each rung and each target."""


def extend_frames(path: Path, fresh: Sequence[tuple[bytes, str]], most: int = MOST_FRAMES) -> bytes:
    """The file's bytes with pictures and their labels added at its end, as far as it has them not.

    Pictures stay as they were encoded where the file holds pictures, and are decoded where it holds frames.

    Raises:
        ModelTomlError: the file has another format.
    """
    arrays = read_frame_arrays(path)
    before = [str(label) for label in arrays["labels"]]
    most = max(most, len(before))
    if "jpeg" in arrays:
        joined, ends = arrays["jpeg"].tobytes(), arrays["ends"].tolist()
        old = [joined[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
        return write_frames(*_merged(old, before, fresh, most))
    decoded = [(decode_picture(picture), label) for picture, label in fresh]
    frames, labels = _merged(list(arrays["frames"]), before, decoded, most)
    out = io.BytesIO()
    np.savez_compressed(out, frames=np.stack(frames), labels=np.array(labels))
    return out.getvalue()


def _merged(
    old: Sequence[Any], labels: Sequence[str], fresh: Sequence[tuple[Any, str]], most: int
) -> tuple[list[Any], list[str]]:
    """Pictures or frames with their labels: the old ones, and behind them those that are new."""
    pictures, told = list(old), list(labels)
    places = {_digest(picture): row for row, picture in enumerate(pictures)}
    for picture, label in fresh:
        row = places.setdefault(_digest(picture), len(pictures))
        pictures[row : row + 1], told[row : row + 1] = [picture], [label]
    if len(told) <= most:
        return pictures, told
    rows = [i * len(told) // most for i in range(most)]
    return [pictures[row] for row in rows], [told[row] for row in rows]


def _digest(picture: bytes | NDArray[np.uint8]) -> bytes:
    return hashlib.sha256(picture if isinstance(picture, bytes) else picture.tobytes()).digest()
