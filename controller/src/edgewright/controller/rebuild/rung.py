"""Fitting one rung in a child process; see ``worker`` for the other side."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import msgspec

from edgewright.controller.broker.tether import tethered
from edgewright.controller.childenvironment import child_environment
from edgewright.controller.errors import RecipeError
from edgewright.controller.rebuild.context import Context
from edgewright.controller.rebuild.job import ANSWER, JOB, Answer, Job

LIMIT_S: Final = 900.0
"""A rung that fits a head takes seconds; what takes longer than this hangs."""

ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""Linear algebra on one thread took 4.7 s of CPU where two, spinning beside a busy line, took 6.4 s."""

_WORKER: Final = "edgewright.controller.rebuild.worker"
_POLL_S: Final = 0.05
_LAST_BYTES: Final = 400


def fit_rung(context: Context, job: Job, folder: Path) -> Answer:
    """Do a job in a child process; ``folder`` takes the job, the answer and its files.

    Raises:
        RecipeError: the recipe failed, or the child crashed or took too long.
        Interrupted: the controller goes down; the child is killed.
    """
    job_file = folder / JOB
    job_file.write_bytes(msgspec.json.encode(job))
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen(
            tethered([sys.executable, "-m", _WORKER, str(job_file)]),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=child_environment({**ONE_THREAD, "TMPDIR": str(folder)}),
        )
        try:
            code = _wait(context, child)
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
        if code:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _LAST_BYTES))
            said = " ".join(log.read().decode(errors="replace").split())
            raise RecipeError(f"Fitting {job.rung} ended with {code}: {said or 'without a word'}.")
    answer = msgspec.json.decode((folder / ANSWER).read_bytes(), type=Answer)
    if answer.error:
        raise RecipeError(answer.error)
    return answer


def _wait(context: Context, child: "subprocess.Popen[bytes]") -> int:
    for _ in range(int(LIMIT_S / _POLL_S)):
        try:
            return child.wait(timeout=_POLL_S)
        except subprocess.TimeoutExpired:
            context.pause(0)
    raise RecipeError(f"Fitting took more than {LIMIT_S:.0f} s.")
