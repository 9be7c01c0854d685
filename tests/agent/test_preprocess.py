import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgewright.agent.preprocess import (
    FREQUENCIES,
    embed,
    encode_png,
    input_shape,
    look,
    preprocess,
    preprocess_into,
)
from edgewright.wire.errors import MalformedMessageError
from edgewright.wire.manifest import Preprocessing

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


def _frame(seed: int, height: int = 96, width: int = 128) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (5, 5), 1.0).astype(np.uint8)


def _reference(frame: NDArray[np.uint8], spec: Preprocessing) -> NDArray[np.float64]:
    """The manifest's docstring in the plainest numpy."""
    small = cv2.resize(frame, (spec.width, spec.height), interpolation=cv2.INTER_AREA)
    if spec.colour == "rgb":
        small = small[:, :, ::-1]
    elif spec.colour == "gray":
        small = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)[:, :, None]
    normal: NDArray[np.float64] = (small.astype(np.float64) / 255 - np.array(spec.mean)) / np.array(spec.std)
    return (normal.transpose(2, 0, 1) if spec.layout == "NCHW" else normal)[None]


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("colour", ["rgb", "bgr", "gray"])
@pytest.mark.parametrize("size", [(64, 48), (128, 96), (31, 17)])
def test_the_input_is_what_the_manifest_says(layout: str, colour: str, size: tuple[int, int]) -> None:
    """Every layout, colour and size equals the order of operations that the manifest documents."""
    channels = 1 if colour == "gray" else 3
    spec = Preprocessing(*size, colour, MEAN[:channels], STD[:channels], layout)  # type: ignore[arg-type]  # parametrised literals
    made = preprocess(_frame(1), spec)
    assert made.shape == input_shape(spec)
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, _reference(_frame(1), spec), atol=1e-6)


def test_the_input_is_written_in_place() -> None:
    """The caller's array takes the result, every element of it."""
    spec = Preprocessing(32, 24, "rgb", MEAN, STD)
    out = np.full(input_shape(spec), np.nan, np.float32)
    preprocess_into(_frame(2), spec, out)
    np.testing.assert_array_equal(out, preprocess(_frame(2), spec))


@pytest.mark.parametrize(("mean", "std"), [((0.5,), (0.5,)), (MEAN, (0.2, 0.0, 0.4))])
def test_a_specification_that_does_not_fit_is_refused(
    mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    """Too few means, or a deviation of 0, is a malformed manifest and no crash of OpenCV."""
    with pytest.raises(MalformedMessageError):
        preprocess(_frame(3), Preprocessing(8, 8, "rgb", mean, std))


def test_brightness_and_contrast_have_their_units() -> None:
    """A white frame has brightness 1 and contrast 0; a half black, half white one 0.5 and 0.5."""
    white = np.full((100, 80, 3), 255, np.uint8)
    half = white.copy()
    half[:50] = 0
    assert look(white).statistics[:2] == pytest.approx((1.0, 0.0))
    assert look(half).statistics[:2] == pytest.approx((0.5, 0.5), abs=0.02)


def test_blur_lowers_sharpness() -> None:
    """Each stronger blur of the same frame has less than half the sharpness of the one before."""
    sharp = _frame(4)
    values = [look(sharp).statistics.sharpness]
    values += [look(cv2.GaussianBlur(sharp, (0, 0), s).astype(np.uint8)).statistics.sharpness for s in (1, 2)]
    assert values[0] > 2 * values[1] > 4 * values[2] > 0


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (700, 500), (1080, 1920)])
def test_a_look_takes_any_frame_size(shape: tuple[int, int]) -> None:
    """From one pixel to a large camera, statistics and embedding are finite and of one size."""
    seen = look(_frame(5, *shape))
    assert np.isfinite(seen.statistics).all()
    assert np.isfinite(seen.embedding).all()
    assert (seen.thumbnail.shape, seen.embedding.shape) == ((8, 8, 3), (len(FREQUENCIES),))


def test_saturation_is_the_share_of_values_at_full_scale() -> None:
    """A quarter of a frame burnt out in all colours counts as a quarter; black and gray do not count."""
    frame = np.full((96, 96, 3), 254, np.uint8)
    frame[:48] = 0
    assert look(frame).statistics.saturation == 0
    frame[48:, 48:] = 255
    assert look(frame).statistics.saturation == pytest.approx(0.25)


def test_the_embedding_is_the_low_end_of_the_cosine_transform() -> None:
    """Its components are OpenCV's own transform of the gray thumbnail, over the side and full scale."""
    seen = look(_frame(7, 480, 640))
    gray = seen.thumbnail.astype(np.float64) @ (0.114, 0.587, 0.299)
    transformed = cv2.dct(gray) / 8 / 255
    np.testing.assert_allclose(seen.embedding, [transformed[at] for at in FREQUENCIES], atol=1e-6)
    assert seen.embedding[0] == pytest.approx(seen.statistics.brightness, abs=0.01)


def test_the_embedding_moves_with_what_is_seen_and_hardly_with_noise() -> None:
    """An object on the belt moves the embedding by far more than the noise of the camera does."""
    belt = np.full((96, 96, 3), 60, np.uint8)
    noise = np.random.default_rng(8).normal(0, 6, belt.shape)
    noisy = np.clip(belt + noise, 0, 255).astype(np.uint8)
    carried = belt.copy()
    carried[20:60, 40:90] = 160
    still = np.linalg.norm(embed(noisy) - embed(belt))
    assert np.linalg.norm(embed(carried) - embed(belt)) > 20 * still > 0


def test_a_sample_is_lossless() -> None:
    """The PNG holds the camera's own pixels."""
    png = np.frombuffer(encode_png(_frame(6)), np.uint8)
    np.testing.assert_array_equal(cv2.imdecode(png, cv2.IMREAD_COLOR), _frame(6))
