"""The one thread in which slow work is done, a job at a time."""

import logging
import threading
from collections.abc import Callable
from typing import Final

from edgewright.agent.fetcher import Interrupted
from edgewright.agent.work import Job, Refresh, Result, Stuck, Workbench
from edgewright.wire.errors import DeviceError

STOP_SECONDS: Final = 0.5
"""A job looks at the interrupt more often; what it leaves half done is taken up at the next start."""

log = logging.getLogger(__name__)


class Worker:
    """A thread, the job that it does and at most one of each kind that waits.

    Args:
        bench: does the jobs.
        tell: takes each result; called on the worker's thread.

    Attributes:
        busy: whether a job is being done, so that what can wait leaves network and processor to it.
    """

    def __init__(self, bench: Workbench, tell: Callable[[Result], None]) -> None:
        self._bench, self._tell = bench, tell
        self._wake = threading.Condition()
        self._work: Job | None = None
        self._refresh: Refresh | None = None
        self._called_off = threading.Event()
        self._stopping = False
        self.busy = False
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)

    def start(self) -> None:
        """Begin to wait for jobs."""
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Do a job when the current one has ended; it takes the place of a waiting one."""
        with self._wake:
            if isinstance(job, Refresh):
                self._refresh = job
            else:
                self._work = job
            self._wake.notify()

    def call_off(self) -> None:
        """Interrupt the current job and forget the waiting one: a newer assignment was accepted."""
        with self._wake:
            self._work = None
            self._called_off.set()

    def stop(self) -> None:
        """Interrupt and end the thread."""
        with self._wake:
            self._stopping = True
            self._called_off.set()
            self._wake.notify()
        self._thread.join(timeout=STOP_SECONDS)

    def _next(self) -> Job | None:
        with self._wake:
            self._wake.wait_for(lambda: self._stopping or self._work or self._refresh)
            if self._stopping:
                return None
            self._called_off.clear()
            if self._work is not None:
                job, self._work = self._work, None
                return job
            refresh, self._refresh = self._refresh, None
            return refresh

    def _run(self) -> None:
        while (job := self._next()) is not None:
            self.busy = True
            try:
                self._tell(self._bench.do(job, self._called_off.is_set))
            except Interrupted:
                log.info("%s was called off.", type(job).__name__)
            except Exception as error:
                # Top of the thread: a device whose worker has died would never update again.
                log.exception("%s ended unexpectedly.", type(job).__name__)
                number = 0 if isinstance(job, Refresh) else job.deployment
                self._tell(Stuck(number, DeviceError(f"A step ended unexpectedly: {error!r}.")))
            finally:
                self.busy = False
