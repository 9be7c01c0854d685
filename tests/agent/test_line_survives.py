"""A line in a bad hour: nothing can be started, another line takes its place, a stranger, a full disk."""

import os
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgewright.agent import control
from edgewright.agent.configuration import read_settings
from edgewright.agent.database import Database
from edgewright.agent.devicekey import DeviceKey
from edgewright.agent.documents import Opened
from edgewright.agent.eventloop import EventLoop
from edgewright.agent.journal import Journal
from edgewright.agent.line.cellserver import CellServer
from edgewright.agent.line.controllink import ControlLink
from edgewright.agent.lineorders import LineOrders, follow
from edgewright.agent.lineprocess import LineProcess
from edgewright.agent.releasefiles import ReleaseFiles
from edgewright.agent.store import Store
from edgewright.agent.supervisor import Supervisor
from edgewright.wire.cell import Frame, encode
from edgewright.wire.errors import StorageFullError
from simulators.device import DeviceStub
from simulators.releases import GOLDEN, make_manifest, random_artifact
from simulators.repository import RepositorySimulator
from tests.agent.agent_rig import MODEL, AgentRig, wait_for
from tests.contract.brokers import NatsBroker

NOBODY = 65534


def command(folder: Path, *more: str) -> list[str]:
    """How a line over a folder is started."""
    start = [sys.executable, "-m", "edgewright.agent.line", "--cell-socket", str(folder / "cell.sock")]
    return [*start, "--device", "robot-1", "--window-seconds", "0.2", *more]


def test_no_descriptor_left_ends_no_line_that_lives(tmp_path: Path) -> None:
    """A supervisor without room for a socket says so and leaves the line's path; with room it adopts."""
    said: list[control.Up] = []
    path = tmp_path / "line.sock"
    with control.listen_at(path) as listener:
        line = subprocess.Popen(command(tmp_path), stdin=listener.fileno())
    try:
        wait_for((tmp_path / "cell.sock").exists, "a line")
        process = LineProcess(path, command(tmp_path), said.append, lambda: None)
        inode, limits = path.stat().st_ino, resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
        try:
            with pytest.raises(OSError, match="open files"):
                process.start()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert path.stat().st_ino == inode
        process.start()
        wait_for(lambda: said, "the line's greeting")
        assert process.adopted
        process.stop()
    finally:
        line.kill()
        line.wait()


def test_stranger_at_the_socket_costs_no_line(tmp_path: Path) -> None:
    """Who connects and goes takes the supervisor's place for a moment; the same line greets it again."""
    said: list[control.Up] = []
    line = LineProcess(tmp_path / "line.sock", command(tmp_path), said.append, lambda: None)
    line.start()
    try:
        wait_for(lambda: said, "the line's greeting")
        control.connect_to(tmp_path / "line.sock").close()
        wait_for(lambda: len([one for one in said if isinstance(one, control.Ready)]) == 2, "another")
        assert len({one.pid for one in said if isinstance(one, control.Ready)}) == 1
    finally:
        line.stop()


def test_line_that_stands_still_is_replaced(tmp_path: Path) -> None:
    """A line that takes no connection any more holds up no supervisor: it is killed."""
    path = tmp_path / "line.sock"
    with control.listen_at(path) as listener:
        standing = subprocess.Popen(command(tmp_path), stdin=listener.fileno())
    waiting = []
    line = LineProcess(path, command(tmp_path), lambda _message: None, lambda: None)
    try:
        waiting.append(control.connect_to(path))
        waiting[0].recv(control.MAX_CONTROL_BYTES)  # It listens anew by now.
        standing.send_signal(signal.SIGSTOP)
        waiting += [control.connect_to(path) for _ in range(2)]
        line.start()
        assert not line.adopted
        assert standing.wait(5) == -signal.SIGKILL
    finally:
        line.stop()
        standing.kill()
        for one in waiting:
            one.close()


def test_news_of_a_line_of_another_version_reach_its_successor(tmp_path: Path) -> None:
    """A line that is replaced tells its windows first."""
    with control.listen_at(tmp_path / "line.sock") as listener:
        old = subprocess.Popen(command(tmp_path, "--agent=1"), stdin=listener.fileno())
    left: list[control.News] = []
    line = LineProcess(
        tmp_path / "line.sock",
        command(tmp_path, "--agent=2"),
        lambda _message: None,
        lambda: None,
        lambda _name, news: left.extend(news),
    )
    try:
        wait_for((tmp_path / "cell.sock").exists, "a line")
        with socket.socket(socket.AF_UNIX) as cell:
            wait_for(lambda: cell.connect_ex(str(tmp_path / "cell.sock")) == 0, "the cell's connection")
            for number in range(5):
                frame = Frame(item=str(number), deadline_ms=500, shape=(4, 4, 3), pixels=bytes(48))
                cell.sendall(encode(frame))
                assert cell.recv(9999)
        line.start()
        assert sum(one.window.frames for one in left if isinstance(one, control.WindowReady)) == 5
    finally:
        line.stop()
        old.kill()
        old.wait()


