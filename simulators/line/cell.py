"""One cell as a process: connects a `World` to a line's cell socket, takes orders from stdin, reports to
stdout.

The belt starts when the line is first there. When the socket goes away (the line restarts) the belt moves
on and the cell connects again as soon as it can. Orders are JSON, one a line, for example
`{"phase": "drifted"}` or `{"stop": true}`; see `orders`. The end of stdin stops the cell too, so that it
never outlives whoever started it. Each second, and at the end, it prints one JSON line for each phase whose
counters changed:

    {"t": unix seconds, "robot": "r1", "phase": "before", "sent": 40, "decided": 40, "dropped": 0,
     "fallback": 0, "mispacked": 3, "labelled": 19, "by_version": {"1": {"decided": 40, "mispacked": 3}}}

Counters only grow, so the last line of a phase is the truth about it; after a stop `sent` is `decided`
plus `dropped`.
"""

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from edgewright.wire.cell import Decision, Frame, Inbox, Outcome, encode
from edgewright.wire.errors import MalformedMessageError
from simulators.line.goods import Phase
from simulators.line.orders import read_order
from simulators.line.world import World

READ_BYTES = 65_536
RECONNECT_S = 0.05
TICK_S = 0.05
REPORT_S = 1.0
# About ten frames. A line further behind than that gets no more, and the items go by without a decision.
MAX_UNSENT_BYTES = 300_000


class Cell:
    """Runs a `World` against a line until it is told to stop."""

    def __init__(self, world: World, robot: str, rate_hz: float, socket: Path) -> None:
        self._world = world
        self._robot = robot
        self._interval_s = 1.0 / rate_hz
        self._socket = socket
        self._writer: asyncio.StreamWriter | None = None
        self._was_connected = asyncio.Event()
        self._reported: dict[Phase, dict[str, Any]] = {}

    async def run(self) -> None:
        """Run until stdin says stop or ends, and then until no item waits for its decision."""
        parts = (self._keep_connected(), self._tick(), self._report_each_second())
        others = [asyncio.create_task(part) for part in parts]
        belt, orders = asyncio.create_task(self._move_belt()), asyncio.create_task(self._obey())
        try:
            done, _ = await asyncio.wait([belt, orders, *others], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            belt.cancel()
            while self._world.is_waiting:
                await asyncio.sleep(TICK_S)
        finally:
            for task in (belt, orders, *others):
                task.cancel()
            await asyncio.gather(belt, orders, *others, return_exceptions=True)
            self._report()

    async def _obey(self) -> None:
        async for line in _stdin_lines():
            order = read_order(line)
            if order.stop:
                return
            self._world.obey(order)

    async def _keep_connected(self) -> None:
        while True:
            with contextlib.suppress(OSError, MalformedMessageError):
                await self._talk()
            await asyncio.sleep(RECONNECT_S)

    async def _talk(self) -> None:
        """Be connected until the line goes away."""
        reader, writer = await asyncio.open_unix_connection(self._socket)
        self._writer = writer
        self._was_connected.set()
        inbox = Inbox()
        try:
            while data := await reader.read(READ_BYTES):
                for message in inbox.feed(data):
                    if isinstance(message, Decision):
                        self._world.decided(message)
        finally:
            self._writer = None
            writer.close()

    async def _move_belt(self) -> None:
        await self._was_connected.wait()
        due_s = time.monotonic()
        while True:
            self._send(self._world.photograph(time.monotonic()))
            # After a pause of this process the belt goes on from there, without a burst of items.
            due_s = max(due_s + self._interval_s, time.monotonic())
            await asyncio.sleep(due_s - time.monotonic())

    async def _tick(self) -> None:
        """Let the scanner speak and deadlines pass.

        Only here do items expire. After a pause of this process the loop hands out what it read before it
        wakes the timers, so a pause of the cell is not held against the line.
        """
        while True:
            now_s = time.monotonic()
            self._world.expire(now_s)
            for outcome in self._world.scan(now_s, heard=self._writer is not None):
                self._send(outcome)
            await asyncio.sleep(TICK_S)

    def _send(self, message: Frame | Outcome) -> None:
        writer = self._writer
        if writer is None or writer.is_closing():
            return
        if writer.transport.get_write_buffer_size() < MAX_UNSENT_BYTES:
            writer.write(encode(message))

    async def _report_each_second(self) -> None:
        while True:
            await asyncio.sleep(REPORT_S)
            self._report()

    def _report(self) -> None:
        for phase, counters in self._world.counters.items():
            report = counters.report()
            if self._reported.get(phase) != report:
                self._reported[phase] = report
                head = {"t": round(time.time(), 3), "robot": self._robot, "phase": phase.value}
                print(json.dumps({**head, **report}), flush=True)


async def _stdin_lines() -> AsyncIterator[bytes]:
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    while line := await reader.readline():
        yield line
