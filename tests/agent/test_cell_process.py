"""The agent's own cell as a real process, with a real line behind it."""

import json
import os
import socket
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
import pytest

from edgewright.agent.cell import loop
from edgewright.agent.cell.captured import LiveCapture
from edgewright.agent.cell.control import Beat, Began, Deciding, Noted, Stop, decode_up, encode
from edgewright.agent.cell.feeds import Newest
from edgewright.agent.cell.lineclient import LineClient
from edgewright.agent.cell.truthdoor import HOST, TOKEN_FILE
from edgewright.agent.control import WindowReady
from edgewright.agent.link import Link
from edgewright.agent.settings import LabelSettings, LocalBrokerSettings, SinkSettings, SourceSettings
from edgewright.wire.errors import BlackPictureError, DamagedPictureError, SinkError, SourceLostError
from simulators.camera.rtsp import RtspCamera
from tests.agent.cell_rig import (
    PATIENCE_S,
    names,
    numbered,
    picture,
    running_cell,
    wait_for,
    write_picture,
    write_video,
)
from tests.agent.line_rig import running_line
from tests.agent.tiny_models import Release, write_release
from tests.contract.brokers import running


@pytest.fixture
def release(tmp_path: Path) -> Release:
    """A model that says dark or bright."""
    return write_release(tmp_path, 1)


def test_every_frame_of_a_video_is_decided_in_order(tmp_path: Path, release: Release) -> None:
    """Each frame of a video gets one decision of the model, and the file has them in the video's order."""
    video = write_video(tmp_path / "belt.avi", [picture(seed) for seed in range(20)], rate=200)
    with running_line(tmp_path) as line:
        line.run("a", release)
        source = SourceSettings(kind="video", place=str(video), deadline_ms=2000)
        with running_cell(tmp_path, source) as cell:
            records = cell.decided(20)
            items = [record["item"].split("-") for record in records]
            assert [item[2:] for item in items] == [["1", str(n)] for n in range(1, 21)]
            assert {item[0] for item in items} == {"belt"}
            assert len({item[1] for item in items}) == 1
            assert {(record["source"], record["version"], record["cause"]) for record in records} == {
                ("active", 1, "")
            }
            assert cell.heard(Deciding) == [Deciding()]
            cell.control.send(encode(Stop()))
            assert cell.process.wait(PATIENCE_S) == 0
            assert not cell.heard(Began)


def test_wrong_pictures_get_the_fallback_and_a_name(tmp_path: Path, release: Release) -> None:
    """A damaged file and black ones are answered with the fallback, each with its cause, and told once."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    write_picture(folder / "1.png", picture(1))
    (folder / "2.jpg").write_bytes(b"\xff\xd8 no picture")
    for number in (3, 4, 5, 6):
        write_picture(folder / f"{number}.png", np.zeros((48, 64, 3), np.uint8))
    write_picture(folder / "7.bmp", picture(7))
    with running_line(tmp_path, window_seconds=0.5) as line:
        line.run("a", release)
        source = SourceSettings(kind="folder", place=str(folder), deadline_ms=2000)
        with running_cell(tmp_path, source) as cell:
            records = sorted(cell.decided(7), key=lambda record: str(record["item"]))
            causes = ["", "DamagedPicture", *["BlackPicture"] * 4, ""]
            assert [record["cause"] for record in records] == causes
            sources = ["fallback" if cause else "active" for cause in causes]
            assert [record["source"] for record in records] == sources
            assert "2.jpg" in cell.began(DamagedPictureError.number).sentence
            assert "black" in cell.began(BlackPictureError.number).sentence
            assert len(cell.heard(Began)) == 2
            counted: dict[str, int] = {}
            while len(counted) < 2:
                counted |= line.expect(WindowReady).window.causes
            assert counted == {"DamagedPicture": 1, "BlackPicture": 4}


def test_a_line_that_restarts_loses_no_file(tmp_path: Path, release: Release) -> None:
    """While the line is gone a folder's pictures wait; the new line decides them, and none twice."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    source = SourceSettings(kind="folder", place=str(folder), deadline_ms=2000)
    with running_cell(tmp_path, source) as cell:
        with running_line(tmp_path) as line:
            line.run("a", release)
            write_picture(folder / "1.png", picture(1))
            cell.decided(1)
            line.process.kill()
            line.process.wait()
        write_picture(folder / "2.png", picture(2))
        write_picture(folder / "3.png", picture(3))
        with running_line(tmp_path) as line:
            line.run("a", release)
            cell.decided(3)
        assert names(cell.records()) == ["1.png", "2.png", "3.png"]


