"""What systemd hears: readiness and life on its socket, priorities in its journal."""

import logging
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from edgewright.agent.servicemanager import ALIVE, READY, notify

LOG = (
    "import logging; from edgewright.agent.servicemanager import set_up_log; "
    "set_up_log(logging.INFO, 'line'); logging.warning('late'); logging.info('well')"
)


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_states_arrive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Each state is a line of one datagram, at a path or at an abstract name."""
    name = str(tmp_path / "notify") if kind == "path" else f"\0{tmp_path}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name)
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", name.replace("\0", "@"))
        notify(READY, ALIVE)
        assert manager.recv(100) == b"READY=1\nWATCHDOG=1"


def test_a_manager_that_is_away_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens, or nobody is named: the agent goes on."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    notify(ALIVE)
    monkeypatch.delenv("NOTIFY_SOCKET")
    notify(ALIVE)


def test_lines_for_the_journal_have_a_priority_and_no_time(tmp_path: Path) -> None:
    """Where standard error is the journal's each line begins with syslog's number, else with the time."""
    log = tmp_path / "log"
    with log.open("wb") as stream:
        status = log.stat()
        for journal in (f"{status.st_dev}:{status.st_ino}", "1:2"):
            environment = {"JOURNAL_STREAM": journal}
            subprocess.run(
                [sys.executable, "-c", LOG], stderr=stream, env=environment, check=True, timeout=60
            )
    with_journal, plain = log.read_text().splitlines()[:2], log.read_text().splitlines()[2:]
    assert with_journal == ["<4>line late", "<6>line well"]
    assert [line.split(" line ")[1] for line in plain] == ["WARNING late", "INFO well"]
    assert logging.getLevelName(logging.WARNING) == "WARNING"
