"""Pictures for the zoo's feeds, drawn by a seeded generator: pages, lines of text, scenes, faces.

Pages and lines are rendered with OpenCV's own fonts, scenes are this repository's photographs of goods on
grounds of their own. Faces are drawn, so what needs faces is marked as synthetic. All pictures are uint8
``[height, width, 3]``, BGR.
"""

import string
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from edgewright.controller.compiler.frames import read_frames

Pixels = NDArray[np.uint8]
Role = Literal["calibration", "holdout"]

_FRAMES: Final = Path(__file__).resolve().parents[2] / "models" / "garment-packing" / "data"
_FONTS: Final = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
)
_WORDS: Final = (
    *("carton", "belt", "order", "weight", "invoice", "total", "date", "batch", "lot", "number", "parcel"),
    *("north", "gate", "pallet", "shelf", "hall", "line", "camera", "device", "label", "model", "version"),
    *("release", "report", "window", "target", "station", "driver", "dock", "please", "return", "fragile"),
)


def text_line(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """One line of printed text, as a detector would cut it out of a page."""
    scale = height / 48 * rng.uniform(0.9, 1.4)
    paper, ink = rng.integers(190, 256), rng.integers(0, 90)
    picture = np.full((height, width, 3), paper, np.uint8)
    font, thickness = _FONTS[rng.integers(len(_FONTS))], int(rng.integers(1, 3))
    baseline = int(height * rng.uniform(0.68, 0.78))
    cv2.putText(picture, _phrase(rng), (4, baseline), font, scale, (int(ink),) * 3, thickness, cv2.LINE_AA)
    return _grain(picture, rng)


def page(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """A page with a heading, paragraphs, and at times a ruled table or a picture."""
    picture = np.full((height, width, 3), rng.integers(225, 256), np.uint8)
    font = _FONTS[rng.integers(len(_FONTS))]
    y, margin = int(height * 0.08), int(width * 0.07)
    scale = width / 900 * rng.uniform(0.8, 1.3)
    cv2.putText(picture, _phrase(rng).title(), (margin, y), font, 1.8 * scale, (20, 20, 20), 2, cv2.LINE_AA)
    while y < height * 0.9:
        block = rng.integers(5)
        if block == 0:
            y = _table(picture, rng, y, margin)
        elif block == 1:
            y = _inset(picture, rng, y, margin)
        else:
            y = _paragraph(picture, rng, (y, margin), font, scale)
    return _grain(picture, rng)


def scene(rng: np.random.Generator, height: int, width: int, role: Role) -> Pixels:
    """Some goods, as photographed for this repository's own model, on a ground with a gradient and noise."""
    slope = np.linspace(rng.integers(30, 120), rng.integers(120, 230), width)
    ground = np.repeat(np.repeat(slope[np.newaxis, :, np.newaxis], height, axis=0), 3, axis=2)
    picture: Pixels = np.clip(ground * rng.uniform(0.7, 1.3, 3), 0, 255).astype(np.uint8)
    goods = _goods(role)
    for _ in range(rng.integers(1, 5)):
        size = int(min(height, width) * rng.uniform(0.25, 0.7))
        patch = cv2.resize(goods[rng.integers(len(goods))], (size, size))
        top, left = rng.integers(0, height - size), rng.integers(0, width - size)
        picture[top : top + size, left : left + size] = patch
    return _grain(picture, rng)


def face(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """A drawn face of varying place, size, tone, mouth and light."""
    picture = np.full((height, width, 3), rng.integers(20, 230, 3), np.uint8)
    size = min(height, width) * rng.uniform(0.3, 0.45)
    centre = np.array([width, height]) * rng.uniform(0.42, 0.58, 2)
    skin = np.array([120, 160, 215]) * rng.uniform(0.45, 1.1)

    def oval(at: tuple[float, float], axes: tuple[float, float], colour: Any, arc: int = 360) -> None:
        middle = (centre + size * np.array(at)).astype(int).tolist()
        radii = [max(1, int(size * axis)) for axis in axes]
        cv2.ellipse(picture, middle, radii, 0, 0, arc, colour, -1 if arc == 360 else 2, cv2.LINE_AA)

    oval((0, -0.25), (0.82, 1.0), rng.uniform(0, 90, 3).tolist())
    oval((0, 0), (0.72, 0.98), np.clip(skin, 0, 255).tolist())
    for side in (-0.3, 0.3):
        oval((side, -0.2), (0.15, rng.uniform(0.04, 0.1)), (245, 245, 245))
        oval((side, -0.2), (0.06, 0.06), (40, 30, 20))
        oval((side, -0.38), (0.18, 0.03), (30, 40, 50))
    oval((0, 0.1), (0.09, 0.2), np.clip(skin * 0.85, 0, 255).tolist())
    mouth = (rng.uniform(0.15, 0.35), rng.uniform(0.03, 0.2))
    oval((0, 0.5), mouth, (60, 60, 170), 360 if rng.integers(2) else 180)
    light = np.linspace(rng.uniform(0.6, 1.2), rng.uniform(0.6, 1.2), width)[np.newaxis, :, np.newaxis]
    return _grain(np.clip(picture * light, 0, 255).astype(np.uint8), rng)


def silhouette(rng: np.random.Generator, size: int, fingers: int) -> Pixels:
    """A hand with that many fingers up, white before black, as subtraction of the background leaves it."""
    picture = np.zeros((size, size, 3), np.uint8)
    centre, palm = np.array([size, size * 1.2]) * rng.uniform(0.45, 0.55, 2), size * rng.uniform(0.13, 0.19)
    tilt, white = rng.uniform(-0.3, 0.3), (255, 255, 255)
    cv2.circle(picture, centre.astype(int).tolist(), int(palm), white, -1)
    wrist = (centre + np.array([-np.sin(tilt), 3 * np.cos(tilt)]) * palm).astype(int).tolist()
    cv2.line(picture, centre.astype(int).tolist(), wrist, white, int(palm * 1.3))
    for angle in np.linspace(-1.1, 0.8, 5)[:fingers] + tilt:
        tip = centre + np.array([np.sin(angle), -np.cos(angle)]) * palm * rng.uniform(2.1, 2.6)
        cv2.line(
            picture, centre.astype(int).tolist(), tip.astype(int).tolist(), white, max(3, int(palm * 0.36))
        )
    return picture


@cache
def _goods(role: Role) -> tuple[Pixels, ...]:
    return read_frames(_FRAMES / f"{role}.npz").pixels


def _phrase(rng: np.random.Generator) -> str:
    words = [_WORDS[i] for i in rng.integers(len(_WORDS), size=3)]
    code = "".join(rng.choice(list(string.digits + "ABCDEFGHKLMN"), 5))
    return " ".join([*words[:2], code, words[2]] if rng.integers(2) else [code, *words])


def _paragraph(
    picture: Pixels, rng: np.random.Generator, at: tuple[int, int], font: int, scale: float
) -> int:
    y, margin = at
    step = int(34 * scale) + 6
    for _ in range(int(rng.integers(3, 9))):
        y += step
        text = " ".join(_phrase(rng) for _ in range(3))
        cv2.putText(picture, text, (margin, y), font, scale * 0.8, (40, 40, 40), 1, cv2.LINE_AA)
    return y + step


def _table(picture: Pixels, rng: np.random.Generator, y: int, margin: int) -> int:
    right, row = picture.shape[1] - margin, max(12, picture.shape[0] // 32)
    rows, columns = int(rng.integers(3, 7)), int(rng.integers(2, 5))
    for i in range(rows + 1):
        cv2.line(picture, (margin, y + i * row), (right, y + i * row), (60, 60, 60), 1)
    for i in range(columns + 1):
        x = margin + i * (right - margin) // columns
        cv2.line(picture, (x, y), (x, y + rows * row), (60, 60, 60), 1)
        for j in range(rows):
            text = str(rng.integers(1, 9999))
            place = (x + 4, y + j * row + row * 3 // 4)
            cv2.putText(picture, text, place, _FONTS[0], row / 40, (30, 30, 30), 1, cv2.LINE_AA)
    return int(y + (rows + 2) * row)


def _inset(picture: Pixels, rng: np.random.Generator, y: int, margin: int) -> int:
    size = min(picture.shape[0] // 5, picture.shape[0] - y)
    if size > 8:
        patch = cv2.resize(_goods("calibration")[rng.integers(100)], (size, size))
        picture[y : y + size, margin : margin + size] = patch
    return int(y + size + 10)


def _grain(picture: Pixels, rng: np.random.Generator) -> Pixels:
    noise = rng.normal(0, rng.uniform(1, 6), picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)