def test_a_restarted_cell_goes_on_where_it_was(tmp_path: Path, release: Release) -> None:
    """A cell that was killed does not decide again what was done, and takes what is new."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in (1, 2, 3):
        write_picture(folder / f"{number}.png", picture(number))
    source = SourceSettings(kind="folder", place=str(folder), deadline_ms=2000)
    with running_line(tmp_path) as line:
        line.run("a", release)
        with running_cell(tmp_path, source) as cell:
            cell.decided(3)
        write_picture(folder / "4.png", picture(4))
        with running_cell(tmp_path, source) as cell:
            cell.decided(4)
        assert names(cell.records()) == [f"{n}.png" for n in (1, 2, 3, 4)]


def test_a_name_that_is_no_utf_8_ends_no_cell(tmp_path: Path, release: Release) -> None:
    """A file whose name no message can hold is decided under an escaped one, and a damaged one is told."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    write_picture(folder / "1.png", picture(1)).rename(
        Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.png"))
    )
    Path(os.fsdecode(os.fsencode(folder) + b"/d\xe9.png")).write_bytes(b"no picture")
    source = SourceSettings(kind="folder", place=str(folder), deadline_ms=2000)
    with running_line(tmp_path) as line:
        line.run("a", release)
        with running_cell(tmp_path, source) as cell:
            assert names(cell.decided(2)) == [r"caf\xe9.png", r"d\xe9.png"]
            assert r"d\xe9.png" in cell.began(DamagedPictureError.number).sentence


def test_a_network_camera_that_is_unplugged_is_told_and_comes_back(tmp_path: Path, release: Release) -> None:
    """Frames of an RTSP stream are decided; its loss is told once, and so is its return, with its length."""
    camera = RtspCamera(numbered, 20)
    source = SourceSettings(kind="rtsp", place=camera.address.replace("//", "//user:hush@"), deadline_ms=2000)
    with running_line(tmp_path) as line, running_cell(tmp_path, source) as cell:
        line.run("a", release)
        cell.decided(10)
        camera.unplug()
        lost = cell.began(SourceLostError.number)
        camera.plug_in()
        before = len(cell.records())
        back = cell.over(SourceLostError.number)
        assert len(cell.records()) > before
        assert "again after" in back.sentence
        assert not [said for said in (lost, back) if "hush" in f"{said}"]
        assert len(cell.heard(Began)) == 1
    camera.unplug()


def test_without_a_line_a_live_picture_is_answered_and_does_not_wait(
    tmp_path: Path, release: Release
) -> None:
    """While there is no line, or no more, each picture of a camera gets the fallback, once."""
    camera = RtspCamera(numbered, 20)
    source = SourceSettings(kind="rtsp", place=camera.address, deadline_ms=2000)
    with running_cell(tmp_path, source) as cell:
        early = cell.decided(3)
        assert {(record["label"], record["cause"]) for record in early} == {("fallback", "NoLine")}
        with running_line(tmp_path) as line:
            line.run("a", release)
            wait_for(lambda: "active" in {record["source"] for record in cell.records()})
        wait_for(lambda: cell.records()[-1]["cause"] == "NoLine")
        items = [record["item"] for record in cell.records()]
        assert len(items) == len(set(items))
    camera.unplug()


def test_a_cell_ends_with_its_supervisor(tmp_path: Path) -> None:
    """A cell whose supervisor is gone ends by itself, even while it waits for a camera."""
    source = SourceSettings(kind="rtsp", place="rtsp://127.0.0.1:9/none")
    with running_cell(tmp_path, source) as cell:
        cell.began(SourceLostError.number)
        cell.control.close()
        assert cell.process.wait(PATIENCE_S) == 0


def test_a_hanging_callback_delays_nobody(tmp_path: Path, release: Release) -> None:
    """A callback that never returns and one that raises are told; all decisions reach the file."""
    (tmp_path / "site_code.py").write_text(
        "import threading\n"
        "def hang(decision): threading.Event().wait()\n"
        "def fail(decision): raise ValueError(decision.item)\n"
    )
    video = write_video(tmp_path / "belt.avi", [picture(seed) for seed in range(40)], rate=200)
    sinks = (
        SinkSettings("callback", "site_code:hang", waiting=5),
        SinkSettings("callback", "site_code:fail"),
    )
    with running_line(tmp_path) as line:
        line.run("a", release)
        source = SourceSettings(kind="video", place=str(video), deadline_ms=2000)
        with running_cell(tmp_path, source, sinks) as cell:
            cell.decided(40)
            assert "ValueError: belt-" in cell.began(SinkError.number).sentence
            cell.control.send(encode(Stop()))
            assert cell.process.wait(PATIENCE_S) == 0


