"""A process on trial: it gets so much time and so much memory, and dies with all that it has started.

The limits come from what the manifest promises and from how much there is to read, so that a large model on
a slow board is not cut short and a small one that hangs does not hold the device up for minutes. They are
bounds on the trial, many times what the model may take: the model's own limits are measured inside.

Outcomes, each by its name: the process ends and its output is returned; it ends badly (``RunnerCrashError``);
it takes too long (``RunnerHangError``); it takes too much memory (``RunnerMemoryError``); it is called off
(``Interrupted``).

A process that a signal has ended is tried once more: the kernel ends whom it likes where memory is short, and
that says nothing about the model. The second time it does. An owner's seconds are for both times together.

>>> from edgewright.wire.manifest import Limits
>>> bounds(Limits(0.01, 20_000, 200, 10, 10), read_bytes=9 * 1024 * 1024)
Bounds(seconds=269.0, memory_mb=1092)
"""

import contextlib
import logging
import math
import os
import resource
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from edgewright.agent.fetcher import Interrupt, Interrupted
from edgewright.wire.errors import RunnerCrashError, RunnerHangError, RunnerMemoryError, RuntimeLoadError
from edgewright.wire.manifest import Limits

_MIB: Final = 1024 * 1024
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")

FIRST_SECONDS: Final = 60.0
"""For starting Python and importing a runtime; the slowest board that was measured takes ten."""

SECONDS_PER_MIB: Final = 1.0
"""For reading, decrypting and compiling; a graph of 100 MiB takes a slow board a minute."""

INFERENCES: Final = 10_000
"""More than all rounds over all numbers of threads together."""

LONGEST_SECONDS: Final = 1800.0

FIRST_MEMORY_MB: Final = 256
MEMORY_FACTOR: Final = 4
"""A runtime holds the graph some times while it optimises it, and golden vectors beside."""

LOWEST_PRIORITY: Final = 19
"""The largest nice value (setpriority(2)): such a process gets what nobody else wants."""

FIRST_TO_GO: Final = "1000"
"""The largest ``oom_score_adj``."""

SLICE_SECONDS: Final = 0.1
"""How often time, memory and the interrupt are looked at."""

OUTPUT_BYTES: Final = 64 * 1024
"""What a process may write; its answer is one line."""

log = logging.getLogger(__name__)


class Bounds(NamedTuple):
    """What a trial may take."""

    seconds: float
    memory_mb: int


def bounds(limits: Limits, read_bytes: int) -> Bounds:
    """Bounds of a qualification.

    Args:
        limits: of the manifest.
        read_bytes: length of artifact and golden vectors together.
    """
    read_mib = read_bytes / _MIB
    seconds = FIRST_SECONDS + SECONDS_PER_MIB * read_mib + INFERENCES * limits.latency_p99_us / 1e6
    memory = FIRST_MEMORY_MB + MEMORY_FACTOR * (limits.memory_mb + read_mib)
    return Bounds(min(seconds, LONGEST_SECONDS), round(memory))


def run_trial(
    command: Sequence[str],
    given: bytes,
    allowed: Bounds,
    interrupt: Interrupt,
    niceness: int = 0,
    most_seconds: float = math.inf,
) -> bytes:
    """Run a command; what it wrote to its standard output.

    Args:
        command: the program and its arguments.
        given: what it reads from its standard input, less than a pipe's buffer.
        allowed: see ``Bounds``.
        interrupt: whether the trial is called off.
        niceness: of it and of all that it starts, 0 to ``LOWEST_PRIORITY``.
        most_seconds: that it and its second time may take together.

    Raises:
        RunnerCrashError: it ended badly.
        RunnerHangError: it did not end in time.
        RunnerMemoryError: it took too much memory.
        RuntimeLoadError: it cannot be started.
        Interrupted: it was called off.
    """
    last = time.monotonic() + most_seconds
    code, output = _run(command, given, allowed, interrupt, niceness)
    left = min(allowed.seconds, last - time.monotonic())
    if code < 0 and left > 0:
        log.warning("The qualification ended %s; it is tried once more.", _ending(code))
        code, output = _run(command, given, allowed._replace(seconds=left), interrupt, niceness)
    if code != 0:
        raise RunnerCrashError(f"The qualification ended {_ending(code)}.")
    return output


