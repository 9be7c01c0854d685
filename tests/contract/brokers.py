"""Real MQTT brokers for tests: each on a free loopback port, with a folder of its own, ended by process id.

A test that takes the fixture ``broker`` runs once for each broker. Debian's mosquitto may be missing: the
test is then skipped with a notice, unless ``EDGEWRIGHT_REQUIRE_MOSQUITTO=1`` says that it has to be there.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import pytest

START_SECONDS = 20.0
"""How long a broker may take to answer; a hang guard, brokers answer in well under a second."""


def free_port() -> int:
    """A loopback port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Broker(ABC):
    """A broker process that keeps its port and its folder over restarts.

    Attributes:
        host, port: where MQTT 3.1.1 answers.
    """

    host = "127.0.0.1"
    name: ClassVar[str]

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @abstractmethod
    def _command(self) -> list[str]:
        """Write the configuration and say how to start the broker."""

    @property
    def pid(self) -> int:
        """Process id of the running broker."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the broker and wait until its port answers."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command(), stdout=log, stderr=log, cwd=self._folder)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                socket.create_connection((self.host, self.port), timeout=1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        raise RuntimeError(f"{self.name} did not start: {(self._folder / 'log').read_text()[-2000:]}")

    def stop(self) -> None:
        """End the broker as a service manager would; retained messages survive."""
        self._end(hard=False)

    def crash(self) -> None:
        """End the broker with SIGKILL."""
        self._end(hard=True)

    def _end(self, *, hard: bool) -> None:
        if self._process is None:
            return
        if hard:
            self._process.kill()
        else:
            self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


class NatsBroker(Broker):
    """The embedded broker: a NATS server with its MQTT door."""

    name = "nats"

    def _command(self) -> list[str]:
        config = self._folder / "nats.conf"
        config.write_text(
            f'server_name: test\nhost: "127.0.0.1"\nport: {free_port()}\n'
            f'jetstream {{\n  store_dir: "{self._folder / "jetstream"}"\n}}\n'
            f'mqtt {{\n  host: "127.0.0.1"\n  port: {self.port}\n  max_ack_pending: 200\n}}\n'
        )
        return [str(Path(sys.executable).parent / "nats-server"), "-c", str(config)]


class MosquittoBroker(Broker):
    """A site's broker: Debian's mosquitto."""

    name = "mosquitto"

    def _command(self) -> list[str]:
        config = self._folder / "mosquitto.conf"
        config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n"
            f"persistence true\npersistence_location {self._folder}/\n"
            "max_inflight_messages 200\nmax_queued_messages 10000\n"
        )
        return self.command_for(config)

    @staticmethod
    def command_for(config: Path) -> list[str]:
        """How to start it on a configuration."""
        if os.geteuid() == 0:  # it would become a user who cannot read the test's folder
            config.write_text(f"user root\n{config.read_text()}")
        return [_mosquitto(), "-c", str(config)]


def _mosquitto() -> str:
    found = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found:
        return found
    if os.environ.get("EDGEWRIGHT_REQUIRE_MOSQUITTO") == "1":
        pytest.fail("mosquitto is required here and not installed: apt-get install mosquitto")
    pytest.skip("mosquitto is not installed; apt-get install mosquitto runs this test")


KINDS: dict[str, type[Broker]] = {"nats": NatsBroker, "mosquitto": MosquittoBroker}


@contextmanager
def running(kind: str, folder: Path) -> Iterator[Broker]:
    """A running broker of a kind; it has ended when the block is left."""
    broker = KINDS[kind](folder)
    broker.start()
    try:
        yield broker
    finally:
        broker.crash()


@pytest.fixture(params=["nats", pytest.param("mosquitto", marks=pytest.mark.mosquitto)])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    """Each broker in turn."""
    with running(request.param, tmp_path / "broker") as started:
        yield started


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[Broker]:
    """The embedded broker only, for tests whose subject is not the broker."""
    with running("nats", tmp_path / "broker") as started:
        yield started
