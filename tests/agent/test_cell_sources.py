"""One contract for all sources, each on the real thing: files, a folder, an RTSP stream, a broker.

No machine of the tests has a camera: the adapter of ``camera`` reads a video file as its device, so all of it
but V4L2 itself is run here.
"""

import contextlib
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgewright.agent.cell import folder as folders
from edgewright.agent.cell.captured import LiveCapture, VideoFile
from edgewright.agent.cell.feeds import InOrder, Newest
from edgewright.agent.cell.folder import PictureFolder
from edgewright.agent.cell.opencv import backend, camera_device, decode_picture
from edgewright.agent.cell.source import Picture, Source, SourceEnded
from edgewright.agent.cell.topic import PictureTopic
from edgewright.agent.link import MAX_PACKET_BYTES, Link
from edgewright.agent.settings import SourceSettings
from edgewright.wire.errors import SourceLostError
from simulators.camera.rtsp import RtspCamera
from tests.agent.cell_rig import number_in, numbered, wait_for, write_picture, write_video
from tests.contract.brokers import running

FRAMES = 30


class Scene(ABC):
    """A real thing that shows numbers, and the source that reads it."""

    source: Source

    @abstractmethod
    def gone(self) -> None:
        """Take the thing away."""

    @abstractmethod
    def back(self) -> None:
        """Bring it back."""

    def keep_going(self) -> None:  # noqa: B027 - most go on by themselves
        """Make it give one more picture, where it does not by itself."""

    def close(self) -> None:  # noqa: B027 - files need none
        """End it."""


class FileScene(Scene):
    """A video, read as a video or as a camera."""

    def __init__(self, folder: Path, kind: Callable[[SourceSettings], Source]) -> None:
        self._path = write_video(folder / "belt.avi", [numbered(n) for n in range(1, FRAMES + 1)], 200)
        self.source = kind(SourceSettings(kind="camera", place=str(self._path)))

    def gone(self) -> None:
        """No file."""
        self._path.rename(self._path.with_suffix(".away"))

    def back(self) -> None:
        """A file."""
        self._path.with_suffix(".away").rename(self._path)


class FolderScene(Scene):
    """A folder that a machine writes into."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "pictures"
        self._folder.mkdir()
        self._number = 0
        self.source = PictureFolder(SourceSettings(kind="folder", place=str(self._folder)), folder / "done")
        for _ in range(3):
            self.keep_going()

    def gone(self) -> None:
        """No folder."""
        self._folder.rename(self._folder.with_suffix(".away"))

    def back(self) -> None:
        """The folder, and something new in it."""
        self._folder.with_suffix(".away").rename(self._folder)

    def keep_going(self) -> None:
        """One more file."""
        self._number += 1
        if self._folder.is_dir():
            write_picture(self._folder / f"{self._number:04}.png", numbered(self._number))


class StreamScene(Scene):
    """A network camera."""

    def __init__(self) -> None:
        self.camera = RtspCamera(numbered, 50)
        address = self.camera.address.replace("//", "//user:hush@")
        self.source = LiveCapture(SourceSettings(kind="rtsp", place=address))

    def gone(self) -> None:
        """Out of its socket."""
        self.camera.unplug()

    def back(self) -> None:
        """In again."""
        self.camera.plug_in()

    def close(self) -> None:
        """Out for good."""
        self.camera.unplug()


class TopicScene(Scene):
    """A camera that publishes to the cell's broker, a real mosquitto."""

    def __init__(self, folder: Path) -> None:
        self._running = contextlib.ExitStack()
        self.broker = self._running.enter_context(running("mosquitto", folder / "broker"))
        self._number = 0
        self._link = Link(self.broker.host, self.broker.port, "cell")
        self._camera = Link(self.broker.host, self.broker.port, "camera")
        self._link.start()
        self._camera.start()
        wait_for(lambda: self._link.connected and self._camera.connected)
        self.source = PictureTopic(SourceSettings(kind="topic", place="cell/camera"), self._link)

    def gone(self) -> None:
        """No broker."""
        self.broker.crash()
        wait_for(lambda: not self._link.connected)

    def back(self) -> None:
        """A broker."""
        self.broker.start()
        wait_for(lambda: self._link.connected and self._camera.connected)

    def keep_going(self) -> None:
        """One more picture."""
        self._number += 1
        self.publish(cv2.imencode(".png", numbered(self._number))[1].tobytes())

    def publish(self, payload: bytes) -> None:
        """Any payload."""
        self._camera.deliver("cell/camera", payload, 5)

    def close(self) -> None:
        """End everything."""
        self._link.stop()
        self._camera.stop()
        self._running.close()


