"""The image as a board: booted by systemd in a container, enrolled from its boot partition, deciding, broken.

    .venv/bin/python -m tests.system.board_run images/edgewright-debian-bookworm-amd64.tar

Needs root and Debian's systemd-container. The container has the image's own file system, users, units and
processes; kernel and network are this machine's: nothing leaves the loopback. It prints a line a finding and
ends with 1 where one is not as it should be.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import psutil

from edgewright.controller.datadir import read_endpoint
from simulators.demo.fleet import Cell
from tests.system.plant import Plant

BOARD: Final = "board-1"
TARGET: Final = "x86_64-ort-cpu"
AGENT_DATA: Final = Path("var/lib/edgewright")
UNIT: Final = "edgewright-agent.service"
BOOT_S: Final = 180.0
FRAMES_A_SECOND: Final = 20.0
LEAST_GOOD: Final = 10
"""Findings of a doctor that has looked at everything."""


class Board:
    """The booted image.

    Args:
        tree: its root file system, which it changes.
        log: where its console goes.
    """

    def __init__(self, tree: Path, log: Path) -> None:
        self.tree = tree
        command = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--boot", "-D", str(tree)]
        with log.open("ab") as file:
            self._container = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
            )

    def processes(self, word: str) -> list[psutil.Process]:
        """Its processes that have a word on their command line."""
        found = []
        for process in psutil.Process(self._container.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if any(word in part for part in process.cmdline()):
                    found.append(process)
        return found

    @property
    def alive(self) -> bool:
        """Whether the container runs: a dead one has no process of the agent's either."""
        return self._container.poll() is None

    def run(self, *command: str) -> str:
        """What a program in it prints, and how it ended where that was not with 0."""
        inits = [p for p in psutil.Process(self._container.pid).children() if p.name() == "systemd"]
        return self._enter(inits[0], command)

    def run_as(self, process: psutil.Process, *command: str) -> str:
        """The same as a process's user, with the file system that its unit gives it."""
        user = ["--setuid", str(process.uids().real), "--setgid", str(process.gids().real)]
        return self._enter(process, command, *user)

    def _enter(self, process: psutil.Process, command: tuple[str, ...], *options: str) -> str:
        entering = ["nsenter", "--target", str(process.pid), "--mount", "--pid", "--ipc", "--uts", *options]
        done = subprocess.run([*entering, *command], capture_output=True, text=True, timeout=60, check=False)
        ended = f"\nBAD  exit status {done.returncode}: {done.stderr.strip()}" if done.returncode else ""
        return f"{done.stdout.strip()}{ended}".strip()

    def end(self) -> None:
        """Shut it down as its power button would."""
        self._container.send_signal(signal.SIGTERM)
        try:
            self._container.wait(60)
        except subprocess.TimeoutExpired:
            self._container.kill()
            self._container.wait()


class Findings:
    """What was seen, line by line."""

    def __init__(self) -> None:
        self.bad = 0

    def note(self, said: str, *, ok: bool) -> None:
        """Tell one finding."""
        self.bad += not ok
        sys.stdout.write(f"{'good' if ok else 'BAD '}  {said}\n")
        sys.stdout.flush()

    def wait(self, what: str, come: Callable[[], bool], limit_s: float = BOOT_S) -> bool:
        """Wait until something is so, and tell how long it took."""
        began = time.monotonic()
        while not (came := come()) and time.monotonic() - began < limit_s:
            time.sleep(0.2)
        self.note(f"{what}: {time.monotonic() - began:.1f} s", ok=came)
        return came


def main() -> int:
    """Boot the image that is named, and look."""
    if len(sys.argv) != 2 or os.geteuid() != 0:
        sys.stderr.write("usage, as root: python -m tests.system.board_run IMAGE.tar\n")
        return 2
    findings = Findings()
    with tempfile.TemporaryDirectory(prefix="ew") as name, _plant(Path(name) / "plant") as plant:
        tree = Path(name) / "tree"
        tree.mkdir()
        subprocess.run(["tar", "--extract", "--file", sys.argv[1], "--directory", str(tree)], check=True)
        _put_boot_file(tree, plant)
        board = Board(tree, plant.logs / "board.log")
        try:
            look(board, plant, findings)
        finally:
            _show(board)
            board.end()
    return min(findings.bad, 1)


