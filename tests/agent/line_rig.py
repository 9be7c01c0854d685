"""A real line process with both its peers played by the test: the supervisor and the machine."""

import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import TypeVar

from edgewright.agent.control import (
    MAX_CONTROL_BYTES,
    Down,
    Load,
    Loaded,
    News,
    Proven,
    Ready,
    SlotName,
    Swap,
    Taken,
    Up,
    connect_to,
    decode_up,
    encode,
    listen_at,
)
from edgewright.wire.cell import Decision, Frame, Inbox, Outcome
from edgewright.wire.cell import encode as encode_cell
from tests.agent.tiny_models import FRAME_PX, Release, grey_frame

PATIENCE_S = 20.0
_T = TypeVar("_T")


class LineRig:
    """Talks to one line process; ``seen`` holds everything that it said, and ``acknowledges`` its news."""

    def __init__(self, process: subprocess.Popen[bytes], control: socket.socket, cell_path: Path) -> None:
        self.process = process
        self.control = control
        self.cell_path = cell_path
        self.seen: list[Up] = []
        self.cell: socket.socket | None = None
        self.acknowledges = True
        self._inbox = Inbox()
        self._decisions: deque[Decision] = deque()

    def order(self, order: Down) -> None:
        """Send an order."""
        self.control.send(encode(order))

    def expect(self, kind: type[_T], timeout_s: float = PATIENCE_S) -> _T:
        """The next message of a kind; what comes before it is kept in ``seen``."""
        end = monotonic() + timeout_s
        while (left := end - monotonic()) > 0:
            self.control.settimeout(left)
            message = self._hear(self.control.recv(MAX_CONTROL_BYTES))
            if isinstance(message, kind):
                return message
        raise AssertionError(f"no {kind.__name__} came; seen: {self.seen}")

    def drain(self) -> list[Up]:
        """Everything that has come until now, since the rig began."""
        self.control.settimeout(0)
        while True:
            try:
                data = self.control.recv(MAX_CONTROL_BYTES)
            except BlockingIOError:
                return self.seen
            if not data:
                return self.seen
            self._hear(data)

    def _hear(self, data: bytes) -> Up:
        message = decode_up(data)
        self.seen.append(message)
        if self.acknowledges and isinstance(message, News):
            with suppress(OSError):  # A line that has ended needs no answer.
                self.order(Taken(message.number))
        return message

    def saw(self, kind: type[_T]) -> list[_T]:
        """All messages of a kind until now."""
        return [message for message in self.drain() if isinstance(message, kind)]

    def adopt(self) -> Ready:
        """Connect as the next supervisor, in the place of the one before."""
        self.control.close()
        self.control = connect_to(self.cell_path.with_name("line.sock"))
        return self.expect(Ready)

    def load(self, slot: SlotName, release: Release) -> Loaded:
        """Load a slot and wait for the answer."""
        self.order(Load(slot, str(release.manifest_path), str(release.artifact_path), digest=release.digest))
        return self.expect(Loaded)

    def run(self, slot: SlotName, release: Release) -> None:
        """Load a slot and make it active without a probation."""
        assert self.load(slot, release).ok
        self.order(Swap(slot, 0))
        self.expect(Proven)

    def connect(self) -> None:
        """Connect as the machine."""
        self.cell = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.cell.settimeout(PATIENCE_S)
        self.cell.connect(str(self.cell_path))
        self._inbox = Inbox()
        self._decisions.clear()

    def send_frame(
        self, item: str, level: int, deadline_ms: float = 1000.0, safe: bool = True, tag: str = ""
    ) -> None:
        """Send a frame of one grey level."""
        assert self.cell is not None
        pixels = grey_frame(level).tobytes()
        shape = (FRAME_PX, FRAME_PX, 3)
        frame = Frame(item=item, deadline_ms=deadline_ms, shape=shape, pixels=pixels, tag=tag, safe=safe)
        self.cell.sendall(encode_cell(frame))

    def send_raw(self, frame: Frame | Outcome) -> None:
        """Send any message as the machine."""
        assert self.cell is not None
        self.cell.sendall(encode_cell(frame))

    def decision(self) -> Decision:
        """The next decision."""
        assert self.cell is not None
        while not self._decisions:
            data = self.cell.recv(65536)
            assert data, "the line closed the connection"
            self._decisions += [
                message for message in self._inbox.feed(data) if isinstance(message, Decision)
            ]
        return self._decisions.popleft()

    def ask(
        self, item: str, level: int, deadline_ms: float = 1000.0, safe: bool = True, tag: str = ""
    ) -> Decision:
        """Send a frame and wait for its decision."""
        self.send_frame(item, level, deadline_ms, safe, tag)
        decision = self.decision()
        assert decision.item == item
        return decision

    def runner_pids(self) -> dict[int, str]:
        """Living runners of the line: process id to the artifact's path."""
        pids: dict[int, str] = {}
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        for pid in map(int, children.split()):
            try:
                arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
            except FileNotFoundError:
                continue
            if "--artifact" in arguments:
                pids[pid] = arguments[arguments.index("--artifact") + 1]
        return pids

    def runner_of(self, release: Release) -> int:
        """Process id of the runner that holds a release."""
        return self.wait_for(
            lambda: next((p for p, a in self.runner_pids().items() if a == str(release.artifact_path)), 0)
        )

    def signal_runner(self, release: Release, number: signal.Signals) -> int:
        """Send a signal to the runner of a release and return its process id."""
        pid = self.runner_of(release)
        os.kill(pid, number)
        return pid

    @staticmethod
    def wait_for(condition: Callable[[], _T], timeout_s: float = PATIENCE_S) -> _T:
        """Poll until a condition holds."""
        end = monotonic() + timeout_s
        while not (value := condition()):
            assert monotonic() < end, "the condition did not come about"
            sleep(0.01)
        return value


@contextmanager
def running_line(
    folder: Path, window_seconds: float = 60.0, capture_share: float = 0.0, more: Sequence[str] = ()
) -> Iterator[LineRig]:
    """A line process that has said Ready; it is gone afterwards. ``more`` are words of its command."""
    cell_path, control_path = folder / "cell.sock", folder / "line.sock"
    options = {
        "--cell-socket": cell_path,
        "--window-seconds": window_seconds,
        "--capture-share": capture_share,
        "--device": "robot-1",
    }
    words = [str(word) for pair in options.items() for word in pair] + list(more)
    with listen_at(control_path) as listener:
        process = subprocess.Popen(
            [sys.executable, "-m", "edgewright.agent.line", *words], stdin=listener.fileno()
        )
        rig = LineRig(process, connect_to(control_path), cell_path)
    try:
        assert rig.expect(Ready).pid == process.pid
        yield rig
    finally:
        process.kill()
        process.wait()
        rig.control.close()
        if rig.cell is not None:
            rig.cell.close()
