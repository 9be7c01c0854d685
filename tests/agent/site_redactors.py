"""Functions as a site might write them, right and wrong, for the tests of redaction."""

import time
from typing import Any

import numpy as np


def whiten(pixels: Any, item: str) -> Any:
    """A right one: everything but the item's first row."""
    del item
    pixels[1:] = 255
    return pixels


def withhold(pixels: Any, item: str) -> Any:
    """A right one that lets no frame of a person be kept."""
    return None if item.startswith("person") else pixels


def fail(pixels: Any, item: str) -> Any:
    """Tells of the picture in what it raises."""
    raise ValueError(f"{item} shows Mrs Miller {pixels[0, 0]}")


def leave(pixels: Any, item: str) -> Any:
    """Would end the process."""
    raise SystemExit(3)


def wrong_kind(pixels: Any, item: str) -> Any:
    """Gives back what is no picture."""
    del item
    return pixels.astype(np.float64)


def slow(pixels: Any, item: str) -> Any:
    """Takes long where the item says so."""
    time.sleep(0.4 if item.startswith("slow") else 0.0)
    return pixels


NUMBER = 7