SCENES: dict[str, Callable[[Path], Scene]] = {
    "camera": lambda folder: FileScene(folder, LiveCapture),
    "video": lambda folder: FileScene(folder, VideoFile),
    "folder": FolderScene,
    "rtsp": lambda _: StreamScene(),
    "topic": TopicScene,
}
KINDS: list[Any] = [
    pytest.param(name, marks=pytest.mark.mosquitto) if name == "topic" else name for name in SCENES
]


@pytest.fixture(params=KINDS)
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    """Each source in turn, not opened yet."""
    made = SCENES[request.param](tmp_path)
    yield made
    made.source.close()
    made.close()


def read(scene: Scene) -> Picture:
    """The next picture, however often the source has to be asked."""

    def ask() -> Picture | None:
        scene.keep_going()
        return scene.source.read(0.2)

    return wait_for(ask)


def test_pictures_are_what_was_shown(scene: Scene) -> None:
    """A source gives what its thing shows, in order, under an id for each, with the time of now."""
    scene.source.open()
    pictures = [read(scene) for _ in range(4)]
    numbers = [number_in(shown.pixels) for shown in pictures if shown.pixels is not None]
    assert len(numbers) == 4
    assert numbers == sorted(set(numbers))
    assert len({shown.item for shown in pictures}) == 4
    times = [shown.taken_at for shown in pictures]
    assert times == sorted(times)


def test_a_source_that_goes_is_lost_and_can_be_opened_again(scene: Scene) -> None:
    """What goes away is a named loss without a password in it; what is back gives pictures."""
    scene.source.open()
    read(scene)
    scene.gone()

    def lost() -> str:
        try:
            scene.source.read(0.1)
            scene.source.close()
            scene.source.open()
        except SourceLostError as error:
            return error.sentence
        return ""

    sentence = wait_for(lost)
    assert scene.source.place in sentence
    assert "hush" not in sentence + scene.source.place
    scene.source.close()
    scene.back()
    scene.source.open()
    assert read(scene).pixels is not None


def test_a_source_may_be_closed_twice(scene: Scene) -> None:
    """Letting go of a source that was never opened, or twice, is no error."""
    scene.source.close()
    scene.source.open()
    scene.source.close()
    scene.source.close()


def test_a_video_gives_every_frame_and_ends(tmp_path: Path) -> None:
    """All frames of a video come in order, once; with ``repeat`` it begins again under new ids."""
    scene = FileScene(tmp_path, VideoFile)
    scene.source.open()
    pictures = [scene.source.read(1) for _ in range(FRAMES)]
    shown = [number_in(one.pixels) for one in pictures if one is not None and one.pixels is not None]
    assert shown == list(range(1, FRAMES + 1))
    with pytest.raises(SourceEnded):
        scene.source.read(1)
    again = VideoFile(SourceSettings(kind="video", place=str(tmp_path / "belt.avi"), repeat=True))
    again.open()
    items = [one.item for _ in range(FRAMES + 5) if (one := again.read(1)) is not None]
    assert items[-1].split("-")[2] == "2"
    assert pictures[0] is not None
    assert pictures[0].item not in items
    assert len(set(items)) == len(items)


def test_a_file_that_is_no_video_is_lost_and_not_the_end(tmp_path: Path) -> None:
    """A damaged video is a named loss."""
    path = tmp_path / "belt.avi"
    path.write_bytes(os.urandom(5000))
    source = VideoFile(SourceSettings(kind="video", place=str(path)))
    with pytest.raises(SourceLostError, match=r"belt\.avi"):
        source.open()


def test_a_dead_stream_does_not_block_for_ever() -> None:
    """A network camera that holds its connection and falls silent is lost by the read's time limit."""
    camera = RtspCamera(numbered, 50)
    source = LiveCapture(SourceSettings(kind="rtsp", place=camera.address))
    source.open()
    assert source.read(1) is not None
    camera.silent = True
    with pytest.raises(SourceLostError):
        list(iter(lambda: source.read(1), None))
    camera.unplug()


