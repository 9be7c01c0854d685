"""The line's one loop: sockets, the clock, and nothing else. Who decides what stands in the other modules.

Order within a frame: decide, send, then everything that can wait (statistics, failures, shadow, swap).
"""

import select
import socket
from collections.abc import Sequence
from random import SystemRandom
from time import monotonic, time
from typing import Final

from edgewright.agent.control import Heartbeat, Ready, Stop
from edgewright.agent.environments import NO_ENVIRONMENTS, Environments
from edgewright.agent.line.capture import CapturePlan
from edgewright.agent.line.cellserver import CellServer
from edgewright.agent.line.controllink import ControlLink
from edgewright.agent.line.deciding import decide
from edgewright.agent.line.forking import Zygote
from edgewright.agent.line.interlock import Interlock
from edgewright.agent.line.observing import Observer
from edgewright.agent.line.orders import Orders
from edgewright.wire.cell import CellMessage, Frame, Outcome

TICK_S: Final = 0.05
HEARTBEAT_S: Final = 1.0


class Line:
    """One line with its sockets."""

    def __init__(
        self,
        control: ControlLink,
        cell: CellServer,
        device: str,
        window_seconds: float,
        capture: CapturePlan,
        interlock: Interlock,
        environments: Environments = NO_ENVIRONMENTS,
        zygote: Zygote | None = None,
    ) -> None:
        now = monotonic()
        self._control = control
        self._cell = cell
        self._window_seconds = window_seconds
        self._observer = Observer(control.send, device, capture, SystemRandom(), now)
        self._orders = Orders(
            control.send, self._active_changed, interlock, self._observer.disagreed, environments, zygote
        )
        self._ticked_at = now
        self._beat_at = now
        self._supervised = False
        self._stopping = False

    def run(self, pid: int) -> None:
        """Run until a supervisor says stop, or another line has taken this one's place."""
        try:
            while not self._stopping:
                self._turn(pid)
            self._observer.close(monotonic())
            self._control.close()
        finally:
            self._orders.close()
            self._cell.close()

    def _turn(self, pid: int) -> None:
        readable = self._wait()
        self._hear(readable, pid)
        if self._cell.connection in readable:
            read_at = monotonic()
            for message in self._cell.read():
                self._take(message, read_at)
        if self._cell.listener in readable:
            self._cell.accept()
        self._orders.cell_connected = self._cell.connection is not None
        now = monotonic()
        runner_spoke = any(runner.socket in readable for runner in self._orders.runners())
        if runner_spoke or now - self._ticked_at >= TICK_S:
            self._tick(now)

    def _hear(self, readable: Sequence[socket.socket], pid: int) -> None:
        """Do what a supervisor says, welcome a new one, notice that one is gone."""
        control = self._control
        if control.blocked:
            control.flush()
        if control.connection in readable:
            for order in control.receive():
                self._stopping = self._stopping or isinstance(order, Stop)
                self._orders.handle(order, monotonic())
        if self._supervised and control.connection is None:
            self._orders.call_off()
        if control.listener in readable and control.accept():
            self._orders.call_off()
            control.greet(Ready(pid, self._orders.held(), control.line))
        self._supervised = control.connection is not None

    def _wait(self) -> Sequence[socket.socket]:
        """Sockets that can be read now, or after one tick at the latest."""
        watched = [self._control.listener, self._cell.listener]
        watched += [runner.socket for runner in self._orders.runners()]
        connections = (self._control.connection, self._cell.connection)
        watched += [connection for connection in connections if connection is not None]
        supervisor = self._control.connection
        blocked = [supervisor] if supervisor is not None and self._control.blocked else []
        readable, _, _ = select.select(watched, blocked, [], TICK_S)
        return readable

    def _take(self, message: CellMessage, read_at: float) -> None:
        if isinstance(message, Frame):
            self._decide(message, read_at)
        elif isinstance(message, Outcome):
            self._observer.learn(message, read_at, time())

    def _decide(self, frame: Frame, read_at: float) -> None:
        orders = self._orders
        ruling = decide(frame, read_at, orders.active, orders.stand_in, orders.fallback)
        self._cell.send(ruling.decision)
        decided_at = monotonic()
        self._observer.see(frame, ruling, read_at, decided_at, time())
        orders.after_frame(frame, ruling, read_at, decided_at)

    def _tick(self, now: float) -> None:
        self._ticked_at = now
        self._orders.tick(now)
        self._observer.tick(now)
        if self._observer.due(now, self._window_seconds):
            self._observer.cut(now)
        if now - self._beat_at >= HEARTBEAT_S:
            self._beat_at = now
            self._control.send(Heartbeat())
            self._stopping = self._stopping or self._control.replaced
            if not self._stopping:
                self._cell.keep_place()

    def _active_changed(self) -> None:
        active = self._orders.active
        if active is None:
            self._observer.runs("", 0, monotonic())
        else:
            manifest = active.manifest
            frames = manifest.limits.changeover_frames
            self._observer.runs(manifest.model, manifest.version, monotonic(), frames)
