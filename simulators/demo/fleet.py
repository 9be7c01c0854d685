"""The demo's processes: one controller, the robots' agents, the cells. Real ones, started as a user would."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from edgewright.agent.owntarget import own_facts
from edgewright.wire.errors import EnrolmentError
from edgewright.wire.matching import fits
from edgewright.wire.targets import shipped_demands
from simulators.demo.figures import PhaseCounts

_BIN: Final = Path(sys.executable).parent
END_S: Final = 10.0


class Process:
    """A child that is ended with the demo; what it prints to stderr goes to a log file."""

    def __init__(self, name: str, command: Sequence[str], log: Path, **pipes: int) -> None:
        self.name = name
        self.log = log
        # The child owns a copy of the descriptor, so ours is closed at once.
        with log.open("ab") as file:
            self.child = subprocess.Popen(
                list(command),
                stderr=file,
                stdout=pipes.get("stdout", file),
                stdin=pipes.get("stdin", subprocess.DEVNULL),
            )

    @property
    def running(self) -> bool:
        """Whether it still runs."""
        return self.child.poll() is None

    def end(self) -> None:
        """Ask it to end, and make it end."""
        if self.running:
            self.child.terminate()
        try:
            self.child.wait(END_S)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()

    def kill(self) -> None:
        """End it without asking, as a power cut would."""
        self.child.send_signal(signal.SIGKILL)
        self.child.wait()


class Cell(Process):
    """One robot's cell: its counters are the ground truth of the demo."""

    def __init__(self, robot: str, socket: Path, seed: int, rate: float, log: Path) -> None:
        command = [sys.executable, "-m", "simulators.line", "--socket", str(socket), "--robot", robot]
        command += ["--seed", str(seed), "--rate", str(rate)]
        super().__init__(robot, command, log, stdout=subprocess.PIPE, stdin=subprocess.PIPE)
        self.phases: dict[str, PhaseCounts] = {}
        self._reader = threading.Thread(target=self._read, name=f"cell {robot}", daemon=True)
        self._reader.start()

    def say(self, **order: object) -> None:
        """Send the cell an order, for example ``phase="drifted"``."""
        if self.child.stdin is not None and self.running:
            with contextlib.suppress(BrokenPipeError):
                self.child.stdin.write(msgspec.json.encode(order) + b"\n")
                self.child.stdin.flush()

    def end(self) -> None:
        """Let it count its last frames, then end it."""
        self.say(stop=True)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.child.wait(END_S)
        super().end()
        self._reader.join(END_S)

    def _read(self) -> None:
        for line in self.child.stdout or ():
            with contextlib.suppress(msgspec.DecodeError, KeyError):
                said = msgspec.json.decode(line)
                self.phases[said["phase"]] = msgspec.convert(said, PhaseCounts)


def start_controller(data: Path, log: Path) -> Process:
    """``edgewright up`` on a folder, on free ports."""
    return Process("controller", [str(_BIN / "edgewright"), "up", "--data", str(data), "--port", "0"], log)


def start_agent(folder: Path, log: Path) -> Process:
    """``edgewright-agent run`` of an enrolled device."""
    command = [str(_BIN / "edgewright-agent"), "run", "--config", str(folder / "agent.toml")]
    return Process(folder.name, command, log)


def configure(folder: Path, **line: float) -> None:
    """Add a ``[line]`` table to an enrolled agent's configuration, as a person would with an editor."""
    with (folder / "agent.toml").open("a") as file:
        file.write("\n[line]\n" + "".join(f"{key} = {value}\n" for key, value in line.items()))


def enrol(folder: Path, url: str, token: str, target: str, tags: Mapping[str, str]) -> None:
    """``edgewright-agent enroll``, the token in the environment, where no process list shows it.

    Raises:
        EnrolmentError: the agent said no.
    """
    command = [str(_BIN / "edgewright-agent"), "enroll", "--controller", url, "--device", folder.name]
    command += ["--target", target, "--data", str(folder)]
    for key, value in tags.items():
        command += ["--tag", f"{key}={value}"]
    environment = {**os.environ, "EDGEWRIGHT_TOKEN": token}
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    if answer.returncode:
        raise EnrolmentError(f"{folder.name} could not enrol: {answer.stderr.strip()}")
    _play(folder, target)


def _play(folder: Path, target: str) -> None:
    """Let a robot say that its machine is what its target asks for, where this one is not: it plays one."""
    demands = shipped_demands().get(target)
    if demands is None or fits(demands, own_facts()).ok:
        return
    with (folder / "agent.toml").open("a") as file:
        file.write(f"\n[machine]\narchitecture = {json.dumps(demands.machine)}\n")
        file.write(f"cpu = {json.dumps(demands.cpu)}\n")


def start_push(model: Path, data: Path, log: Path) -> Process:
    """``edgewright push`` with a rollout to the whole fleet."""
    command = [str(_BIN / "edgewright"), "push", str(model), "--data", str(data), "--rollout"]
    return Process("push", command, log)
