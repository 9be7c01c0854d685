"""A runner as the line sees it: a child process, a socket, shared memory.

The line never waits for a runner longer than a frame allows. It reads nothing from the shared memory before
the reply of its own request has come, and writes nothing while a request is open.
"""

import math
import os
import resource
import select
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Final

from edgewright.agent.environments import NO_ENVIRONMENTS, Environments, runner_command
from edgewright.agent.line.breaker import IDLE_S, SIGN_OF_LIFE_WITHIN_S
from edgewright.agent.line.failures import runner_error
from edgewright.agent.line.forking import Zygote
from edgewright.agent.runner.frames import (
    MAX_REPLY_BYTES,
    READY_SEQUENCE,
    Layout,
    Reply,
    decode_reply,
    encode_request,
    map_frames,
)
from edgewright.wire.errors import (
    MalformedMessageError,
    RunnerCrashError,
    RunnerHangError,
    RunnerOutputError,
)
from edgewright.wire.manifest import Manifest

_NO_POOLS: Final = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""numpy's linear algebra would start a thread a core and never use it."""

_CAP_SYS_NICE: Final = 23

SHADOW_NICE: Final = 15
"""Of a candidate that runs beside the model that decides (setpriority(2))."""

_STATUS_WITHIN_S: Final = 0.002
"""A process ends right after its sockets, and a frame may be waiting for its decision."""


class RunnerProcess:
    """One running runner.

    Attributes:
        socket: readable when a reply or the end has come.
        frames: input and output arrays in the shared memory.
        ready: whether the artifact is loaded and warm.
        last: the newest reply.
    """

    def __init__(
        self,
        manifest: Manifest,
        manifest_path: Path,
        artifact_path: Path,
        content_key: bytes = b"",
        threads: int = 1,
        environments: Environments = NO_ENVIRONMENTS,
        zygote: Zygote | None = None,
    ) -> None:
        layout = Layout.of(manifest)
        memory = os.memfd_create("edgewright-frames", os.MFD_CLOEXEC)
        try:
            os.ftruncate(memory, layout.length)
            self.frames = map_frames(memory, layout)
            self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                command = [*runner_command(manifest.runtime, environments), "serve"]
                files, descriptors = (manifest_path, artifact_path), (theirs.fileno(), memory)
                forked = None
                if zygote is not None and zygote.suits(manifest.runtime, environments):
                    forked = zygote.fork([*command, *_what(files, threads)], descriptors, files, threads)
                self._process = forked or _start(command, descriptors, files, threads)
        finally:
            os.close(memory)
        self.socket.settimeout(0)
        if manifest.encryption is not None:
            self.socket.send(content_key)
        self._poll = select.poll()
        self._poll.register(self.socket, select.POLLIN)
        self._sequence = READY_SEQUENCE
        self._open = True
        self._heard_at = monotonic()
        self._pinged_at: float | None = None
        self.ready = False
        self.last = Reply(READY_SEQUENCE, 0, 0, 0)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def idle(self) -> bool:
        """Whether it can take a request."""
        return self.ready and not self._open

    def ask(self) -> None:
        """Send a request for what is in the input.

        Raises:
            RunnerCrashError: the runner is gone.
        """
        self._sequence += 1
        try:
            self.socket.send(encode_request(self._sequence))
        except OSError as error:
            raise self._crash() from error
        self._open = True

    def watch(self, now: float) -> None:
        """Ask a runner that has been idle for long for a sign of life, so that no frame meets a dead one.

        Raises:
            RunnerHangError: it was asked, and has given none in time.
            RunnerCrashError: it is gone.
        """
        if not self.ready:
            # A zygote that does not fork it is noticed here, and the socket ends with the zygote.
            self._process.poll()
        if self._pinged_at is not None:
            if now - self._pinged_at > SIGN_OF_LIFE_WITHIN_S:
                raise RunnerHangError(f"No sign of life within {SIGN_OF_LIFE_WITHIN_S:.0f} s while idle.")
        elif self.idle and now - self._heard_at > IDLE_S:
            self._pinged_at = now
            try:
                self.socket.send(encode_request(READY_SEQUENCE))
            except OSError as error:
                raise self._crash() from error

    def wait(self, until: float) -> bool:
        """Wait for the open request's reply until a monotonic time; whether it has come.

        Raises:
            EdgewrightError: see ``take``.
        """
        while not self.take():
            left_ms = (until - monotonic()) * 1000
            if left_ms <= 0:
                return False
            self._poll.poll(math.ceil(left_ms))
        return True

    def take(self) -> bool:
        """Take a reply that has come, without waiting; whether the runner is idle now.

        Raises:
            RunnerCrashError: the runner ended.
            RunnerOutputError: it answered with nonsense.
            EdgewrightError: it named what is wrong with it; see ``failures``.
        """
        try:
            data = self.socket.recv(MAX_REPLY_BYTES)
        except BlockingIOError:
            return not self._open
        except OSError as error:
            raise self._crash() from error
        if not data:
            raise self._crash()
        try:
            reply = decode_reply(data)
        except MalformedMessageError as error:
            raise RunnerOutputError("The runner's reply cannot be read.") from error
        if reply.error:
            raise runner_error(reply.error, reply.detail)
        self._heard_at, self._pinged_at = monotonic(), None
        if reply.sequence == self._sequence:
            self.last, self.ready, self._open = reply, True, False
        return not self._open

    def renice(self, nice: int) -> None:
        """Change the niceness of all its threads, where this process might also change it back.

        A line that may not raise priorities (CAP_SYS_NICE, RLIMIT_NICE) leaves its runners as they are: a
        candidate that had given way would be slow for ever.
        """
        if not _may_raise():
            return
        # A thread may end meanwhile, and a process.
        with suppress(OSError):
            for thread in Path(f"/proc/{self.pid}/task").iterdir():
                os.setpriority(os.PRIO_PROCESS, int(thread.name), nice)

    def kill(self) -> None:
        """End the process, whatever it does; ``reaped`` tells when it is gone."""
        self.socket.close()
        with suppress(ProcessLookupError):
            self._process.kill()

    def reaped(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    def _crash(self) -> RunnerCrashError:
        try:
            status = self._process.wait(_STATUS_WITHIN_S)
        except subprocess.TimeoutExpired:
            return RunnerCrashError("The runner closed its socket.")
        how = f"by signal {-status}" if status < 0 else f"with status {status}"
        return RunnerCrashError(f"The runner ended {how}.")


def _may_raise() -> bool:
    """Whether this process may lower a niceness again (capabilities(7), and getrlimit(2), RLIMIT_NICE)."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NICE)
    if 20 - allowed <= os.getpriority(os.PRIO_PROCESS, 0):
        return True
    status = Path("/proc/self/status").read_text().splitlines()
    effective = next((line.split()[1] for line in status if line.startswith("CapEff:")), "0")
    return bool(int(effective, 16) >> _CAP_SYS_NICE & 1)


def _start(
    command: list[str], descriptors: tuple[int, int], files: tuple[Path, Path], threads: int
) -> subprocess.Popen[bytes]:
    fd, memory = map(str, descriptors)
    return subprocess.Popen(
        [*command, "--fd", fd, "--shm-fd", memory, *_what(files, threads)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=descriptors,
        env=os.environ | _NO_POOLS,
    )


def _what(files: tuple[Path, Path], threads: int) -> list[str]:
    manifest, artifact = map(str, files)
    return ["--artifact", artifact, "--threads", str(threads), "--manifest", manifest]
