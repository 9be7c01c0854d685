"""The embedded broker as a real child process: ports, crashes, orphans and what survives."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from edgewright.controller.broker import embedded
from edgewright.controller.broker.embedded import EmbeddedBroker, reload_outcome
from edgewright.controller.broker.probe import Address
from edgewright.controller.errors import BrokerStartError
from edgewright.controller.link import BrokerLink

HANG_S = 30.0


def eventually(condition: Callable[[], bool]) -> None:
    """Wait for a condition; fails after a time that only a hang takes."""
    deadline = time.monotonic() + HANG_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def running(folder: Path, port: int = 0) -> Iterator[tuple[EmbeddedBroker, Address]]:
    """A started broker."""
    broker = EmbeddedBroker(folder, None, port)
    address = broker.start()
    try:
        yield broker, address
    finally:
        broker.stop()


def heard(address: Address, topic_filter: str, count: int) -> dict[str, bytes]:
    """Retained messages of a filter, once there are ``count``."""
    found: dict[str, bytes] = {}
    link = BrokerLink(*address, "reader")
    link.subscribe(topic_filter, found.__setitem__)
    link.start()
    try:
        eventually(lambda: len(found) == count)
    finally:
        link.stop()
    return found


def retain(address: Address, messages: dict[str, bytes]) -> None:
    """Publish retained messages and wait for their acknowledgement."""
    link = BrokerLink(*address, "writer")
    link.start()
    try:
        link.publish_paced(messages.items())
    finally:
        link.stop()


def listening(pid: int) -> set[str]:
    """Addresses on which a process listens."""
    connections = psutil.Process(pid).net_connections("tcp")
    return {found.laddr.ip for found in connections if found.status == psutil.CONN_LISTEN}


def test_the_port_is_kept(tmp_path: Path) -> None:
    """A broker that is started again, by the same or another controller, has the port of its first start."""
    with running(tmp_path) as (broker, first):
        broker.stop()
        assert broker.start() == first
    with running(tmp_path) as (_, again):
        assert again == first


def test_what_clients_write_into_the_log_is_no_reload() -> None:
    """Only a whole line of the server itself says that it has read its list of users, or why not."""
    head = "[7] 2026/11/21 06:35:43.349044"
    forged = f'{head} [ERR] 127.0.0.1:1 - mid:9 - "Reloaded server configuration"\n'
    assert reload_outcome(forged, 7) is None
    refused = f"{head} [ERR] Failed to reload server configuration: Parse error on line 1\n"
    outcome = reload_outcome(forged + refused + forged, 7)
    assert outcome is not None
    assert outcome["failed"] == "Parse error on line 1"
    outcome = reload_outcome(f"{forged}{head} [INF] Reloaded server configuration (sha256:7c)\n", 7)
    assert outcome is not None
    assert outcome["failed"] is None


def test_loopback_only_and_private_files(tmp_path: Path) -> None:
    """The broker listens on 127.0.0.1 only, and its configuration is readable by its owner only."""
    with running(tmp_path) as (broker, address):
        assert broker.pid is not None
        assert listening(broker.pid) == {"127.0.0.1"}
        assert address.host == "127.0.0.1"
    assert (tmp_path / "nats.conf").stat().st_mode & 0o777 == 0o600


def test_a_killed_broker_comes_back_with_what_it_held(tmp_path: Path) -> None:
    """After SIGKILL the child comes back on its port with its retained messages, and the cause is named."""
    published = {f"ew/1/tuf/{number}.root.json": os.urandom(1000) for number in range(100)}
    with running(tmp_path) as (broker, address):
        retain(address, published)
        for restarts in (1, 2):
            killed = broker.pid
            assert killed is not None
            os.kill(killed, signal.SIGKILL)
            eventually(lambda killed=killed: broker.pid not in (None, killed))  # type: ignore[misc]  # bound in the loop
            assert heard(address, "ew/1/tuf/+", 100) == published
            assert broker.restarts == restarts
            assert "signal 9" in broker.last_failure


def test_the_child_of_a_killed_controller_ends(tmp_path: Path) -> None:
    """A controller that is killed with SIGKILL leaves no broker behind, and the next one gets the port."""
    program = (
        "import sys, time; from pathlib import Path;"
        "from edgewright.controller.broker.embedded import EmbeddedBroker;"
        "broker = EmbeddedBroker(Path(sys.argv[1]), None); address = broker.start();"
        "print(broker.pid, address.port, flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE
    ) as controller:
        assert controller.stdout is not None
        child, port = map(int, controller.stdout.readline().split())
        controller.kill()
    eventually(lambda: not psutil.pid_exists(child))
    with running(tmp_path) as (_, address):
        assert address.port == port


def test_a_taken_port_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that somebody else holds ends with E063 and the port's number, and leaves no child."""
    monkeypatch.setattr(embedded, "PORT_S", 0.1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        broker = EmbeddedBroker(tmp_path, None, port)
        with pytest.raises(BrokerStartError, match=rf"E063 .*{port}"):
            broker.start()
        assert broker.pid is None


def test_a_broker_that_ends_at_once_is_a_clear_error(tmp_path: Path) -> None:
    """A store that the server cannot use ends with E063 and the server's own words, and leaves no child."""
    (tmp_path / "store").write_text("not a folder")
    broker = EmbeddedBroker(tmp_path, None)
    with pytest.raises(BrokerStartError, match=r"E063 .*exit status 1.*storage directory"):
        broker.start()
    assert broker.pid is None


def test_an_unreadable_port_file_is_a_clear_error(tmp_path: Path) -> None:
    """A port file without a number ends with E063 and says what to do."""
    (tmp_path / "port").write_text("soon")
    with pytest.raises(BrokerStartError, match=r"E063 .*port number; delete it"):
        EmbeddedBroker(tmp_path, None).start()


def test_stop_ends_the_child_and_may_be_repeated(tmp_path: Path) -> None:
    """After stop() there is no child, and a second stop does nothing."""
    with running(tmp_path) as (broker, _):
        child = broker.pid
        assert child is not None
        broker.stop()
        assert not psutil.pid_exists(child)
        broker.stop()