def test_a_folder_is_sorted_and_remembers(tmp_path: Path) -> None:
    """Files come by name, each once, over a restart too; a changed file is new; others are left alone."""
    folder, memory = tmp_path / "pictures", tmp_path / "done"
    folder.mkdir()
    settings = SourceSettings(kind="folder", place=str(folder))
    for name in ("b.png", "a.jpg", "c.bmp"):
        write_picture(folder / name, numbered(1))
    (folder / "notes.txt").write_text("not a picture")

    def items(source: PictureFolder, count: int) -> list[str]:
        found = [wait_for(lambda: source.read(0.05)).item.partition("@")[0] for _ in range(count)]
        assert source.read(1.0) is None
        return found

    first = PictureFolder(settings, memory)
    first.open()
    assert items(first, 3) == ["a.jpg", "b.png", "c.bmp"]
    second = PictureFolder(settings, memory)
    second.open()
    write_picture(folder / "b.png", numbered(7))
    write_picture(folder / "aa.png", numbered(8))
    assert items(second, 2) == ["aa.png", "b.png"]
    assert len(memory.read_text().splitlines()) == 5
    shutil.rmtree(folder)
    folder.mkdir()
    PictureFolder(settings, memory).open()
    assert memory.read_text() == ""


def test_the_memory_of_a_folder_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where files come and go for years, the memory holds no more than twice what is there, and a rest."""
    monkeypatch.setattr(folders, "SPARE_LINES", 5)
    monkeypatch.setattr(folders, "LOOK_SECONDS", 0.01)
    folder, memory = tmp_path / "pictures", tmp_path / "done"
    folder.mkdir()
    source = PictureFolder(SourceSettings(kind="folder", place=str(folder)), memory)
    source.open()
    longest = 0
    for number in range(30):
        path = write_picture(folder / f"{number:02}.png", numbered(number))
        assert wait_for(lambda: source.read(0.02)).item.startswith(f"{path.name}@")
        path.unlink()
        longest = max(longest, len(memory.read_text().splitlines()))
    assert 5 <= longest <= 2 + 5 + 1


def test_a_file_that_grows_is_left_until_it_is_whole(tmp_path: Path) -> None:
    """A picture that is written slowly is read once, whole."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    source = PictureFolder(SourceSettings(kind="folder", place=str(folder)), tmp_path / "done")
    source.open()
    data = cv2.imencode(".png", numbered(5))[1].tobytes()
    with (folder / "slow.png").open("wb") as file:
        for start in range(0, len(data), len(data) // 8 + 1):
            file.write(data[start : start + len(data) // 8 + 1])
            file.flush()
            assert source.read(0.3) is None
    shown = wait_for(lambda: source.read(0.1))
    assert shown.pixels is not None
    assert number_in(shown.pixels) == 5


def test_a_file_that_cannot_be_read_holds_up_no_other(tmp_path: Path) -> None:
    """A file that gives an I/O error is a picture without pixels that is named; those behind it are read."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("a.png", "c.png"):
        write_picture(folder / name, numbered(1))
    (folder / "b.png").symlink_to("/proc/self/mem")
    feed = InOrder(PictureFolder(SourceSettings(kind="folder", place=str(folder)), tmp_path / "done"))
    lost = set()

    def next_one() -> Picture | None:
        shown = feed.next(0.1)
        lost.add(feed.lost)
        return shown

    shown = sorted(wait_for(next_one) for _ in range(3))
    assert [one.item.partition("@")[0] for one in shown] == ["a.png", "b.png", "c.png"]
    assert [one.pixels is None for one in shown] == [False, True, False]
    assert "b.png" in shown[1].detail
    assert "Input/output error" in shown[1].detail
    assert lost == {""}
    feed.close()


def test_a_changed_file_is_another_item(tmp_path: Path) -> None:
    """A name that is written again gives a new item; the name alone means the last, over a restart too."""
    folder, memory = tmp_path / "pictures", tmp_path / "done"
    folder.mkdir()
    settings = SourceSettings(kind="folder", place=str(folder))
    source = PictureFolder(settings, memory)
    source.open()
    items = []
    for number in (1, 2):
        write_picture(folder / "latest.png", numbered(number))
        items.append(wait_for(lambda: source.read(0.05)).item)
        assert source.item_of("latest.png") == items[-1]
    assert len(set(items)) == 2
    assert source.item_of(items[0]) == items[0]
    again = PictureFolder(settings, memory)
    again.open()
    assert again.item_of("latest.png") == items[1]


@pytest.mark.parametrize("kind", [VideoFile, LiveCapture])
def test_no_password_is_shown(kind: Callable[[SourceSettings], Source]) -> None:
    """Whatever kind an address was given to, neither the place nor the error holds its password."""
    source = kind(SourceSettings(kind="video", place="http://user:hush@127.0.0.1:9/x.mp4"))
    with pytest.raises(SourceLostError) as lost:
        source.open()
    assert "hush" not in source.place + lost.value.sentence


def test_every_path_of_a_camera_is_a_device(tmp_path: Path) -> None:
    """Names that udev makes are followed to their device; one that is not there stays a path."""
    (tmp_path / "by-id").symlink_to("/dev/video7")
    assert camera_device(str(tmp_path / "by-id")) == 7
    assert camera_device("/dev/v4l/by-id/usb-none") == "/dev/v4l/by-id/usb-none"
    assert camera_device("/dev/video_cam1") == "/dev/video_cam1"


def test_a_camera_is_opened_by_v4l2_under_any_name(tmp_path: Path) -> None:
    """A camera by its udev name is asked of V4L2, not of FFmpeg, which reads addresses and files."""
    for place in ("0", "/dev/video0", "/dev/v4l/by-id/usb-none", "/dev/video_cam1"):
        assert backend("camera", place) == cv2.CAP_V4L2
    video = write_video(tmp_path / "belt.avi", [numbered(1)])
    assert {backend("camera", str(video)), backend("file", str(video))} == {cv2.CAP_FFMPEG}
    assert backend("stream", "rtsp://camera.example/stream") == cv2.CAP_FFMPEG


@pytest.mark.mosquitto
def test_bad_payloads_are_pictures_without_pixels(tmp_path: Path) -> None:
    """A payload that is no picture is named; one above the limit ends no process, and the next ones come."""
    scene = TopicScene(tmp_path)
    scene.source.open()
    read(scene)
    scene.publish(b"no picture")
    # Right ones that were asked for before may still be on their way.
    damaged = wait_for(lambda: one if (one := scene.source.read(0.2)) and one.pixels is None else None)
    assert "cell/camera" in damaged.detail
    scene.publish(bytes(MAX_PACKET_BYTES + 1))
    assert wait_for(lambda: read_or_none(scene))
    scene.source.close()
    scene.close()


def read_or_none(scene: Scene) -> Picture | None:
    """One more picture, where the connection stands."""
    scene.keep_going()
    with contextlib.suppress(SourceLostError):
        return scene.source.read(0.2)
    return None


def test_a_small_file_cannot_ask_for_gigabytes() -> None:
    """A PNG whose header names 30,000 x 30,000 pixels is damaged, and no memory is taken for it."""
    data = bytearray(cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes())
    data[16:24] = (30_000).to_bytes(4, "big") * 2
    assert decode_picture(bytes(data)) is None
    assert decode_picture(b"") is None


def test_only_the_newest_of_a_live_source_counts() -> None:
    """A reader slower than a camera of 50 a second gets the newest picture; the others are counted."""
    camera = RtspCamera(numbered, 50)
    feed = Newest(LiveCapture(SourceSettings(kind="rtsp", place=camera.address)))
    first = wait_for(lambda: feed.next(0.2))
    seen = camera.sent
    wait_for(lambda: camera.sent > seen + 40)
    newest = wait_for(lambda: feed.next(0.2))
    assert newest.pixels is not None
    assert first.pixels is not None
    assert number_in(newest.pixels) >= seen + 38
    assert feed.skipped >= 30
    feed.close()
    camera.unplug()


def test_a_lost_source_is_opened_again_by_its_feed(tmp_path: Path) -> None:
    """A video that is not there yet is named by the feed and read, from its first frame, once it is."""
    away = write_video(tmp_path / "away.avi", [numbered(n) for n in (1, 2, 3)])
    feed = InOrder(VideoFile(SourceSettings(kind="video", place=str(tmp_path / "belt.avi"))))
    assert feed.next(0.1) is None
    assert "belt.avi" in feed.lost
    away.rename(tmp_path / "belt.avi")
    shown = wait_for(lambda: feed.next(0.1))
    assert shown.pixels is not None
    assert (number_in(shown.pixels), feed.lost, feed.skipped) == (1, "", 0)
    feed.close()
