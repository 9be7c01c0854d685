"""What a runner, and whoever forks it, knows and decides about its own process.

Memory, computing time, threads, its name, and who dies with whom.
"""

import ctypes
import os
import resource
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_PAGE_KIB: Final = os.sysconf("SC_PAGE_SIZE") // 1024


_LOADING_MIB: Final = 1024
_GROWTH_MIB: Final = 128
"""Room for what a runtime allocates and seldom touches, such as its threads' stacks."""


def limit_while_loading(memory_mb: int) -> None:
    """Bound what this process may allocate (setrlimit(2), RLIMIT_DATA) while it loads a model.

    Args:
        memory_mb: resident memory that the manifest allows, MiB; loading takes a multiple of it.
    """
    _limit(resource.RLIMIT_DATA, (3 * memory_mb + _LOADING_MIB) * 1024 * 1024)


def limit_growth(memory_mb: int) -> None:
    """Bound what this process may allocate from now on, so that no leak takes the device's memory at once.

    Args:
        memory_mb: resident memory that the manifest allows, MiB.
    """
    pages = int(Path("/proc/self/statm").read_bytes().split()[5])
    left_kib = max(0, memory_mb * 1024 - resident_kib())
    _limit(resource.RLIMIT_DATA, (pages * _PAGE_KIB + left_kib + _GROWTH_MIB * 1024) * 1024)


def allow_computing(seconds: int) -> None:
    """Let the kernel end this process when it has computed so long from now on (RLIMIT_CPU, SIGXCPU)."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + seconds)


def _limit(what: int, soft: int) -> None:
    _, hard = resource.getrlimit(what)
    resource.setrlimit(what, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def resident_kib() -> int:
    """Resident memory of this process in KiB (``/proc/self/statm``, second field)."""
    return int(Path("/proc/self/statm").read_bytes().split()[1]) * _PAGE_KIB


def return_free_memory() -> None:
    """Give freed memory back to the kernel (malloc_trim(3), glibc only): loading a model leaves megabytes."""
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def die_with_parent() -> None:
    """Ask the kernel for SIGKILL when the parent ends (prctl(2), PR_SET_PDEATHSIG).

    Without this a runner that hangs in native code would outlive a line that was killed. A parent that was
    gone before has closed its socket, and the runner ends by that.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def adopt_orphans() -> bool:
    """Become the parent of descendants that lose theirs (prctl(2), PR_SET_CHILD_SUBREAPER).

    Whether the kernel agrees.
    """
    done: int = ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    return done == 0


def thread_count() -> int:
    """Number of threads of this process, native ones included."""
    return sum(1 for _ in Path("/proc/self/task").iterdir())


def command_fits(words: Sequence[str]) -> bool:
    """Whether ``name_process`` can show these words here and in every process that is forked from here."""
    start, end = _command_place()
    return len(_command(words)) <= end - start


def name_process(words: Sequence[str]) -> bool:
    """Show a command line in ``/proc/self/cmdline`` in place of the one this process was started with.

    The words are written over the old ones, as setproctitle(3) of the BSDs and systemd do it: nobody else
    reads that memory once Python has started. Whether they fit; otherwise nothing changes.
    """
    start, end = _command_place()
    text = _command(words)
    if len(text) > end - start:
        return False
    ctypes.memmove(start, text.ljust(end - start, b"\0"), end - start)
    return True


def _command(words: Sequence[str]) -> bytes:
    return b"".join(os.fsencode(word) + b"\0" for word in words)


def _command_place() -> tuple[int, int]:
    """Addresses between which the command line stands (proc(5), ``arg_start`` and ``arg_end``)."""
    fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
    return int(fields[45]), int(fields[46])
