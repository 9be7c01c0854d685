"""What a runner knows and decides about its own process: memory, computing time, death with its parent."""

import ctypes
import os
import resource
import signal
from contextlib import suppress
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
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
