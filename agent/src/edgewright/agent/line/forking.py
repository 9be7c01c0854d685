"""The line's side of the zygote: it orders runners and holds what was forked as if it had started it."""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from edgewright.agent.environments import Environments, installed_runtime, python_for
from edgewright.agent.runner.ownprocess import adopt_orphans, command_fits, thread_count
from edgewright.agent.zygote import ANSWER, FORKED, Birth, run_zygote, settle
from edgewright.wire.manifest import RuntimeRange

BIRTH_WITHIN_S: Final = 20.0
"""A zygote that still imports answers late; afterwards it takes milliseconds. Less than a runner has until it
has to be warm, so that a zygote that hangs is not taken for a model that does."""

_MOMENT_S: Final = 1.0
_LOOK_S: Final = 0.0002
_GONE: Final = 0
_NEVER_BORN: Final = 1

_log = logging.getLogger(__name__)


class Zygote:
    """The running zygote, or what is left of it.

    Args:
        pid: its process id.
        connection: on which it takes orders.
        patience_s: how long it may take to fork.

    Attributes:
        patience_s: see above.
    """

    def __init__(self, pid: int, connection: socket.socket, patience_s: float) -> None:
        self._pid, self._connection = pid, connection
        self.patience_s = patience_s
        self._asked = self._answered = 0
        self._pids: dict[int, int] = {}
        self._lives = True

    @property
    def lives(self) -> bool:
        """Whether it may still answer."""
        return self._lives

    def suits(self, wanted: RuntimeRange, environments: Environments) -> bool:
        """Whether it forks runners of this runtime: the same Python would run them as programs."""
        forks = (wanted.name, wanted.provider) == (FORKED.name, FORKED.provider)
        return forks and python_for(wanted, environments) == sys.executable

    def fork(
        self, command: Sequence[str], descriptors: Sequence[int], files: tuple[Path, Path], threads: int
    ) -> "ForkedRunner | None":
        """Order a runner, without waiting for it; None where it has to be started as a program.

        Args:
            command: what its command line shows; the last option may be left out where it is too long.
            descriptors: of its socket and its memory file.
            files: paths of manifest and artifact.
            threads: of an inference.
        """
        shown = next((words for words in (command, command[:-2]) if command_fits(words)), None)
        if not self._lives or shown is None:
            return None
        birth = Birth(tuple(shown), str(files[0]), str(files[1]), threads)
        try:
            socket.send_fds(self._connection, [msgspec.msgpack.encode(birth)], descriptors)
        except OSError as error:
            self.give_up(str(error.strerror))
            return None
        self._asked += 1
        return ForkedRunner(self, self._asked)

    def pid_of(self, number: int) -> int:
        """Process id of the ``number``-th runner that was ordered, told once; 0 while it is not known."""
        while self._lives and self._answered < number:
            try:
                answer = self._connection.recv(ANSWER.size)
            except BlockingIOError:
                break
            except ConnectionError:
                answer = b""
            if not answer:
                self.give_up("it ended")
                break
            self._answered += 1
            self._pids[self._answered] = int(ANSWER.unpack(answer)[0])
        return self._pids.pop(number, _GONE)

    def give_up(self, why: str) -> None:
        """End it. Runners are programs from now on: they take more memory, and decide as before."""
        _log.warning("The zygote is given up (%s); runners start without it.", why)
        self._lives = False
        self._connection.close()
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(self._pid, 0)


class ForkedRunner:
    """A runner of the zygote's, with as much of ``subprocess.Popen`` as the line uses.

    Its parent is the line, so the line waits for it as for a process that it had started itself.
    """

    def __init__(self, zygote: Zygote, number: int) -> None:
        self._zygote, self._number = zygote, number
        self._known = _GONE
        self._doomed = False
        self._ordered_at = time.monotonic()
        self._status: int | None = None

    @property
    def pid(self) -> int:
        """Process id; 0 where none was forked within a moment."""
        until = time.monotonic() + _MOMENT_S
        while not self._pid() and self._zygote.lives and time.monotonic() < until:
            time.sleep(_LOOK_S)
        return self._known

    def kill(self) -> None:
        """End it; where its id is not known yet, as soon as that is."""
        self._doomed = True
        self.poll()

    def poll(self) -> int | None:
        """Exit status, negative for a signal; None while it runs, or is yet to be forked."""
        if self._status is not None:
            return self._status
        if pid := self._pid():
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self._status = os.waitstatus_to_exitcode(status)
            elif self._doomed:
                os.kill(pid, signal.SIGKILL)
        elif not self._zygote.lives:
            self._status = _NEVER_BORN
        elif time.monotonic() - self._ordered_at > self._zygote.patience_s:
            self._zygote.give_up("it does not answer")
        return self._status

    def wait(self, timeout: float) -> int:
        """Wait for its end; its exit status.

        Raises:
            subprocess.TimeoutExpired: it goes on.
        """
        until = time.monotonic() + timeout
        while (status := self.poll()) is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired("runner", timeout)
            time.sleep(_LOOK_S)
        return status

    def _pid(self) -> int:
        self._known = self._known or self._zygote.pid_of(self._number)
        return self._known


def begin_zygote(
    command: Sequence[str], environments: Environments, patience_s: float = BIRTH_WITHIN_S
) -> Zygote | None:
    """Fork the zygote; None where this process must not or cannot fork, or nothing would be forked from it.

    Args:
        command: what its command line shows.
        environments: Pythons of runtimes that live in environments of their own.
        patience_s: how long it may take to fork a runner.
    """
    if python_for(FORKED, environments) != sys.executable or not installed_runtime(FORKED):
        return None
    if thread_count() != 1 or not adopt_orphans():
        return None
    line_pid = os.getpid()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    settle()
    with theirs:
        try:
            pid = os.fork()
        except OSError as error:
            _log.warning("No zygote can be forked: %s.", error.strerror)
            ours.close()
            return None
        if pid == 0:
            run_zygote(theirs, line_pid, tuple(command))
    ours.settimeout(0)
    return Zygote(pid, ours, patience_s)
