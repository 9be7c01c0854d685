"""The line's process, as the supervisor sees it: found running, or started.

The line outlives this process. A supervisor that starts looks for one at the control socket first: where it
was started with these very settings it is adopted, with whatever it holds; where it was started with others,
or by another version of the agent, it is ended and another one started. An adopted line is no child: its end
is seen at the socket and in /proc.
"""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from edgewright.agent import control
from edgewright.agent.childprocess import STOP_SECONDS, ChildProcess, Running
from edgewright.agent.footprint import installed_version
from edgewright.agent.settings import Settings
from edgewright.wire.errors import MalformedMessageError

CLOSING_SECONDS: Final = 0.1
"""How long a line that has closed its connection may take to end, before it counts as one that goes on."""

_LOOK_SECONDS: Final = 0.02
_UNKNOWN_STATUS: Final = 0
"""Only a parent learns how a process ended."""

log = logging.getLogger(__name__)


def line_command(settings: Settings) -> list[str]:
    """How the line is started."""
    return [
        sys.executable,
        "-m",
        "edgewright.agent.line",
        "--cell-socket",
        str(settings.cell_socket),
        "--window-seconds",
        str(settings.line.window_seconds),
        "--capture-share",
        str(settings.line.capture_share),
        f"--capture={msgspec.json.encode(settings.capture).decode()}",
        f"--label-memory-mb={settings.labels.memory_mb}",
        "--state",
        str(settings.folder),
        "--samples",
        str(settings.samples),
        "--device",
        settings.device,
        f"--agent={installed_version('edgewright-agent')}",
        "--interlock",
        settings.interlock.kind,
        f"--interlock-place={settings.interlock.place}",
        f"--interlock-safe={settings.interlock.safe}",
        "--local-broker",
        f"{settings.local_broker.host}:{settings.local_broker.port}",
        *(
            argument
            for key, python in sorted(settings.runtime.environments.items())
            for argument in ("--environment", f"{key}={python}")
        ),
    ]


class AdoptedLine:
    """A line that another supervisor had started.

    Args:
        pid: its process id; the kernel may give it to another process once it has ended.
        command: its command line, by which it is told from such another process.
    """

    def __init__(self, pid: int, command: Sequence[str]) -> None:
        self.pid, self._command = pid, list(command)

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return command_of(self.pid) == self._command

    def kill(self) -> None:
        """End it, whatever it does."""
        if self.alive:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; how it ended is not known.

        Raises:
            subprocess.TimeoutExpired: it goes on.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while self.alive:
            if end is not None and time.monotonic() > end:
                raise subprocess.TimeoutExpired(self._command, timeout or 0.0)
            time.sleep(_LOOK_SECONDS)
        return _UNKNOWN_STATUS


class LineProcess(ChildProcess[control.Up, control.Down]):
    """One line at a time.

    Args:
        path: of the control socket.
        command: how a line is started.
        said, ended: see ``ChildProcess``.
        left: takes the name and the last news of a line that was replaced; called by ``start``.
    """

    title = "line"

    def __init__(
        self,
        path: Path,
        command: Sequence[str],
        said: Callable[[control.Up], None],
        ended: Callable[[], None],
        left: Callable[[str, list[control.News]], None] = lambda _name, _news: None,
    ) -> None:
        super().__init__(lambda _descriptor: command, said, ended)
        self._path, self._words, self._left = path, list(command), left

    @property
    def adopted(self) -> bool:
        """Whether the line outlived an agent, and so did its models."""
        return isinstance(self._process, AdoptedLine)

    def begin(self) -> tuple[socket.socket, Running]:
        """The line that runs, or a new one."""
        return self._adopted() or self._new()

    def encode(self, order: control.Down) -> bytes:
        """See ``control``."""
        return control.encode(order)

    def decode(self, data: bytes) -> control.Up | None:
        """See ``control``; a heartbeat says no more than that the line's loop turns."""
        message = control.decode_up(data)
        return None if isinstance(message, control.Heartbeat) else message

    def farewell(self) -> control.Down:
        """The line sends its open windows and ends."""
        return control.Stop()

    def connect_again(self, process: Running) -> socket.socket | None:
        """Whoever else connects takes this agent's place at the line; one that lives is no worse for it."""
        with suppress(subprocess.TimeoutExpired, OSError):
            process.wait(CLOSING_SECONDS)
            return None
        try:
            ours = control.connect_to(self._path)
        except OSError:
            return None
        if control.peer_of(ours)[0] == process.pid:
            log.warning("Somebody else has connected to the line; it is connected again.")
            return ours
        ours.close()
        return None

    def _adopted(self) -> tuple[socket.socket, Running] | None:
        try:
            ours = control.connect_to(self._path)
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        except BlockingIOError:
            self._kill_standing()
            return None
        pid, _ = control.peer_of(ours)
        command = command_of(pid)
        if command == self._words:
            log.info("The line that runs as process %d is adopted.", pid)
            return ours, AdoptedLine(pid, command)
        with ours:
            if "edgewright.agent.line" in command:
                log.info("The line that runs as process %d has other settings and is replaced.", pid)
                self._left(*_end(ours, AdoptedLine(pid, command)))
        return None

    def _kill_standing(self) -> None:
        """End a line that stands still: those who connected before wait for it, and nobody else can."""
        cell_socket = self._words[self._words.index("--cell-socket") + 1]
        for entry in Path("/proc").iterdir():
            command = command_of(int(entry.name)) if entry.name.isdecimal() else []
            if "edgewright.agent.line" in command and cell_socket in command:
                log.warning("The line that runs as process %s stands still and is replaced.", entry.name)
                line = AdoptedLine(int(entry.name), command)
                line.kill()
                line.wait(STOP_SECONDS)

    def _new(self) -> tuple[socket.socket, Running]:
        """Start a line. It is in a session of its own: what ends a terminal's programs does not end it."""
        with control.listen_at(self._path) as listener:
            ours = control.connect_to(self._path)
            known = os.environ | {control.INODE_VARIABLE: str(self._path.stat().st_ino)}
            try:
                child = subprocess.Popen(
                    self._words, stdin=listener.fileno(), env=known, start_new_session=True
                )
            except OSError:
                ours.close()
                raise
        return ours, child


def command_of(pid: int) -> list[str]:
    """A process's command line; empty where there is none."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []
    return [os.fsdecode(word) for word in words[:-1]]


def _end(ours: socket.socket, line: AdoptedLine) -> tuple[str, list[control.News]]:
    """End a line; its name, and the news that it had still to tell."""
    name, news = "", []
    end = time.monotonic() + STOP_SECONDS
    with suppress(OSError):
        ours.send(control.encode(control.Stop()))
        while (left := end - time.monotonic()) > 0:
            ours.settimeout(left)
            if not (data := ours.recv(control.MAX_CONTROL_BYTES + 1)):
                break
            with suppress(MalformedMessageError):  # Of another version: what can be understood is taken.
                message = control.decode_up(data)
                if isinstance(message, control.Ready):
                    name = message.line
                elif isinstance(message, control.News):
                    news.append(message)
    try:
        line.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        line.kill()
        line.wait()
    return name, news
