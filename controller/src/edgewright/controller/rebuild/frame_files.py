"""Adding fresh frames to a model folder's file of frames; see ``compiler.frames`` for the format."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgewright.controller.compiler.frames import decode_picture, read_frame_arrays, write_frames


def extend_frames(path: Path, fresh: Sequence[tuple[bytes, str]]) -> bytes:
    """The file's bytes with pictures and their labels added at its end.

    Pictures stay as they were encoded where the file holds pictures, and are decoded where it holds frames.

    Raises:
        ModelTomlError: the file has another format.
    """
    arrays = read_frame_arrays(path)
    pictures, labels = [picture for picture, _ in fresh], [label for _, label in fresh]
    labels = [*(str(label) for label in arrays["labels"]), *labels]
    if "jpeg" in arrays:
        joined, ends = arrays["jpeg"].tobytes(), arrays["ends"].tolist()
        old = [joined[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
        return write_frames([*old, *pictures], labels)
    frames = [*arrays["frames"], *(decode_picture(picture) for picture in pictures)]
    out = io.BytesIO()
    np.savez_compressed(out, frames=np.stack(frames), labels=np.array(labels))
    return out.getvalue()