@pytest.mark.mosquitto
def test_truths_reach_the_window(tmp_path: Path, release: Release) -> None:
    """A truth that is published for an item counts in the line's window; what is no outcome is left out."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    write_picture(folder / "1.png", picture(1))
    source = SourceSettings(kind="folder", place=str(folder), deadline_ms=2000, outcomes="cell/outcomes")
    with running("mosquitto", tmp_path / "broker") as broker, running_line(tmp_path, 0.5) as line:
        line.run("a", release)
        scanner = Link(broker.host, broker.port, "scanner")
        scanner.start()
        local = LocalBrokerSettings(broker.host, broker.port)
        with running_cell(tmp_path, source, broker=local) as cell:
            (record,) = cell.decided(1)
            wait_for(lambda: scanner.connected)
            for payload in (b"nonsense", b'{"item": "1.png"}', b'{"item": "1.png", "truth": "torn"}'):
                assert scanner.deliver("cell/outcomes", payload, 5)
            while not (truths := line.expect(WindowReady).window.truths):
                # The cell may have subscribed after the first truth.
                scanner.deliver("cell/outcomes", b'{"item": "1.png", "truth": "torn"}', 5)
            assert truths == {"torn": (1, 1)}
            assert record["label"] != "torn"
        scanner.stop()


def test_truths_by_http_and_csv_reach_the_window(tmp_path: Path, release: Release) -> None:
    """A file of truths that comes before its picture waits for it, and a truth told twice counts once."""
    folder, files = tmp_path / "pictures", tmp_path / "labels"
    folder.mkdir()
    files.mkdir()
    (files / "shift.csv").write_bytes(b"item,truth,source\n1.png,torn,weighing\n,none,\n")
    with socket.create_server((HOST, 0)) as free:
        port = free.getsockname()[1]
    labels = LabelSettings(http_port=port, csv=str(files))
    source = SourceSettings(kind="folder", place=str(folder), deadline_ms=2000)
    with running_line(tmp_path, 0.5) as line, running_cell(tmp_path, source, labels=labels) as cell:
        line.run("a", release)
        (noted,) = wait_for(lambda: cell.heard(Noted))
        assert "Line 3: Its item" in noted.sentence
        for number in (1, 2):
            write_picture(folder / f"{number}.png", picture(number))
        cell.decided(2)
        token = (tmp_path / TOKEN_FILE).read_text().strip()
        asked = Request(
            f"http://{HOST}:{port}/truths",
            b'[{"item":"2.png","truth":"torn"},{"item":"2.png","truth":"torn"}]',
            {"Authorization": f"Bearer {token}"},
        )
        with urlopen(asked, timeout=PATIENCE_S) as answer:
            assert json.loads(answer.read()) == {"taken": 2, "refused": []}
        seen = 0
        while seen < 2:
            seen += sum(labelled for labelled, _ in line.expect(WindowReady).window.truths.values())
        assert seen == 2


def test_a_camera_that_hangs_holds_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Native code that never comes back is noticed, and the process ends when it is told to."""
    device = tmp_path / "device"
    os.mkfifo(device)  # To open it blocks until somebody writes.
    source = SourceSettings(kind="camera", place=str(device))
    with running_cell(tmp_path, source) as cell:
        cell.control.settimeout(PATIENCE_S)
        assert isinstance(decode_up(cell.control.recv(65536)), Beat)  # By now the camera is being opened.
        cell.control.send(encode(Stop()))
        assert cell.process.wait(PATIENCE_S) == 0
    monkeypatch.setattr(loop, "HUNG_S", 0.5)
    here = loop.Cell(source, Newest(LiveCapture(source)), LineClient(tmp_path / "none"), [], lambda _: None)

    def hung() -> bool:
        try:
            here.turn()
        except loop.HungSourceError:
            return True
        return False

    wait_for(hung)
    os.close(os.open(device, os.O_RDWR | os.O_NONBLOCK))  # Let this process's thread go.
    here.close()