def _run(
    command: Sequence[str], given: bytes, allowed: Bounds, interrupt: Interrupt, niceness: int
) -> tuple[int, bytes]:
    """Run a command once; its exit status, negative for a signal, and its output."""
    try:
        # A session of its own: its children are in its group and end with it.
        process = subprocess.Popen(
            list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
    except OSError as error:
        raise RuntimeLoadError(f"The Python {command[0]} cannot be started: {error.strerror}.") from error
    try:
        _bound_memory(process.pid, allowed.memory_mb)
        _lower_priority(process.pid, niceness)
        _hand_over(process, given)
        output = _wait(process, allowed, interrupt)
    finally:
        # Before its leader is reaped the group's number belongs to nobody else.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    return process.returncode, output


def _bound_memory(pid: int, memory_mb: int) -> None:
    """Let the kernel refuse a burst that would fill the device between two looks.

    ``RLIMIT_DATA`` counts every private writable mapping (getrlimit(2), Linux 4.7), stacks of threads too, so
    it is twice what may be resident.
    """
    most = 2 * memory_mb * _MIB
    with contextlib.suppress(ProcessLookupError):
        resource.prlimit(pid, resource.RLIMIT_DATA, (most, most))


def _lower_priority(pid: int, niceness: int) -> None:
    """Threads and processes that it starts from now on have its priority; it has started none yet.

    What yields the processor yields memory too: where that is short, the kernel ends it before any other
    (proc(5), ``oom_score_adj``), and never the line in its place.
    """
    if niceness:
        with contextlib.suppress(ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, pid, niceness)
        with contextlib.suppress(OSError):  # It has ended, or this system does not let it be written.
            Path(f"/proc/{pid}/oom_score_adj").write_text(FIRST_TO_GO)


def _hand_over(process: subprocess.Popen[bytes], given: bytes) -> None:
    """Write what is given and close the pipe; its buffer takes far more than a key."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
        pipe.write(given)
    process.stdin = None


def _wait(process: subprocess.Popen[bytes], allowed: Bounds, interrupt: Interrupt) -> bytes:
    """Wait for the end, and leave who has ended to be reaped; its output, whoever still holds the pipe."""
    assert process.stdout is not None
    pipe, output, more = process.stdout.fileno(), bytearray(), True
    os.set_blocking(pipe, False)
    deadline = time.monotonic() + allowed.seconds
    while True:
        ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        more = more and _take(pipe, output)
        if ended:
            return bytes(output)
        if interrupt():
            raise Interrupted
        if time.monotonic() > deadline:
            raise RunnerHangError(f"The qualification took more than {allowed.seconds:.0f} s.")
        if (taken := _resident_mb(process.pid)) > allowed.memory_mb:
            raise RunnerMemoryError(
                f"The qualification took {taken:.0f} MiB; {allowed.memory_mb} are allowed."
            )
        select.select([pipe] if more else [], [], [], SLICE_SECONDS)


def _take(pipe: int, output: bytearray) -> bool:
    """Take what has been written; whether more may come."""
    with contextlib.suppress(BlockingIOError):
        while data := os.read(pipe, OUTPUT_BYTES):
            output += data
            if len(output) > OUTPUT_BYTES:
                raise RunnerCrashError(f"The qualification wrote more than {OUTPUT_BYTES} bytes.")
        return False
    return True


def _resident_mb(pid: int) -> float:
    """Resident memory of a process, MiB; 0 of one that has ended (proc(5), ``statm``, second field)."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * _PAGE / _MIB
    except (OSError, IndexError):
        return 0.0


def _ending(code: int) -> str:
    return f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit status {code}"
