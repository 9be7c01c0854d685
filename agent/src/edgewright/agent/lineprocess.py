"""The line's process: started, listened to, watched, restarted.

The line ends by itself when its control socket reaches its end, so it cannot outlive this process, whatever
kills it. A line that has said nothing for a while hangs; it is killed and replaced.
"""

import contextlib
import logging
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from edgewright.agent import control
from edgewright.agent.link import pauses
from edgewright.agent.settings import Settings
from edgewright.wire.errors import MalformedMessageError

SILENCE_SECONDS: Final = 15.0
"""The line sends a heartbeat each second; native image code may hold it for some of them."""

STEADY_SECONDS: Final = 30.0
"""A line that ran so long is restarted at once; one that keeps ending waits longer each time."""

STOP_SECONDS: Final = 5.0

log = logging.getLogger(__name__)


def line_command(settings: Settings, descriptor: int) -> list[str]:
    """How the line is started."""
    return [
        sys.executable,
        "-m",
        "edgewright.agent.line",
        "--control-fd",
        str(descriptor),
        "--cell-socket",
        str(settings.cell_socket),
        "--window-seconds",
        str(settings.line.window_seconds),
        "--capture-share",
        str(settings.line.capture_share),
        "--device",
        settings.device,
    ]


class LineProcess:
    """One line at a time.

    Args:
        command: makes the command line out of the inherited descriptor.
        said: takes each message; called on the listening thread.
        ended: called on the listening thread when a line has ended.
    """

    def __init__(
        self,
        command: Callable[[int], Sequence[str]],
        said: Callable[[control.Up], None],
        ended: Callable[[], None],
    ) -> None:
        self._command, self._said, self._ended = command, said, ended
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._heard_at = self._started_at = 0.0
        self._pauses = pauses(random.Random())  # noqa: S311 - jitter is no secret

    def start(self) -> None:
        """Start a line and listen to it."""
        ours, theirs = control.control_pair()
        self._started_at = self._heard_at = time.monotonic()
        with theirs:
            descriptor = theirs.fileno()
            self._process = subprocess.Popen(
                list(self._command(descriptor)), pass_fds=(descriptor,), stdin=subprocess.DEVNULL
            )
        self._socket = ours
        threading.Thread(target=self._listen, args=(ours, self._process), name="line", daemon=True).start()

    def pause(self) -> float:
        """Seconds until the next start, after a line has ended."""
        if time.monotonic() - self._started_at > STEADY_SECONDS:
            self._pauses = pauses(random.Random())  # noqa: S311 - jitter is no secret
            return 0.0
        return next(self._pauses)

    def send(self, order: control.Down) -> None:
        """Send an order; a line that is gone misses it, and its end is told by ``ended``."""
        if self._socket is None:
            return
        try:
            self._socket.send(control.encode(order))
        except OSError as error:
            log.warning("The line did not take %s: %s.", type(order).__name__, error)

    def watch(self) -> None:
        """Kill a line that has been silent for too long."""
        if self._process and time.monotonic() - self._heard_at > SILENCE_SECONDS:
            log.warning("The line has been silent for %.0f s and is replaced.", SILENCE_SECONDS)
            self._heard_at = time.monotonic()
            self._process.kill()

    def stop(self) -> None:
        """Ask the line to end, and end it if it does not."""
        process = self._process
        if process is None:
            return
        self.send(control.Stop())
        try:
            process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _listen(self, ours: socket.socket, process: subprocess.Popen[bytes]) -> None:
        with ours, contextlib.suppress(OSError):
            while data := ours.recv(control.MAX_CONTROL_BYTES + 1):
                self._heard_at = time.monotonic()
                try:
                    message = control.decode_up(data)
                except MalformedMessageError as error:
                    log.warning("%s", error)
                    continue
                if not isinstance(message, control.Heartbeat):
                    self._said(message)
        process.kill()
        code = process.wait()
        log.info("The line has ended %s.", _ending(code))
        self._ended()


def _ending(code: int) -> str:
    if code < 0:
        return f"by {signal.Signals(-code).name}"
    return f"with exit status {code}"
