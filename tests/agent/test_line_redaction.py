"""What is taken out of a picture before it is kept, and what happens where that fails."""

from collections.abc import Callable
from random import Random
from time import monotonic, sleep, time

import cv2
import numpy as np
import pytest

from edgewright.agent.control import GivenUp, SampleReady, Trouble, Up
from edgewright.agent.line.capture import Capture, CapturePlan
from edgewright.agent.line.deciding import Ruling
from edgewright.agent.line.developing import ROOM, DarkRoom, Developed
from edgewright.agent.line.redaction import Pixels, load_redactor, redacted
from edgewright.agent.preprocess import look
from edgewright.agent.settings import CaptureSettings, MaskSettings
from edgewright.wire.cell import Decision, Frame
from edgewright.wire.errors import ConfigurationError

SITE = "tests.agent.site_redactors"
PATIENCE_S = 10.0


def _noise(height: int = 60, width: int = 80) -> Pixels:
    return np.random.default_rng(4).integers(1, 255, (height, width, 3), np.uint8)


def _shown(png: bytes) -> Pixels:
    return np.asarray(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR), np.uint8)


def _until(condition: Callable[[], bool]) -> None:
    end = monotonic() + PATIENCE_S
    while not condition():
        assert monotonic() < end, "the condition did not come about"
        sleep(0.005)


@pytest.mark.parametrize(
    ("mask", "rows", "columns"),
    [
        (MaskSettings(0.25, 0.5, 0.5, 0.25), slice(30, 45), slice(20, 60)),
        (MaskSettings(0.99, 0.99, 1.0, 1.0), slice(59, 60), slice(79, 80)),
        (MaskSettings(0.0, 0.0, 1.0, 1.0), slice(0, 60), slice(0, 80)),
        (MaskSettings(0.101, 0.0, 0.001, 1.0), slice(0, 60), slice(8, 9)),
        (MaskSettings(0.5, 0.5, 0.0, 0.0), slice(30, 30), slice(40, 40)),
    ],
)
@pytest.mark.parametrize("how", ["fill", "mosaic"])
def test_a_mask_covers_its_rectangle_and_nothing_else(
    mask: MaskSettings, rows: slice, columns: slice, how: str
) -> None:
    """Inside nothing of the picture is left but eight by eight colours at most; outside every pixel is."""
    image = _noise()
    before = image.copy()
    out = redacted(image, [MaskSettings(mask.x, mask.y, mask.width, mask.height, how)], None, "1")  # type: ignore[arg-type]  # one of the two
    assert out is not None
    inside = np.zeros((60, 80), bool)
    inside[rows, columns] = True
    assert np.array_equal(out[~inside], before[~inside])
    colours = np.unique(out[inside].reshape(-1, 3), axis=0)
    assert len(colours) <= (64 if how == "mosaic" else 1)
    assert how == "mosaic" or not colours.any()
    assert np.array_equal(image, before)


def test_a_mosaic_keeps_the_mean_of_each_block() -> None:
    """A region of 16 x 24 becomes blocks of 2 x 3, each with the mean of its pixels."""
    image = _noise(16, 24)
    out = redacted(image, [MaskSettings(0, 0, 1, 1, "mosaic")], None, "1")
    assert out is not None
    means = image.reshape(8, 2, 8, 3, 3).astype(int).sum(axis=(1, 3)) // 6
    assert np.array_equal(out, means.repeat(2, 0).repeat(3, 1))


def test_the_sites_function_gets_a_masked_picture_of_its_own() -> None:
    """It may write into it; what it gives back is kept, and None keeps nothing."""
    image = _noise()
    before = image.copy()
    out = redacted(image, [MaskSettings(0, 0, 0.5, 0.5)], load_redactor(f"{SITE}:whiten"), "1")
    assert out is not None
    assert (out[1:].min(), out[0, :40].max()) == (255, 0)
    assert np.array_equal(image, before)
    assert redacted(image, [], load_redactor(f"{SITE}:withhold"), "person-1") is None


@pytest.mark.parametrize("name", ["fail", "leave", "wrong_kind"])
def test_a_function_that_fails_gives_no_picture_and_tells_nothing_of_it(name: str) -> None:
    """Whatever it raises or returns is one error of ours, without the exception's text."""
    with pytest.raises(ConfigurationError) as raised:
        redacted(_noise(), [], load_redactor(f"{SITE}:{name}"), "item-9")
    assert "Miller" not in str(raised.value)