def test_late_line_knows_that_it_was_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that comes to life after its successor was made asks for the inode that its maker has told."""
    path = tmp_path / "line.sock"
    with control.listen_at(path) as first:
        monkeypatch.setenv(control.INODE_VARIABLE, str(path.stat().st_ino))
        with control.listen_at(path):
            assert ControlLink(first).replaced


def test_cell_socket_of_another_line_stays(tmp_path: Path) -> None:
    """A line that ends removes its own socket only, and one whose path was taken listens there again."""
    first = CellServer(tmp_path / "cell.sock")
    second = CellServer(tmp_path / "cell.sock")
    first.close()
    assert (tmp_path / "cell.sock").exists()
    (tmp_path / "cell.sock").unlink()
    second.keep_place()
    assert (tmp_path / "cell.sock").exists()
    second.close()
    assert not (tmp_path / "cell.sock").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_another_user_is_refused(tmp_path: Path) -> None:
    """Even where a folder's modes let another user connect, the line does not take the connection."""
    path = Path(f"/tmp/edgewright-test-{os.getpid()}.sock")
    with control.listen_at(path) as listener:
        link = ControlLink(listener)
        path.chmod(0o666)
        code = f"import socket; s = socket.socket(1, 5); s.connect({str(path)!r}); input()"
        other = subprocess.Popen(["/usr/bin/env", "python3", "-c", code], stdin=subprocess.PIPE, user=NOBODY)
        try:
            taken = []

            def came() -> bool:
                before = link.listener.getsockname()
                taken.append(link.accept())
                time.sleep(0.02)
                return bool(before) and other.poll() is None and len(taken) > 50

            wait_for(came, "the stranger")
            assert not any(taken)
        finally:
            other.kill()
            other.wait()
            path.unlink()


def test_what_the_journal_does_not_vouch_for_is_unloaded(tmp_path: Path) -> None:
    """An adopted line that decides with what the journal has refused is told to empty that slot."""
    sent: list[control.Down] = []
    held = (control.Held(slot="a", digest="0" * 64, standing="active"),)
    orders = LineOrders(sent.append)
    orders.restart(up=True, held=held)
    journal = Journal(Database(tmp_path / "agent.db"))
    follow(held, journal, orders, lambda _slot, _error: None, lambda _slot: None)
    assert sent == [control.Unload("a")]


def test_report_that_cannot_be_made_ends_no_loop() -> None:
    """The loop goes on where even the report of a surprise raises one."""

    def surprise(*_: object) -> None:
        raise sqlite3.ProgrammingError("no report either")

    EventLoop(lambda: None, lambda: None, surprise).do(surprise)


def test_unreadable_manifest_stops_no_collection(tmp_path: Path) -> None:
    """A kept file that the disk cannot read counts as damaged, and what nobody needs goes all the same."""
    store = Store(tmp_path / "store")
    unneeded = store.put(b"x")
    (tmp_path / "store" / ("0" * 64)).symlink_to("/proc/self/mem")  # Its first byte is an I/O error.
    ReleaseFiles(store).keep_only({"0" * 64})
    assert not store.has(unneeded)


def test_database_is_read_where_the_disk_takes_no_log(tmp_path: Path) -> None:
    """What the file holds is there, a commit says that the disk is full; with room again all is written."""
    path = tmp_path / "agent.db"
    database = Database(path)
    Journal(database).set_offset(7.0)
    database.close()
    blocked = tmp_path / "agent.db-shm"
    blocked.mkdir()
    database = Database(path)
    journal = Journal(database)
    assert journal.device().offset == 7.0
    with pytest.raises(StorageFullError):
        journal.begin_run()
    blocked.rmdir()
    assert not journal.begin_run()
    database.close()
    assert Journal(Database(path)).begin_run()


def test_what_an_adopted_line_says_early_is_followed_later(tmp_path: Path) -> None:
    """A model that breaks between the line's greeting and its following is given up in the journal."""
    unstarted = NatsBroker(tmp_path / "broker")
    simulator = RepositorySimulator((MODEL,))
    agent = AgentRig(tmp_path / "a", unstarted, simulator, DeviceKey.generate())
    theirs = RepositorySimulator()
    device = DeviceStub(theirs, agent.folder).start()
    for version in (1, 2):
        artifact = random_artifact(version)
        theirs.assign(theirs.release(make_manifest(version, artifact), artifact, GOLDEN))
        device.read_topics()
    active = device.journal.device().active
    held = {slot: one.release.manifest_sha256 for slot, one in device.journal.slots().items() if one}
    device.cut_power()
    assert active is not None
    assert len(held) == 2
    supervisor = Supervisor(read_settings(agent.config))
    told = tuple(
        control.Held(slot=slot, digest=held[slot], standing="active" if slot == active else "warm")
        for slot in held
    )
    supervisor._said(control.Ready(1, told))
    other = next(slot for slot in held if slot != active)
    supervisor._said(control.Broke(slot=active, error=45, detail="crashed", now_active=other))
    supervisor._opened(Opened(None, {}, None))
    assert supervisor._journal.device().active == other


def test_line_that_cannot_be_started_is_tried_again(tmp_path: Path) -> None:
    """Without a descriptor the start is put off, and the next one succeeds."""
    agent = AgentRig(
        tmp_path / "a", NatsBroker(tmp_path / "b"), RepositorySimulator((MODEL,)), DeviceKey.generate()
    )
    supervisor = Supervisor(read_settings(agent.config))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        supervisor._loop.do(supervisor._start_line)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    (_, _, again), *_ = supervisor._loop._timers
    again()
    try:
        wait_for((agent.folder / "cell.sock").exists, "a line")
    finally:
        supervisor._line.stop()
