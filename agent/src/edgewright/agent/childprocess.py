"""A process of the agent's own: started, listened to, watched, restarted.

The child inherits one end of a pair of control sockets and ends by itself when that reaches its end, so it
cannot outlive this process, whatever kills it; the line is the exception, see ``lineprocess``. A child that
has said nothing for a while hangs; it is killed and replaced. Line and cell are such children; what each of
them says is its own contract.
"""

import contextlib
import logging
import random
import signal
import socket
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, Final, Generic, Protocol, TypeVar

from edgewright.agent.backoff import pauses
from edgewright.agent.control import MAX_CONTROL_BYTES, control_pair
from edgewright.wire.errors import MalformedMessageError

SILENCE_SECONDS: Final = 15.0
"""A child sends a heartbeat each second; native image code may hold it for some of them."""

STEADY_SECONDS: Final = 30.0
"""A child that ran so long is restarted at once; one that keeps ending waits longer each time."""

STOP_SECONDS: Final = 1.5
"""Line and cell one after the other, and the whole agent within five seconds: the machine shuts down."""

log = logging.getLogger(__name__)

Up = TypeVar("Up")
Down = TypeVar("Down")


class Running(Protocol):
    """A process that runs; ``subprocess.Popen`` is one."""

    @property
    def pid(self) -> int:
        """Its process id."""

    def kill(self) -> None:
        """End it, whatever it does."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; its exit status, negative for a signal.

        Raises:
            subprocess.TimeoutExpired: it goes on.
        """


class ChildProcess(ABC, Generic[Up, Down]):
    """One child at a time.

    Attributes:
        title: how logs name it.
        ending: how the last child ended, in words.

    Args:
        command: makes the command line out of the inherited descriptor.
        said: takes each message; called on the listening thread.
        ended: called on the listening thread when a child has ended.
    """

    title: ClassVar[str]

    def __init__(
        self,
        command: Callable[[int], Sequence[str]],
        said: Callable[[Up], None],
        ended: Callable[[], None],
    ) -> None:
        self._command, self._said, self._ended = command, said, ended
        self._process: Running | None = None
        self._socket: socket.socket | None = None
        self._listening: threading.Thread | None = None
        self._heard_at = self._started_at = 0.0
        self._pauses = pauses(random.Random())  # noqa: S311 - jitter is no secret
        self.ending = ""

    @abstractmethod
    def encode(self, order: Down) -> bytes:
        """An order as a datagram."""

    @abstractmethod
    def decode(self, data: bytes) -> Up | None:
        """What a datagram says; None for a sign of life.

        Raises:
            MalformedMessageError: it says nothing of the contract.
        """

    @abstractmethod
    def farewell(self) -> Down:
        """The order to end."""

    def start(self) -> None:
        """Start a child and listen to it.

        Raises:
            OSError: the device has no room for one now; another try after ``pause`` may help.
        """
        self._started_at = self._heard_at = time.monotonic()
        self._process = self._socket = None
        ours, process = self.begin()
        listening = threading.Thread(target=self._listen, args=(ours, process), name=self.title, daemon=True)
        try:
            listening.start()
        except RuntimeError as error:
            with ours:
                process.kill()
                process.wait()
            raise OSError(f"Nobody can listen to the {self.title}: {error}.") from error
        self._socket, self._process, self._listening = ours, process, listening

    def begin(self) -> tuple[socket.socket, Running]:
        """A new child, and this process's end of its control socket."""
        ours, theirs = control_pair()
        with theirs:
            descriptor = theirs.fileno()
            try:
                child = subprocess.Popen(
                    list(self._command(descriptor)), pass_fds=(descriptor,), stdin=subprocess.DEVNULL
                )
            except OSError:
                ours.close()
                raise
        return ours, child

    def connect_again(self, process: Running) -> socket.socket | None:  # noqa: ARG002 - see the line's
        """A new connection to a child that lives and whose own has ended; None where there is no way."""
        return None

    def pause(self) -> float:
        """Seconds until the next start, after a child has ended."""
        if time.monotonic() - self._started_at > STEADY_SECONDS:
            self._pauses = pauses(random.Random())  # noqa: S311 - jitter is no secret
            return 0.0
        return next(self._pauses)

    def send(self, order: Down) -> None:
        """Send an order; a child that is gone misses it, and its end is told by ``ended``."""
        if self._socket is None:
            return
        try:
            self._socket.send(self.encode(order))
        except OSError as error:
            log.warning("The %s did not take %s: %s.", self.title, type(order).__name__, error)

    def watch(self) -> None:
        """Kill a child that has been silent for too long."""
        if self._process and time.monotonic() - self._heard_at > SILENCE_SECONDS:
            log.warning("The %s has been silent for %.0f s and is replaced.", self.title, SILENCE_SECONDS)
            self.kill()

    def kill(self) -> None:
        """End the child, whatever it does; another one is started as after any end."""
        if self._process is not None:
            self._heard_at = time.monotonic()
            self._process.kill()

    def stop(self) -> None:
        """Ask the child to end, and end it if it does not; then everything that it had to say was said."""
        process, listening = self._process, self._listening
        if process is None:
            return
        self.send(self.farewell())
        try:
            process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if listening is not None:
            listening.join(STOP_SECONDS)

    def _listen(self, ours: socket.socket, process: Running) -> None:
        self._hear(ours)
        while (again := self.connect_again(process)) is not None:
            self._socket = again
            self._hear(again)
        process.kill()
        self.ending = _ending(process.wait())
        log.info("The %s has ended %s.", self.title, self.ending)
        self._ended()

    def _hear(self, ours: socket.socket) -> None:
        """Listen until the connection ends."""
        with ours, contextlib.suppress(OSError):
            while data := ours.recv(MAX_CONTROL_BYTES + 1):
                self._heard_at = time.monotonic()
                try:
                    message = self.decode(data)
                except MalformedMessageError as error:
                    log.warning("%s", error)
                    continue
                if message is not None:
                    self._said(message)


def _ending(code: int) -> str:
    if code < 0:
        return f"by {signal.Signals(-code).name}"
    return f"with exit status {code}"