@pytest.mark.parametrize("name", ["no.such.module:f", f"{SITE}:missing", f"{SITE}:NUMBER"])
def test_a_function_that_cannot_be_imported_is_named(name: str) -> None:
    """The sentence says which one."""
    with pytest.raises(ConfigurationError, match=name.partition(":")[0]):
        load_redactor(name)


def _developed(room: DarkRoom, count: int) -> list[Developed]:
    done: list[Developed] = []

    def complete() -> bool:
        done.extend(room.take(monotonic()))
        return len(done) >= count

    _until(complete)
    return done


def test_a_slow_function_costs_its_frame_and_closes_the_room_meanwhile() -> None:
    """The late frame is given up once, nothing can be handed over until it is back; then it works."""
    room = DarkRoom((), f"{SITE}:slow", 0.1)
    late = room.hand_over("slow-1", _noise())
    (given_up,) = _developed(room, 1)
    assert (given_up.number, given_up.png) == (late, b"")
    assert "100 ms" in given_up.said
    assert not room.room
    _until(lambda: room.room)
    right = room.hand_over("2", _noise())
    (done,) = _developed(room, 1)
    assert (done.number, done.said) == (right, "")
    assert np.array_equal(_shown(done.png), _noise())
    room.close()


def test_the_room_is_bounded() -> None:
    """Frames beyond a few find no room, until those before them are taken back."""
    room = DarkRoom((), f"{SITE}:slow", 5.0)
    for number in range(ROOM):
        assert room.room
        room.hand_over("slow" if not number else "x", _noise())
    assert not room.room
    assert [done.number for done in _developed(room, ROOM)] == [1, 2, 3, 4]
    assert room.room
    room.close()


def _see(capture: Capture, item: str, image: Pixels) -> None:
    frame = Frame(item=item, deadline_ms=50, shape=image.shape, pixels=b"", tag="sku")
    decision = Decision(item=item, label="bag", confidence=0.9, source="active", version=1)
    capture.see(frame, Ruling(decision, None, "", image), look(image).thumbnail, "m", monotonic(), time())


def _ready(capture: Capture) -> bool:
    capture.tick(monotonic())
    return capture.ready


def _captured(settings: CaptureSettings, items: list[str]) -> list[Up]:
    sent: list[Up] = []
    capture = Capture(sent.append, "d", CapturePlan(1.0, settings), Random(1), monotonic())
    for item in items:
        _until(lambda: _ready(capture))
        _see(capture, item, _noise())
    capture.label(items[-1], "boot")
    capture.close(monotonic())
    return sent


def test_only_what_was_redacted_leaves_the_line() -> None:
    """A captured frame's PNG is the masked picture, with the truth that came while it was made."""
    mask = MaskSettings(0, 0, 1, 0.5)
    (sent,) = _captured(CaptureSettings(masks=(mask,)), ["1"])
    assert isinstance(sent, SampleReady)
    masked = redacted(_noise(), [mask], None, "1")
    assert masked is not None
    assert np.array_equal(_shown(sent.sample.image), masked)
    assert (sent.sample.truth, sent.sample.reason, sent.sample.probability) == ("boot", "random", 1.0)


def test_a_redactor_that_fails_captures_nothing_and_is_told_once() -> None:
    """Of three frames none goes up: one report tells why, and one message counts them."""
    sent = _captured(CaptureSettings(redactor=f"{SITE}:fail"), ["1", "2", "3"])
    assert not [message for message in sent if isinstance(message, SampleReady)]
    (trouble,) = [message for message in sent if isinstance(message, Trouble)]
    assert trouble.error == ConfigurationError.number
    assert "ValueError" in trouble.detail
    (lost,) = [message for message in sent if isinstance(message, GivenUp)]
    assert (lost.what, lost.messages) == ("sample", 3)
    assert "redactor" in lost.why


def test_a_frame_that_the_site_withholds_is_counted_and_no_trouble() -> None:
    """Where the function says so, a frame does not go up; the others do."""
    sent = _captured(CaptureSettings(redactor=f"{SITE}:withhold"), ["person-1", "2"])
    assert [message.sample.item for message in sent if isinstance(message, SampleReady)] == ["2"]
    assert [message.messages for message in sent if isinstance(message, GivenUp)] == [1]
    assert not [message for message in sent if isinstance(message, Trouble)]