def look(board: Board, plant: Plant, findings: Findings) -> None:
    """Everything that a board has to do in its first minutes."""
    if not findings.wait("enrolled at first boot, from the boot partition", lambda: _known(plant)):
        return
    findings.wait(
        "token removed from the boot partition", lambda: not (board.tree / "boot/edgewright.toml").exists()
    )
    findings.wait("unit active, so that systemd heard READY", lambda: _is(board, "ActiveState", "active"))
    version = plant.push()
    findings.wait(f"version {version} runs and is committed", lambda: plant.runs(version, BOARD))
    cell = Cell(BOARD, board.tree / AGENT_DATA / "cell.sock", 7, FRAMES_A_SECOND, plant.logs / "cell.log")
    try:
        findings.wait("a hundred frames decided", lambda: _frames(cell) >= 100)
        _kill_supervisor(board, cell, findings)
    finally:
        cell.end()
    (supervisor,) = board.processes("edgewright-agent")
    doctor = ["/opt/edgewright/bin/edgewright-agent", "doctor", "--config", f"/{AGENT_DATA}/agent.toml"]
    said = board.run_as(supervisor, *doctor).splitlines()
    good = sum(line.startswith("good ") for line in said)
    bad = sum(line.startswith("BAD ") for line in said)
    findings.note(f"doctor: {good} good, {bad} bad", ok=good >= LEAST_GOOD and not bad)
    score = board.run("systemd-analyze", "security", "--no-pager", UNIT).splitlines()[-1]
    findings.note(score.strip(" →"), ok="UNSAFE" not in score)
    journal = board.run("journalctl", "--no-pager", "--output=json", "--unit", UNIT, "--lines=1")
    findings.note("the journal has the agent's lines, with a priority", ok='"PRIORITY"' in journal)
    board.run("systemctl", "stop", UNIT)
    stopped = board.alive and _is(board, "ActiveState", "inactive")
    findings.note("a stop leaves no process of it", ok=stopped and not _processes_of_it(board))


def _processes_of_it(board: Board) -> list[psutil.Process]:
    return [*board.processes("edgewright.agent"), *board.processes("edgewright-agent")]


def _kill_supervisor(board: Board, cell: Cell, findings: Findings) -> None:
    """Kill what has the unit's main process id; frames go on, and systemd starts another."""
    (supervisor,) = board.processes("edgewright-agent")
    before = _frames(cell)
    supervisor.kill()
    findings.wait(
        "a supervisor runs again after SIGKILL", lambda: bool(board.processes("edgewright-agent")), 30
    )
    findings.wait("frames go on meanwhile", lambda: _frames(cell) > before + 20, 30)
    fallbacks = sum(phase.fallback for phase in cell.phases.values())
    findings.note(f"{fallbacks} frames without a model's decision since the first", ok=fallbacks == 0)


def _frames(cell: Cell) -> int:
    return sum(phase.decided for phase in cell.phases.values())


def _known(plant: Plant) -> bool:
    return BOARD in [device["id"] for device in plant.get("/devices")]


def _is(board: Board, name: str, value: str) -> bool:
    return board.run("systemctl", "show", "--value", "--property", name, UNIT) == value


def _put_boot_file(tree: Path, plant: Plant) -> None:
    token = plant.post("/tokens", {})["token"]
    lines = {"controller": read_endpoint(plant.data).door, "token": token, "device": BOARD, "target": TARGET}
    text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in lines.items())
    (tree / "boot/edgewright.toml").write_text(text + '[tags]\nline = "a"\n[line]\nwindow_seconds = 2.0\n')
    (tree / "boot/edgewright.toml").chmod(0o600)


@contextlib.contextmanager
def _plant(folder: Path) -> Iterator[Plant]:
    plant = Plant(folder)
    try:
        yield plant
    finally:
        plant.close()


def _show(board: Board) -> None:
    """The agent's last words, for whoever has to find out."""
    sys.stdout.write(board.run("journalctl", "--no-pager", "--unit", "edgewright-*", "--lines=15") + "\n")


if __name__ == "__main__":
    sys.exit(main())
