"""What nobody shall see is taken out of a picture before it is kept: masks, then the site's own function.

Runs on a thread of its own (``developing``), at capture only; no decision waits for it. It fails closed: a
function that raises, that gives no picture or that takes too long means that the frame is not captured.

The function is called with the pixels (uint8, height x width x 3, BGR, its own to write into) and the item's
id. It gives back pixels of the same kind, of any size, or None for a frame that must not be kept.
"""

import importlib
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgewright.agent.settings import MaskSettings
from edgewright.wire.errors import ConfigurationError

Pixels = NDArray[np.uint8]
Redactor = Callable[[Pixels, str], Pixels | None]

MOSAIC: Final = 8
"""Blocks along each side of a region."""

MAX_SIDE_PX: Final = 16384


def load_redactor(name: str) -> Redactor | None:
    """The site's function; None where none is named.

    Raises:
        ConfigurationError: it cannot be imported, or is no function.
    """
    if not name:
        return None
    module, _, function = name.partition(":")
    try:
        found: Any = getattr(importlib.import_module(module), function)
    except BaseException as error:  # A module of somebody else's may raise anything.
        raise ConfigurationError(f"The redactor {name} cannot be imported: {error!s:.200}.") from error
    if not callable(found):
        raise ConfigurationError(f"The redactor {name} cannot be called.")
    redactor: Redactor = found
    return redactor


def redacted(
    image: Pixels, masks: Sequence[MaskSettings], redactor: Redactor | None, item: str
) -> Pixels | None:
    """A picture as it may be kept; None where it may not.

    Raises:
        ConfigurationError: the site's function failed.
    """
    if not masks and redactor is None:
        return image
    own = image.copy()
    for mask in masks:
        _cover(own, mask)
    return own if redactor is None else _by_function(own, redactor, item)


def _by_function(own: Pixels, redactor: Redactor, item: str) -> Pixels | None:
    try:
        given: Any = redactor(own, item)
    except BaseException as error:
        # A site's function may raise anything, also to end a process, and it must end no thread of ours. Its
        # text is not repeated: it may tell of the picture.
        raise ConfigurationError(f"The redactor raised {type(error).__name__}.") from error
    if given is None:
        return None
    right = isinstance(given, np.ndarray) and given.dtype == np.uint8 and given.ndim == 3
    if not right or given.shape[2] != 3 or not 0 < min(given.shape) <= max(given.shape) <= MAX_SIDE_PX:
        raise ConfigurationError(f"The redactor gave no picture but {type(given).__name__}.")
    return np.ascontiguousarray(given)


def _cover(image: Pixels, mask: MaskSettings) -> None:
    """Make a rectangle unreadable; a pixel that it touches belongs to it."""
    height, width = image.shape[:2]
    top, left = int(mask.y * height), int(mask.x * width)
    bottom = min(height, -int(-(mask.y + mask.height) * height // 1))
    right = min(width, -int(-(mask.x + mask.width) * width // 1))
    region = image[top:bottom, left:right]
    if not region.size:
        return
    if mask.how == "fill":
        region[:] = 0
    else:
        region[:] = _mosaic(region)


def _mosaic(region: Pixels) -> Pixels:
    """Mean colours of eight by eight blocks."""
    height, width = region.shape[:2]
    rows = np.unique(np.arange(MOSAIC) * height // MOSAIC)
    columns = np.unique(np.arange(MOSAIC) * width // MOSAIC)
    sums = np.add.reduceat(np.add.reduceat(region.astype(np.uint64), rows, 0), columns, 1)
    tall, wide = np.diff([*rows, height]), np.diff([*columns, width])
    means = sums // (tall[:, None, None] * wide[None, :, None]).astype(np.uint64)
    return means.repeat(tall, 0).repeat(wide, 1).astype(np.uint8)
