"""What a runner knows and decides about its own process: memory, threads, death with its parent."""

import ctypes
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PAGE_KIB: Final = os.sysconf("SC_PAGE_SIZE") // 1024


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
