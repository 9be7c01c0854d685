"""The one thread in which slow work is done, a job at a time.

Work on a deployment comes first and news of metadata second; a candidate is tried when neither waits, and its
try is called off where a deployment begins.
"""

import logging
import threading
from collections.abc import Callable
from typing import Final

from edgewright.agent.candidatework import Brought, CalledOff, CandidateBench, Ended, Tried, Try
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
        candidates: does the tries.
        tell: takes each result; called on the worker's thread.

    Attributes:
        busy: whether a job is being done, so that what can wait leaves network and processor to it.
    """

    def __init__(
        self,
        bench: Workbench,
        candidates: CandidateBench,
        tell: Callable[[Result | Ended], None],
    ) -> None:
        self._bench, self._candidates, self._tell = bench, candidates, tell
        self._wake = threading.Condition()
        self._work: Job | None = None
        self._refresh: Refresh | None = None
        self._try: Try | None = None
        self._doing: Job | Try | None = None
        self._called_off = threading.Event()
        self._stopping = False
        self.busy = False
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)

    def start(self) -> None:
        """Begin to wait for jobs."""
        self._thread.start()

    def submit(self, job: Job | Try) -> None:
        """Do a job when the current one has ended; it takes the place of a waiting one.

        No job of a deployment waits for a try: that one is called off.
        """
        with self._wake:
            match job:
                case Refresh():
                    self._refresh = job
                case Try():
                    self._try = job
                case _:
                    self._work = job
                    self._make_room()
            self._wake.notify()

    def call_off(self) -> None:
        """Interrupt the current job and forget the waiting one: a newer assignment was accepted."""
        with self._wake:
            self._work = None
            self._make_room()
            self._called_off.set()

    def _make_room(self) -> None:
        """No try begins or goes on; called with the lock."""
        if isinstance(self._doing, Try):
            self._called_off.set()
        if self._try is not None:
            waiting, self._try = self._try, None
            self._tell(CalledOff(waiting.order, waiting.candidate.sha256))

    def stop(self) -> None:
        """Interrupt and end the thread."""
        with self._wake:
            self._stopping = True
            self._called_off.set()
            self._wake.notify()
        self._thread.join(timeout=STOP_SECONDS)

    def _next(self) -> Job | Try | None:
        with self._wake:
            self._doing = None
            self._wake.wait_for(lambda: self._stopping or self._work or self._refresh or self._try)
            if self._stopping:
                return None
            self._called_off.clear()
            if self._work is not None:
                self._doing, self._work = self._work, None
            elif self._refresh is not None:
                self._doing, self._refresh = self._refresh, None
            else:
                self._doing, self._try = self._try, None
            return self._doing

    def _run(self) -> None:
        while (job := self._next()) is not None:
            self.busy = True
            try:
                self._tell(self._do(job))
            except Interrupted:
                log.info("%s was called off.", type(job).__name__)
                if isinstance(job, Try):
                    self._tell(CalledOff(job.order, job.candidate.sha256))
            except Exception as error:
                # Top of the thread: a device whose worker has died would never update again.
                log.exception("%s ended unexpectedly.", type(job).__name__)
                self._tell(_unexpected(job, DeviceError(f"A step ended unexpectedly: {error!r}.")))
            finally:
                self.busy = False

    def _do(self, job: Job | Try) -> Result | Brought | Tried:
        interrupt = self._called_off.is_set
        if not isinstance(job, Try):
            return self._bench.do(job, interrupt)
        tried = self._candidates.do(job, interrupt)
        if interrupt():
            raise Interrupted  # Its files may have made room for a deployment's: what it met says nothing.
        return tried


def _unexpected(job: Job | Try, error: DeviceError) -> Result | Tried:
    if isinstance(job, Try):
        return Tried(job.order, job.candidate.sha256, error=error)
    return Stuck(0 if isinstance(job, Refresh) else job.deployment, error)
