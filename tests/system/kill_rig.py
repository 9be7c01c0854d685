"""A device whose processes are killed: a real agent, and a cell that checks each answer."""

import contextlib
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np

from edgewright.agent.database import Database
from edgewright.agent.journal import Deployment, Journal
from edgewright.wire.cell import Decision, Frame, Inbox
from edgewright.wire.cell import encode as encode_cell
from edgewright.wire.deployment import FINISHED, State
from tests.agent.agent_rig import AgentRig, ControllerHand
from tests.agent.tiny_models import FRAME_PX, LABELS, classify, grey_frame
from tests.contract.brokers import Broker
from tests.system.chunk_meter import ChunkMeter
from tests.system.kill_plans import Victim

FRAME_S: Final = 0.03
ANSWER_S: Final = 5.0
LOOK_S: Final = 0.0005
"""Between two looks into the journal: some states last no longer than a commit."""

DARK, GREY, BRIGHT = 10, 128, 250

_MODULES: Final = {
    b"edgewright.agent.line": Victim.LINE,
    b"edgewright.agent.verifier": Victim.VERIFIER,
}


def labels_of(version: int) -> tuple[str, ...]:
    """Labels of a version's classes: each third one has them in the same order.

    >>> labels_of(3), labels_of(4)
    (('dark', 'grey', 'bright'), ('grey', 'bright', 'dark'))
    """
    turn = version % len(LABELS)
    return LABELS[turn:] + LABELS[:turn]


class CheckingCell:
    """Sends frames of three brightnesses, connects again when the line is gone, and checks each decision.

    Attributes:
        levels: grey levels that are shown in turn.
        sources: how many decisions came from where.
        wrong: decisions that are not what the named model computes.
        newest: the last decision of a model, and when it came.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.levels: tuple[int, ...] = (DARK, GREY, BRIGHT)
        self.sources: Counter[str] = Counter()
        self.wrong: list[tuple[int, Decision]] = []
        self.newest: tuple[float, Decision] | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="checking cell")
        self._thread.start()

    def stop(self) -> None:
        """Show no more."""
        self._stopping.set()
        self._thread.join()

    def decided_since(self, moment: float) -> int:
        """Version of the newest decision that a model made since a moment (monotonic); 0 for none."""
        newest = self.newest
        return newest[1].version if newest and newest[0] >= moment else 0

    def _run(self) -> None:
        while not self._stopping.wait(FRAME_S):
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
                line.settimeout(ANSWER_S)
                line.connect(str(self._path))
                self._show(line)

    def _show(self, line: socket.socket) -> None:
        inbox, number = Inbox(), 0
        while not self._stopping.wait(FRAME_S):
            levels = self.levels
            level = levels[number % len(levels)]
            number += 1
            pixels = grey_frame(level).tobytes()
            shape = (FRAME_PX, FRAME_PX, 3)
            asked = time.monotonic()
            line.sendall(encode_cell(Frame(item=str(number), deadline_ms=2000, shape=shape, pixels=pixels)))
            while not (answers := inbox.feed(data := line.recv(65536))):
                if not data:
                    return
            for answer in answers:
                assert isinstance(answer, Decision)
                self._check(level, answer, asked)

    def _check(self, level: int, decision: Decision, asked: float) -> None:
        self.sources[decision.source] += 1
        if decision.source == "fallback":
            return
        logits = classify(np.array([level / 255], np.float32))[0]
        if decision.label != labels_of(decision.version)[int(logits.argmax())]:
            self.wrong.append((level, decision))
        else:
            self.newest = (asked, decision)


class KilledAgent(AgentRig):
    """An agent behind a meter, whose processes are killed by their parts."""

    def __init__(self, folder: Path, broker: Broker, controller: ControllerHand, meter: ChunkMeter) -> None:
        super().__init__(folder, broker, controller.simulator, controller.device_key)
        told = self.config.read_text()
        self.config.write_text(told.replace(f"port = {broker.port}", f"port = {meter.port}"))

    def kill(self, victim: Victim, known: list[int]) -> bool:
        """SIGKILL a part; False where it does not run now. ``known`` children are hit at one moment."""
        assert self.process is not None
        if victim is Victim.SUPERVISOR:
            self.signal(signal.SIGKILL)
            return True
        if victim is Victim.POWER:
            for pid in (self.process.pid, *known):
                _kill(pid)
            self.stop()
            return True
        found = [pid for pid in self.children() if _part(pid) is victim]
        for pid in found[:1]:
            _kill(pid)
        return bool(found)

    def newest(self, version: int, after: int) -> Deployment | None:
        """The newest deployment of a version whose number is larger than one, read beside the agent."""
        with self._journal() as journal:
            return _newest(journal, version, after)

    def state_of(self, version: int, after: int) -> State | None:
        """Where it stands; see ``newest``."""
        found = self.newest(version, after)
        return found.state if found else None

    def wait_state(self, version: int, after: int, state: State, until: float) -> None:
        """Wait until it stands in a state, or is over; see ``newest``."""
        assert reached(lambda: self.newest(version, after) is not None, until, 0.005), "it was not accepted"
        found = self.newest(version, after)
        assert found is not None, "deployments stay"
        database = Database(self.folder / "agent.db", read_only=True)
        try:
            while time.monotonic() < until:
                query = "SELECT state FROM deployments WHERE id = ?"
                now = State(database.connection.execute(query, (found.id,)).fetchone()[0])
                if now is state or now in FINISHED:
                    return
                time.sleep(LOOK_S)
        finally:
            database.close()

    def wait_end(self, version: int, after: int, until: float) -> Deployment | None:
        """Wait until it is over; None where it is not in time; see ``newest``."""
        while time.monotonic() < until:
            found = self.newest(version, after)
            if found and found.finished:
                return found
            time.sleep(0.02)
        return None

    def is_sound(self) -> str:
        """The stream of the outbox, of a database that has no fault in it."""
        database = Database(self.folder / "agent.db", read_only=True)
        try:
            (said,) = database.connection.execute("PRAGMA quick_check").fetchone()
            assert said == "ok", said
            (stream,) = database.connection.execute("SELECT stream FROM outbox").fetchone()
            return str(stream)
        finally:
            database.close()

    @contextlib.contextmanager
    def _journal(self) -> Iterator[Journal]:
        database = Database(self.folder / "agent.db", read_only=True)
        try:
            yield Journal(database)
        finally:
            database.close()


def _newest(journal: Journal, version: int, after: int) -> Deployment | None:
    found = (one for one in journal.deployments(4) if one.id > after and one.release.version == version)
    return next(found, None)


def reached(condition: Callable[[], bool], until: float, look_s: float = 0.02) -> bool:
    """Poll until a condition holds or a moment (monotonic) has come."""
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(look_s)
    return True


def _part(pid: int) -> Victim | None:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return None
    if b"edgewright.agent.runner" in words:
        return Victim.QUALIFICATION if b"qualify" in words else Victim.RUNNER
    return next((part for module, part in _MODULES.items() if module in words), None)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
