"""A cell at a steady rate over a real agent whose models are swapped and whose processes are killed."""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random
from time import monotonic, sleep
from typing import Literal, NamedTuple

from edgewright.wire.cell import Decision, Frame, Inbox
from edgewright.wire.cell import encode as encode_cell
from edgewright.wire.deployment import State
from edgewright.wire.messages import Report
from tests.agent.agent_rig import AgentRig, ControllerHand, wait_for
from tests.agent.tiny_models import FRAME_PX, grey_frame

FRAMES_PER_S = 30.0
DEADLINE_MS = 100.0
LAST_ANSWERS_S = 3.0
NEAR_S = 1.0
"""Frames so long before and after the first decision of a new version count as those of its swap."""

_PIXELS = grey_frame(250).tobytes()
Victim = Literal["runner", "supervisor"]


class Answer(NamedTuple):
    """A decision and when it came, monotonic seconds."""

    at: float
    decision: Decision


class SteadyCell:
    """Sends frames at a steady rate, whatever is answered; every answer is kept.

    Attributes:
        sent: when each item was sent.
        answers: what came for each item, in order.
    """

    def __init__(self, path: Path) -> None:
        self.sent: dict[str, float] = {}
        self.answers: dict[str, list[Answer]] = {}
        self.version = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(str(path))
        self._stopping = threading.Event()
        self._sending = threading.Thread(target=self._send, name="cell sends")
        self._hearing = threading.Thread(target=self._hear, name="cell hears")

    def start(self) -> None:
        """Begin."""
        self._sending.start()
        self._hearing.start()

    def stop(self) -> None:
        """Send no more, and wait for what is still to come."""
        self._stopping.set()
        self._sending.join()
        end = monotonic() + LAST_ANSWERS_S
        while len(self.answers) < len(self.sent) and monotonic() < end:
            sleep(0.02)
        self._socket.shutdown(socket.SHUT_RDWR)
        self._hearing.join()
        self._socket.close()

    @property
    def unanswered(self) -> list[str]:
        """Items without a decision."""
        return [item for item in self.sent if item not in self.answers]

    @property
    def answered_twice(self) -> list[str]:
        """Items with more than one decision."""
        return [item for item, answers in self.answers.items() if len(answers) > 1]

    def latencies_ms(self, since: float, until: float) -> list[float]:
        """From the sending of each frame to its decision, of frames sent in a time."""
        times = [(at, self.answers[item][0].at) for item, at in self.sent.items() if item in self.answers]
        return [(heard - at) * 1000 for at, heard in times if since <= at < until]

    def _send(self) -> None:
        begun = monotonic()
        with contextlib.suppress(OSError):
            while not self._stopping.wait(max(0.0, begun + len(self.sent) / FRAMES_PER_S - monotonic())):
                item = str(len(self.sent))
                frame = Frame(
                    item=item, deadline_ms=DEADLINE_MS, shape=(FRAME_PX, FRAME_PX, 3), pixels=_PIXELS
                )
                self.sent[item] = monotonic()
                self._socket.sendall(encode_cell(frame))

    def _hear(self) -> None:
        inbox = Inbox()
        with contextlib.suppress(OSError):
            while data := self._socket.recv(65536):
                now = monotonic()
                for message in inbox.feed(data):
                    if isinstance(message, Decision):
                        self.answers.setdefault(message.item, []).append(Answer(now, message))
                        self.version = message.version or self.version


class SwapRun:
    """Swaps one version after the other in, under frames, with kills at random moments.

    Attributes:
        cell: with all frames and answers.
        swapped_at: monotonic time of each new version's first decision.
        killed: whom, in order.
    """

    def __init__(self, agent: AgentRig, controller: ControllerHand, seed: int) -> None:
        self._agent, self._controller = agent, controller
        self._random = Random(seed)
        self.cell = SteadyCell(agent.folder / "cell.sock")
        self.swapped_at: list[float] = []
        self.killed: list[Victim] = []

    def swap(self, version: int, victim: Victim | None, within_s: float) -> None:
        """Roll a version out until it is committed, and kill one process at a random moment meanwhile."""
        self._controller.simulator.assign(self._controller.release(version))
        if victim is not None:
            sleep(self._random.random() * within_s)
            self._kill(victim)
        wait_for(lambda: self.cell.version == version, f"a decision of version {version}")
        self.swapped_at.append(monotonic())
        wait_for(lambda: self._committed(version), f"the commit of version {version}")

    @property
    def gaps_us(self) -> list[int]:
        """What the device reported of its swaps."""
        reports = {report.seq: report for report in self._controller.of(Report)}
        return [report.swap_gap_us for report in reports.values() if report.swap_gap_us]

    def _committed(self, version: int) -> bool:
        return any(
            report.state is State.COMMITTED and report.release and report.release.version == version
            for report in self._controller.of(Report)
        )

    def _kill(self, victim: Victim) -> None:
        self.killed.append(victim)
        if victim == "supervisor":
            self._agent.signal(signal.SIGKILL)
            self._agent.start()
            return
        runners = list(self._runners())
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._random.choice(runners), signal.SIGKILL)

    def _runners(self) -> Iterator[int]:
        for pid in self._agent.children():
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if b"edgewright.agent.runner" in words and b"serve" in words:
                    yield pid
