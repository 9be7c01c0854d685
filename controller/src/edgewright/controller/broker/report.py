"""What lies on the broker, what it may take, and what the broker itself needs: for people and programs.

What is retained is what this controller has published and the broker has acknowledged. The broker's own
memory is read where it can be: of a process on this machine from the system, of a mosquitto elsewhere from
its own word (``$SYS``), which leaves out what its libraries take.
"""

import threading
from collections.abc import Callable
from typing import Final

import msgspec
import psutil

from edgewright.controller.downloads import DownloadCounts
from edgewright.controller.link import BrokerLink
from edgewright.controller.publisher import Publisher
from edgewright.controller.retained import Figures
from edgewright.controller.wants import WantCounts

HEAP: Final = "$SYS/broker/heap/current"
"""Bytes that mosquitto has allocated, in decimal; it publishes that every ten seconds."""

PROGRAMS: Final = frozenset({"nats-server", "mosquitto"})


class BrokerProcess(msgspec.Struct, frozen=True):
    """The broker as this machine sees it.

    Attributes:
        kind: ``embedded``, or ``nats`` or ``mosquitto`` of the site.
        pid: its process here, None where there is none.
        restarts: how often the embedded one had to be started again.
        last_failure: why it last was, one sentence.
    """

    kind: str
    pid: int | None = None
    restarts: int = 0
    last_failure: str = ""


class BrokerReport(msgspec.Struct, frozen=True):
    """All of it.

    Attributes:
        kind, restarts, last_failure: as in ``BrokerProcess``.
        connected: whether the controller has its connection.
        retained: what was published, by kind.
        most_bytes: what all of it may take; 0 for no bound.
        memory_bytes: what the broker takes, None where nobody can know.
        memory_source: ``process``, ``broker`` or ``unknown``: who says so.
        waiting_bytes: what the broker has not acknowledged.
        wants: what became of what devices missed.
        downloads: what devices fetched over HTTPS instead.
    """

    kind: str
    connected: bool
    retained: Figures
    most_bytes: int
    memory_bytes: int | None
    memory_source: str
    waiting_bytes: int
    restarts: int
    last_failure: str
    wants: WantCounts
    downloads: DownloadCounts


class BrokerWatch:
    """Puts the report together when somebody asks.

    Args:
        process: the broker as it is now.
        link: this controller's connection, not started yet.
        publisher: what is published over it.
        downloads: what goes another way.
    """

    def __init__(
        self,
        process: Callable[[], BrokerProcess],
        link: BrokerLink,
        publisher: Publisher,
        downloads: Callable[[], DownloadCounts],
    ) -> None:
        self._process, self._link, self._publisher, self._downloads = process, link, publisher, downloads
        self._lock = threading.Lock()
        self._heap: int | None = None
        if process().kind == "mosquitto":
            link.subscribe(HEAP, self._hear)

    def report(self) -> BrokerReport:
        """As it is now."""
        process = self._process()
        memory = resident_bytes(process.pid)
        source = "process"
        if memory is None:
            with self._lock:
                memory = self._heap
            source = "unknown" if memory is None else "broker"
        return BrokerReport(
            kind=process.kind,
            connected=self._link.connected,
            retained=self._publisher.figures(),
            most_bytes=self._publisher.most_bytes,
            memory_bytes=memory,
            memory_source=source,
            waiting_bytes=self._link.waiting_bytes,
            restarts=process.restarts,
            last_failure=process.last_failure,
            wants=self._publisher.wants,
            downloads=self._downloads(),
        )

    def _hear(self, _topic: str, payload: bytes) -> None:
        if payload.isdigit() and len(payload) < 20:
            with self._lock:
                self._heap = int(payload)


def resident_bytes(pid: int | None) -> int | None:
    """Resident memory of a broker's process; None where it has ended, or is another program by now."""
    try:
        process = psutil.Process(pid) if pid else None
        if process is None or process.name() not in PROGRAMS:
            return None
        return int(process.memory_info().rss)
    except psutil.Error:
        return None
