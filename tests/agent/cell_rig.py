"""A real cell process; the test plays its supervisor, and where it wants a line it starts a real one."""

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from edgewright.agent.cell.control import Beat, Began, Over, Setup, Up, decode_up, encode
from edgewright.agent.control import control_pair
from edgewright.agent.settings import LabelSettings, LocalBrokerSettings, SinkSettings, SourceSettings

PATIENCE_S = 30.0
_T = TypeVar("_T")


def picture(seed: int, width: int = 64, height: int = 48) -> NDArray[np.uint8]:
    """A picture of coloured blocks that no other seed has."""
    blocks = np.random.default_rng(seed).integers(0, 256, (height // 16, width // 16, 3), np.uint8)
    return blocks.repeat(16, 0).repeat(16, 1)


def numbered(number: int) -> NDArray[np.uint8]:
    """A picture of 192 x 48 that shows a number in twelve stripes, readable after lossy compression."""
    shown = np.full((48, 192, 3), 20, np.uint8)
    for bit in range(12):
        if number >> bit & 1:
            shown[:, bit * 16 : bit * 16 + 16] = 220
    return shown


def number_in(shown: NDArray[np.uint8]) -> int:
    """The number that ``numbered`` has drawn."""
    return sum(int(shown[24, bit * 16 + 8, 0] > 128) << bit for bit in range(12))


def names(records: list[dict[str, Any]]) -> list[str]:
    """Files that decisions of a folder are on, in order: an item is a name and a time of change."""
    return [record["item"].partition("@")[0] for record in records]


def write_video(path: Path, pictures: list[NDArray[np.uint8]], rate: float = 30.0) -> Path:
    """A real video without loss (FFV1)."""
    height, width = pictures[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"FFV1"), rate, (width, height))
    assert writer.isOpened()
    for shown in pictures:
        writer.write(shown)
    writer.release()
    return path


def write_picture(path: Path, shown: NDArray[np.uint8]) -> Path:
    """A picture's file, renamed into its place."""
    assert cv2.imwrite(str(path.with_name(f"new-{path.stem}.tmp{path.suffix}")), shown)
    return path.with_name(f"new-{path.stem}.tmp{path.suffix}").rename(path)


def wait_for(condition: Callable[[], _T | None]) -> _T:
    """Poll until a condition holds; its value."""
    end = monotonic() + PATIENCE_S
    while not (value := condition()):
        assert monotonic() < end, "the condition did not come about"
        sleep(0.01)
    return value


class CellRig:
    """Talks to one cell process.

    Attributes:
        seen: everything that it said but its beats.
    """

    def __init__(self, process: subprocess.Popen[bytes], control: socket.socket, out: Path) -> None:
        self.process, self.control, self._out = process, control, out
        self.seen: list[Up] = []

    def heard(self, kind: type[_T]) -> list[_T]:
        """All messages of a kind until now."""
        self.control.settimeout(0)
        while True:
            try:
                data = self.control.recv(65536)
            except (BlockingIOError, ConnectionError):
                break
            if not data:
                break
            message = decode_up(data)
            if not isinstance(message, Beat):
                self.seen.append(message)
        return [message for message in self.seen if isinstance(message, kind)]

    def began(self, error: int) -> Began:
        """Wait for the begin of a trouble."""
        return wait_for(lambda: [said for said in self.heard(Began) if said.error == error])[0]

    def over(self, error: int) -> Over:
        """Wait for the end of a trouble."""
        return wait_for(lambda: [said for said in self.heard(Over) if said.error == error])[0]

    def records(self) -> list[dict[str, Any]]:
        """Decisions in the file sink."""
        if not self._out.is_file():
            return []
        return [json.loads(line) for line in self._out.read_bytes().splitlines()]

    def decided(self, count: int) -> list[dict[str, Any]]:
        """Wait for so many decisions; all that have come."""
        wait_for(lambda: len(self.records()) >= count)
        return self.records()


@contextmanager
def running_cell(
    folder: Path,
    source: SourceSettings,
    sinks: tuple[SinkSettings, ...] = (),
    broker: LocalBrokerSettings | None = None,
    labels: LabelSettings | None = None,
) -> Iterator[CellRig]:
    """A cell at the line of ``folder``; its decisions go into a file too."""
    out = folder / "decisions.jsonl"
    ours, theirs = control_pair()
    with ours:
        with theirs:
            command = [sys.executable, "-m", "edgewright.agent.cell", "--control-fd", str(theirs.fileno())]
            process = subprocess.Popen(command, pass_fds=[theirs.fileno()], cwd=folder)
        setup = Setup(
            device="robot-1",
            socket=str(folder / "cell.sock"),
            memory=str(folder / "cell-done.jsonl"),
            source=source,
            sinks=(SinkSettings("file", str(out)), *sinks),
            broker=broker or LocalBrokerSettings(),
            labels=labels or LabelSettings(),
        )
        ours.send(encode(setup))
        try:
            yield CellRig(process, ours, out)
        finally:
            process.kill()
            process.wait()
