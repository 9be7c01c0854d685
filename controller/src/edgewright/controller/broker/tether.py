"""Run a program that dies with the thread that started it: ``python tether.py <parent's pid> <program> ...``.

The broker runs so, and so do the children that build and fit: a controller that is killed leaves none behind.

``prctl(PR_SET_PDEATHSIG)`` is set here, in a process of its own, and not between fork and exec in the parent:
the parent has threads, and Python code after a fork of a threaded process can wait for a lock for ever. The
setting survives ``execv``. The signal is SIGTERM: the broker's store survives SIGKILL too, but then it brings
retained messages back that had been cleared.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""<linux/prctl.h>"""


def tethered(program: list[str]) -> list[str]:
    """The command that runs a program, named by its whole path, tied to the thread that starts it."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *program]


def main() -> None:
    """Tie this process to its parent, then become the program."""
    parent, program = int(sys.argv[1]), sys.argv[2:]
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above, so no signal will come
        sys.exit(0)
    os.execv(program[0], program)  # noqa: S606 - the point of this file; the caller names the program


if __name__ == "__main__":
    main()
