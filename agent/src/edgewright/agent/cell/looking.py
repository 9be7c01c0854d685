"""Turns a picture into the few numbers that the watch decides by; array arithmetic, and no OpenCV.

Mean and deviation are those of a grid of about 48 x 48 pixels, and so is the difference of two pictures.
Where only the same bytes count as equal, pictures with the same grid are compared byte by byte.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgewright.agent.cell.watch import Look

GRID_SIDE: Final = 48
_GREY_LEVELS: Final = 255.0


class Looker:
    """Remembers the first of the equal pictures that it has seen last.

    Args:
        difference: mean absolute difference up to which pictures are equal, grey levels; 0 for same bytes.
    """

    def __init__(self, difference: float) -> None:
        self._difference = difference
        self._grid: NDArray[np.int16] | None = None
        self._bytes = b""

    def look(self, pixels: NDArray[np.uint8], data: bytes) -> Look:
        """Look at a picture (height x width x 3) whose bytes are ``data``."""
        height, width = pixels.shape[:2]
        step = max(1, min(height, width) // GRID_SIDE)
        grid = pixels[step // 2 :: step, step // 2 :: step].astype(np.int16)
        change = self._change(grid, data)
        if change > self._difference:
            self._grid, self._bytes = grid, data
        channels = grid.reshape(-1, 3)
        return Look(width, height, float(grid.mean()), float(channels.std(axis=0).max()), change)

    def _change(self, grid: NDArray[np.int16], data: bytes) -> float:
        """See ``Look.change``; the largest one to another size, and before the first picture."""
        if self._grid is None or self._grid.shape != grid.shape:
            return _GREY_LEVELS
        change = float(np.abs(grid - self._grid).mean())
        if not self._difference and not change and data != self._bytes:
            return 1 / len(data)  # Elsewhere than on the grid.
        return change
