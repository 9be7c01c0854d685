"""The cell as a process, against a tiny line in the test that answers, is silent, or goes away."""

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgewright.wire.cell import Decision, Frame, Inbox, Outcome, encode

ROOT = Path(__file__).parents[2]
LIMIT_S = 30.0
"""A guard against a hang, not a promise."""


class TinyLine:
    """Listens at a cell socket and answers every frame with one label while `answers` is set."""

    def __init__(self, path: Path) -> None:
        self.answers = True
        self.frames: list[str] = []
        self.outcomes: list[Outcome] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(1)
        self._connection: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def hang_up(self) -> None:
        """Close the connection; the cell may come again."""
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self.hang_up()
        self._thread.join(LIMIT_S)
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._connection, _ = self._listener.accept()
                with self._connection, contextlib.suppress(OSError):
                    self._talk(self._connection)

    def _talk(self, connection: socket.socket) -> None:
        inbox = Inbox()
        while data := connection.recv(65_536):
            for message in inbox.feed(data):
                if isinstance(message, Outcome):
                    self.outcomes.append(message)
                elif isinstance(message, Frame):
                    self.frames.append(message.item)
                    if self.answers:
                        connection.sendall(encode(_shirt(message)))


def _shirt(frame: Frame) -> Decision:
    return Decision(item=frame.item, label="Shirt", confidence=1.0, source="active", version=3)


class CellProcess:
    """The real process, and the last report of each phase."""

    def __init__(self, path: Path) -> None:
        command = [
            sys.executable,
            "-m",
            "simulators.line",
            "--socket",
            str(path),
            "--seed",
            "5",
            "--robot",
            "r1",
        ]
        command += [
            "--rate",
            "50",
            "--scanner-share",
            "1.0",
            "--scanner-delay",
            "0.2",
            "--deadline-ms",
            "300",
        ]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def order(self, **order: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def stop(self) -> dict[str, dict[str, Any]]:
        """Stop it and return what it said last of each phase."""
        said, _ = self.process.communicate(json.dumps({"stop": True}) + "\n", timeout=LIMIT_S)
        assert self.process.returncode == 0
        reports = [json.loads(line) for line in said.splitlines()]
        return {report["phase"]: report for report in reports}


@pytest.fixture
def line(tmp_path: Path) -> Iterator[TinyLine]:
    """A line that answers."""
    tiny = TinyLine(tmp_path / "cell.sock")
    yield tiny
    tiny.close()


@pytest.fixture
def cell(tmp_path: Path) -> Iterator[CellProcess]:
    """A cell that connects to it."""
    process = CellProcess(tmp_path / "cell.sock")
    yield process
    process.process.kill()
    process.process.wait(LIMIT_S)


def _wait_for_frames(line: TinyLine, count: int) -> None:
    until = time.monotonic() + LIMIT_S
    while len(line.frames) < count:
        assert time.monotonic() < until, f"{len(line.frames)} frames came, not {count}"
        time.sleep(0.01)


def test_cell_counts_what_a_line_decides(line: TinyLine, cell: CellProcess) -> None:
    """Each frame that is answered is decided, shirts are right, and both phases have their own counters."""
    _wait_for_frames(line, 20)
    cell.order(phase="drifted")
    _wait_for_frames(line, 60)
    reports = cell.stop()
    assert set(reports) == {"before", "drifted"}
    assert sum(report["decided"] + report["dropped"] for report in reports.values()) == len(line.frames)
    for report in reports.values():
        assert report["robot"] == "r1"
        assert report["sent"] == report["decided"] + report["dropped"]
        assert 0 < report["mispacked"] <= report["decided"]
        counts = {"decided": report["decided"], "mispacked": report["mispacked"]}
        assert report["by_version"] == {"3": counts}
    assert sum(report["labelled"] for report in reports.values()) >= len(line.outcomes) > 0


def test_silence_is_dropped_frames(line: TinyLine, cell: CellProcess) -> None:
    """Every frame that the line leaves without a decision counts as dropped."""
    line.answers = False
    _wait_for_frames(line, 15)
    report = cell.stop()["before"]
    assert report["decided"] == 0
    assert report["dropped"] == report["sent"] >= 15


def test_cell_comes_back_after_the_line_restarts(line: TinyLine, cell: CellProcess) -> None:
    """After a hang-up the cell connects again, and the frames after it are decided."""
    _wait_for_frames(line, 10)
    line.hang_up()
    _wait_for_frames(line, 40)
    report = cell.stop()["before"]
    assert report["decided"] >= 30
    assert report["sent"] == report["decided"] + report["dropped"]


def test_end_of_stdin_stops_the_cell(line: TinyLine, cell: CellProcess) -> None:
    """The cell does not outlive whoever started it."""
    _wait_for_frames(line, 1)
    assert cell.process.stdin is not None
    cell.process.stdin.close()
    assert cell.process.wait(LIMIT_S) == 0
