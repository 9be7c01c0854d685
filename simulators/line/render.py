"""What the camera above the belt sees: one item, one `Scene`, one 96x96 BGR frame.

`draw_scene` decides where the item lies and how it is lit, from the ranges in `Conditions`. `render` is a
pure function of the item's picture, the scene and a generator (which it uses for sensor noise only), so
the same seed gives the same bytes. A frame costs well under 1.5 ms of CPU.

    >>> rng = np.random.default_rng(1)
    >>> render(np.full((28, 28), 200, np.uint8), draw_scene(BASELINE, rng, belt_px=0), rng).shape
    (96, 96, 3)
"""

import math
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

FRAME_PX = 96
ITEM_PX = 28
# The item fills this part of the frame at scale 1, as it would under a camera mounted for one carton's width.
ITEM_SPAN = 0.8
BELT_TILE_PX = 384
BELT_SEED = 7
Range = tuple[float, float]
CLEAR = (1.0, 1.0)
# Haze scatters the light of the whole scene into each pixel: differences shrink towards this gray value.
HAZE = 96.0


@dataclass(frozen=True)
class Conditions:
    """The ranges that a line's scenes are drawn from; angles in degrees, lengths in pixels of the frame.

    ``contrast`` is what haze on the lens leaves of the differences between gray values; 1 is a clean lens,
    for which nothing is drawn.
    """

    rotation_deg: Range = (-12.0, 12.0)
    scale: Range = (0.92, 1.08)
    shift_px: Range = (-5.0, 5.0)
    tilt: Range = (-0.05, 0.05)
    brightness: Range = (0.85, 1.12)
    cast: Range = (0.94, 1.06)
    gradient: Range = (0.0, 0.22)
    blur_px: Range = (0.4, 0.9)
    noise: Range = (3.0, 6.0)
    contrast: Range = CLEAR


BASELINE = Conditions()


@dataclass(frozen=True)
class Scene:
    """Everything about one frame except the item and the sensor's noise."""

    belt_px: int
    rotation_deg: float
    scale: float
    shift_px: tuple[float, float]
    tilt: tuple[float, float]
    brightness: float
    cast_bgr: tuple[float, float, float]
    gradient: float
    gradient_deg: float
    blur_px: float
    noise: float
    contrast: float = 1.0


def draw_scene(conditions: Conditions, rng: np.random.Generator, belt_px: int) -> Scene:
    """Draw one scene; `belt_px` is how far the belt has moved since the start."""
    draw = rng.uniform
    return Scene(
        belt_px=belt_px,
        rotation_deg=draw(*conditions.rotation_deg),
        scale=draw(*conditions.scale),
        shift_px=(draw(*conditions.shift_px), draw(*conditions.shift_px)),
        tilt=(draw(*conditions.tilt), draw(*conditions.tilt)),
        brightness=draw(*conditions.brightness),
        cast_bgr=(draw(*conditions.cast), draw(*conditions.cast), draw(*conditions.cast)),
        gradient=draw(*conditions.gradient),
        gradient_deg=draw(0.0, 360.0),
        blur_px=draw(*conditions.blur_px),
        noise=draw(*conditions.noise),
        contrast=1.0 if conditions.contrast == CLEAR else draw(*conditions.contrast),
    )


def render(item: NDArray[np.uint8], scene: Scene, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Photograph an item.

    Args:
        item: uint8 [28, 28], the item's brightness on black.
        scene: where the item lies and how it is lit.
        rng: the source of the sensor's noise.

    Returns:
        uint8 [96, 96, 3], BGR.
    """
    placed = cv2.warpPerspective(
        _with_coverage(item), _placement(scene), (FRAME_PX, FRAME_PX), flags=cv2.INTER_LINEAR
    )
    coverage = placed[:, :, 1] * np.float32(1 / 255)
    # Cloth reflects a little even where it is darkest, so that a black shoe still stands out from the rubber.
    cloth = placed[:, :, 0] * np.float32(0.82) + np.float32(38.0)
    belt = _belt_view(scene.belt_px)
    grey = belt + (cloth - belt) * coverage
    grey = cv2.GaussianBlur(grey, (0, 0), scene.blur_px) * _light(scene)
    if scene.contrast != 1.0:
        grey = np.float32(HAZE) + (grey - np.float32(HAZE)) * np.float32(scene.contrast)
    noise = rng.standard_normal((FRAME_PX, FRAME_PX, 3), dtype=np.float32) * np.float32(scene.noise)
    noise += grey[:, :, None] * np.asarray(scene.cast_bgr, np.float32)
    frame: NDArray[np.uint8] = np.clip(noise, 0.0, 255.0).astype(np.uint8)
    return frame


def _with_coverage(item: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The item and, as a second channel, its outline: closed, so that dark cloth has no holes."""
    solid = (item > 12).astype(np.uint8) * np.uint8(255)
    closed = cv2.morphologyEx(solid, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    return np.dstack((item, closed)).astype(np.float32)


def _placement(scene: Scene) -> NDArray[np.float64]:
    """The 3x3 perspective transform from the item's pixels to the frame's."""
    zoom = scene.scale * ITEM_SPAN * FRAME_PX / ITEM_PX
    turn = math.radians(scene.rotation_deg)
    cos, sin = zoom * math.cos(turn), zoom * math.sin(turn)
    half_item, half_frame = (ITEM_PX - 1) / 2, (FRAME_PX - 1) / 2
    centre = np.array([[1, 0, -half_item], [0, 1, -half_item], [0, 0, 1]], np.float64)
    lens = np.array(
        [[cos, -sin, 0], [sin, cos, 0], [scene.tilt[0] / half_item, scene.tilt[1] / half_item, 1]], np.float64
    )
    place = np.array(
        [[1, 0, half_frame + scene.shift_px[0]], [0, 1, half_frame + scene.shift_px[1]], [0, 0, 1]]
    )
    placement: NDArray[np.float64] = place @ lens @ centre
    return placement


@cache
def _belt_tile() -> NDArray[np.float32]:
    """One period of the belt, and a frame's height more: dark rubber with scuffs and a rib every 24 px."""
    rng = np.random.default_rng(BELT_SEED)
    scuffs = cv2.GaussianBlur(rng.standard_normal((BELT_TILE_PX, FRAME_PX), dtype=np.float32), (0, 0), 2.5)
    ribs = 4.0 * np.cos(np.arange(BELT_TILE_PX, dtype=np.float32) * np.float32(2 * math.pi / 24))
    tile = 34.0 + 18.0 * scuffs + ribs[:, None]
    return np.vstack((tile, tile[:FRAME_PX])).astype(np.float32)


def _belt_view(belt_px: int) -> NDArray[np.float32]:
    start = belt_px % BELT_TILE_PX
    return _belt_tile()[start : start + FRAME_PX]


@cache
def _ramp() -> NDArray[np.float32]:
    """-1..1 over the frame's width."""
    return np.linspace(-1.0, 1.0, FRAME_PX, dtype=np.float32)


def _light(scene: Scene) -> NDArray[np.float32]:
    """The lamp: overall brightness with a linear fall-off towards one side."""
    angle = math.radians(scene.gradient_deg)
    across = _ramp() * np.float32(scene.gradient * math.cos(angle) * scene.brightness)
    along = _ramp() * np.float32(scene.gradient * math.sin(angle) * scene.brightness)
    return np.float32(scene.brightness) + across[None, :] + along[:, None]
