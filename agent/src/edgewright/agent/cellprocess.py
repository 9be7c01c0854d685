"""The agent's own cell, as the supervisor sees it: started where ``[source]`` names one, watched, restarted.

What the cell says of its source and its sinks becomes reports: one when a trouble begins, one when it ends.
A cell that crashes forgets its troubles, so they are kept here: a new cell that has decided a right picture
ends those of the source that the old one had begun, and one that is begun again is not told again.
"""

import logging
import sys
import time
from collections.abc import Callable

from edgewright.agent.cell import control
from edgewright.agent.childprocess import ChildProcess
from edgewright.agent.ledger import Ledger
from edgewright.agent.settings import Settings
from edgewright.wire.errors import DeviceError, MalformedTruthError, SinkError, SourceLostError

MEMORY_FILE = "cell-done.jsonl"
"""Of the data folder: which files of a picture folder are done."""

Event = Callable[[], None]

log = logging.getLogger(__name__)


class CellProcess(ChildProcess[control.Up, control.Down]):
    """One cell at a time."""

    title = "cell"

    def encode(self, order: control.Down) -> bytes:
        """See ``control``."""
        return control.encode(order)

    def decode(self, data: bytes) -> control.Up | None:
        """See ``control``; a beat says no more than that the cell's loop turns."""
        message = control.decode_up(data)
        return None if isinstance(message, control.Beat) else message

    def farewell(self) -> control.Down:
        """The cell delivers what waits and ends."""
        return control.Stop()


def cell_command(descriptor: int) -> list[str]:
    """How the cell is started; what it reads is told by the control socket."""
    return [sys.executable, "-m", "edgewright.agent.cell", "--control-fd", str(descriptor)]


class OwnCell:
    """The cell and its troubles; without a source of the agent's own it does nothing.

    All methods are called by the supervisor's loop.

    Args:
        settings: of the agent.
        ledger: takes reports.
        post: lets the loop do something; called on any thread.
        later: lets it do something after some seconds.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        post: Callable[[Event], None],
        later: Callable[[float, Event], None],
    ) -> None:
        self._wanted = settings.source.kind != "socket"
        self._setup = control.Setup(
            device=settings.device,
            socket=str(settings.cell_socket),
            memory=str(settings.folder / MEMORY_FILE),
            source=settings.source,
            sinks=settings.sinks,
            broker=settings.local_broker,
            labels=settings.labels,
        )
        self._ledger, self._later = ledger, later
        self._stopping = False
        self._run = 0
        self._down_since: float | None = None
        self._troubles: dict[tuple[int, str], tuple[int, float]] = {}
        self._process = CellProcess(
            cell_command,
            said=lambda message: post(lambda: self._said(message)),
            ended=lambda: post(self._ended),
        )

    def start(self) -> None:
        """Start the cell, where there is one."""
        if not self._wanted or self._stopping:
            return
        self._run += 1
        try:
            self._process.start()
        except OSError as error:
            self._not_started(error)
        else:
            self._process.send(self._setup)

    def watch(self) -> None:
        """Kill a cell that hangs."""
        if self._wanted:
            self._process.watch()

    def stop(self) -> None:
        """End the cell."""
        self._stopping = True
        self._process.stop()

    def _said(self, message: control.Up) -> None:
        match message:
            case control.Began():
                self._begin((message.error, message.place), message.sentence)
            case control.Over():
                self._end((message.error, message.place), message.sentence)
            case control.Deciding():
                self._deciding()
            case control.Noted():
                self._ledger.note(MalformedTruthError(message.sentence))

    def _begin(self, key: tuple[int, str], sentence: str) -> None:
        known = key in self._troubles
        since = self._troubles[key][1] if known else time.monotonic()
        self._troubles[key] = (self._run, since)
        if not known:
            self._ledger.note(control.TROUBLES.get(key[0], DeviceError)(sentence))

    def _end(self, key: tuple[int, str], sentence: str) -> None:
        if self._troubles.pop(key, None) is not None:
            log.info("%s", sentence)
            name = control.TROUBLES.get(key[0], DeviceError)("").name
            self._ledger.report(None, name=f"{name}Over", detail=sentence)

    def _deciding(self) -> None:
        """A right picture was decided by this cell: what an older one had begun is over."""
        now = time.monotonic()
        if self._down_since is not None:
            said = f"The cell decides again after {now - self._down_since:.0f} s."
            self._ledger.report(None, name="CellOver", detail=said)
            self._down_since = None
        for key, (run, since) in list(self._troubles.items()):
            if run != self._run and key[0] != SinkError.number:
                self._end(key, f"{key[1]} is right again after {now - since:.0f} s.")

    def _ended(self) -> None:
        if not self._stopping:
            self._start_again(f"The cell has ended {self._process.ending}; it starts again.")

    def _not_started(self, error: OSError) -> None:
        log.warning("The cell cannot be started: %s.", error)
        self._start_again(f"The cell cannot be started: {error}; that is tried again.")

    def _start_again(self, why: str) -> None:
        self._later(self._process.pause(), self.start)
        if self._down_since is None:
            self._down_since = time.monotonic()
            self._ledger.note(SourceLostError(why))
