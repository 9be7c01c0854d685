"""The camera: frames depend on item, scene and seed, and on nothing else."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from simulators.line.render import BASELINE, BELT_TILE_PX, FRAME_PX, Scene, draw_scene, render

ITEM = np.zeros((28, 28), np.uint8)
ITEM[4:24, 8:20] = 220
NOTHING = np.zeros((28, 28), np.uint8)


def _scene(seed: int = 1) -> Scene:
    return draw_scene(BASELINE, np.random.default_rng(seed), belt_px=0)


def _shoot(item: NDArray[np.uint8], scene: Scene, seed: int = 1) -> NDArray[np.uint8]:
    return render(item, scene, np.random.default_rng(seed))


def test_same_seed_same_bytes() -> None:
    """One seed gives one scene and one frame, byte for byte, and another seed gives others."""
    assert _scene() == _scene()
    assert _scene() != _scene(seed=2)
    frame = _shoot(ITEM, _scene())
    assert frame.shape == (FRAME_PX, FRAME_PX, 3)
    assert frame.dtype == np.uint8
    assert np.array_equal(frame, _shoot(ITEM, _scene()))
    assert not np.array_equal(frame, _shoot(ITEM, _scene(), seed=2))


def test_item_stands_out_from_the_belt() -> None:
    """The item is bright in the middle of the frame, and the frame's corner shows the belt."""
    frame, empty = _shoot(ITEM, _scene()), _shoot(NOTHING, _scene())
    middle, corner = (slice(44, 52), slice(44, 52)), (slice(0, 8), slice(0, 8))
    assert frame[middle].mean() > empty[middle].mean() + 60
    assert abs(frame[corner].mean() - empty[corner].mean()) < 3


def test_the_belt_moves() -> None:
    """The belt's texture shifts along with the belt and is back after one period."""
    quiet = replace(_scene(), noise=0.0, gradient=0.0)
    at = {px: _shoot(NOTHING, replace(quiet, belt_px=px)) for px in (0, 10, BELT_TILE_PX)}
    assert not np.array_equal(at[0], at[10])
    assert np.array_equal(at[0], at[BELT_TILE_PX])
    # The blur reflects at the frame's edges, so only rows well inside are the same.
    assert np.array_equal(at[0][20:80], at[10][10:70])


def test_scene_parameters_do_what_they_say() -> None:
    """Brightness, cast, gradient, blur and rotation each change the frame in their own way."""
    still = replace(
        _scene(), noise=0.0, gradient=0.0, rotation_deg=0.0, cast_bgr=(1.0, 1.0, 1.0), brightness=1.0
    )
    plain = _shoot(ITEM, still).astype(float)
    assert _shoot(ITEM, replace(still, brightness=0.5)).mean() < 0.6 * plain.mean()
    red = _shoot(ITEM, replace(still, cast_bgr=(0.8, 0.8, 1.0))).astype(float)
    assert np.allclose(red[..., 2], plain[..., 2])
    assert red[..., 0].mean() < 0.85 * plain[..., 0].mean()
    tilted = _shoot(NOTHING, replace(still, gradient=0.2, gradient_deg=0.0)).astype(float)
    assert tilted[:, 80:].mean() > 1.2 * tilted[:, :16].mean()
    blurred = _shoot(ITEM, replace(still, blur_px=3.0)).astype(float)
    assert np.abs(np.diff(blurred, axis=1)).max() < 0.6 * np.abs(np.diff(plain, axis=1)).max()
    turned = _shoot(ITEM, replace(still, rotation_deg=90.0)).astype(float)
    assert turned[:, :16].mean() != plain[:, :16].mean()
