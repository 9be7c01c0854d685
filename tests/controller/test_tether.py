"""Children that are tied to the process that started them."""

import subprocess
import sys
import time

import psutil

PARENT = """
import subprocess, sys
from edgewright.controller.broker.tether import tethered
child = subprocess.Popen(tethered([sys.executable, "-c", "import time; time.sleep(300)"]))
print(child.pid, flush=True)
child.wait()
"""
DEADLINE_S = 30.0


def test_a_child_dies_with_a_parent_that_is_killed() -> None:
    """A tied child that would run for minutes is gone soon after its parent was killed with -9."""
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        assert child.is_running()
        parent.kill()
    deadline = time.monotonic() + DEADLINE_S
    while not _ended(child):
        assert time.monotonic() < deadline, "the child outlived its parent"
        time.sleep(0.05)


def _ended(process: psutil.Process) -> bool:
    """Whether it is gone, or waits for nothing but to be reaped."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
