"""A line without its supervisor, and with the next one; the test plays both supervisors and the machine."""

import signal
import subprocess
from pathlib import Path
from queue import SimpleQueue

import pytest

from edgewright.agent.configuration import format_settings, read_settings
from edgewright.agent.control import (
    MAX_CONTROL_BYTES,
    Proven,
    Ready,
    Shadow,
    Shadowed,
    Stop,
    Swap,
    Swapped,
    Up,
    WindowReady,
    connect_to,
    listen_at,
)
from edgewright.agent.lineprocess import LineProcess, command_of, line_command
from edgewright.agent.settings import BrokerSettings, Settings
from edgewright.wire.errors import RunnerCrashError
from tests.agent.line_rig import PATIENCE_S, LineRig, running_line
from tests.agent.tiny_models import write_release


def _held(ready: Ready) -> dict[str, tuple[str, str]]:
    return {held.slot: (held.digest, held.standing) for held in ready.held}


def _ask_alone(rig: LineRig) -> None:
    for i in range(150):
        assert rig.ask(f"alone-{i}", 200).source == "active"


def test_a_line_goes_on_without_its_supervisor(tmp_path: Path) -> None:
    """Frames are decided while nobody listens, and the next supervisor hears of every one in the windows."""
    old, new = write_release(tmp_path, 1), write_release(tmp_path, 2)
    with running_line(tmp_path, window_seconds=0.1) as rig:
        rig.run("a", old)
        rig.run("b", new)
        rig.connect()
        rig.control.close()
        _ask_alone(rig)
        ready = rig.adopt()
        assert ready.pid == rig.process.pid
        assert _held(ready) == {"a": (old.digest, "warm"), "b": (new.digest, "active")}
        rig.order(Stop())
        assert rig.process.wait(PATIENCE_S) == 0
        assert sum(ready.window.frames for ready in rig.saw(WindowReady)) == 150


def test_a_newer_supervisor_replaces_the_old_one(tmp_path: Path) -> None:
    """A second connection is greeted and obeyed; the first one, of a supervisor that hangs, is closed."""
    with running_line(tmp_path) as rig:
        hanging = rig.control
        rig.control = hanging.dup()
        rig.adopt()
        rig.run("a", write_release(tmp_path))
        hanging.settimeout(PATIENCE_S)
        assert hanging.recv(1) == b""
        hanging.close()


@pytest.mark.parametrize("order", [Swap("b", 5), Shadow("b", 10_000)])
def test_what_a_lost_supervisor_ordered_does_not_happen(tmp_path: Path, order: Swap | Shadow) -> None:
    """A swap that waits and a shadowing end with the connection, and the candidate can be ordered again."""
    new = write_release(tmp_path, 2)
    with running_line(tmp_path) as rig:
        rig.run("a", write_release(tmp_path, 1))
        assert rig.load("b", new).ok
        rig.connect()
        rig.ask("unsafe", 200, safe=False)
        rig.order(order)
        rig.ask("unsafe too", 200, safe=False)
        assert _held(rig.adopt())["b"] == (new.digest, "candidate")
        assert [rig.ask(str(i), 200).version for i in range(20)] == [1] * 20
        rig.order(Shadow("b", 0))
        rig.expect(Shadowed)
        rig.order(Swap("b", 0))
        rig.ask("safe", 200)
        rig.expect(Proven)


def test_a_model_that_breaks_alone_is_told_to_the_next(tmp_path: Path) -> None:
    """Without a supervisor a model on probation is given up all the same; the next one hears why."""
    bad = write_release(tmp_path, 2)
    with running_line(tmp_path) as rig:
        rig.run("a", write_release(tmp_path, 1))
        assert rig.load("b", bad).ok
        rig.order(Swap("b", 100_000))
        rig.expect(Swapped)
        rig.control.close()
        rig.connect()
        for _ in range(3):
            rig.wait_for(lambda: rig.ask("before", 200).source == "active")
            rig.signal_runner(bad, signal.SIGKILL)
            rig.wait_for(lambda: rig.ask("after", 200).source == "standby" or _back(rig))
        rig.wait_for(lambda: _back(rig))
        (a, b) = sorted(rig.adopt().held, key=lambda held: held.slot)
        assert (a.standing, b.standing, b.digest) == ("active", "broken", bad.digest)
        assert b.error == RunnerCrashError.number
        assert b.detail
        assert rig.load("b", write_release(tmp_path, 3)).ok
        assert "broken" not in {standing for _, standing in _held(rig.adopt()).values()}


def _back(rig: LineRig) -> bool:
    decision = rig.ask("which", 200)
    return (decision.source, decision.version) == ("active", 1)


def test_a_line_whose_place_is_taken_ends(tmp_path: Path) -> None:
    """Two lines never serve one cell: the one whose control socket's path leads elsewhere ends by itself."""
    with running_line(tmp_path) as rig:
        rig.run("a", write_release(tmp_path))
        with listen_at(tmp_path / "line.sock"):
            assert rig.process.wait(PATIENCE_S) == 0


def test_the_control_socket_is_private(tmp_path: Path) -> None:
    """Only this user may connect to a line."""
    with running_line(tmp_path):
        assert (tmp_path / "line.sock").stat().st_mode & 0o777 == 0o600


def _settings(folder: Path, share: float) -> Settings:
    folder.mkdir(exist_ok=True)
    broker = BrokerSettings("127.0.0.1", 1, tls=False)
    text = format_settings("robot-1", "t", {}, folder, broker) + f"\n[line]\ncapture_share = {share}\n"
    (folder / "agent.toml").write_text(text)
    return read_settings(folder / "agent.toml")


@pytest.mark.parametrize(("share", "adopted"), [(0.5, True), (0.25, False)])
def test_a_line_with_other_settings_is_replaced(tmp_path: Path, share: float, adopted: bool) -> None:
    """A supervisor adopts the line that was started with its very settings, and ends one with others."""
    before = _settings(tmp_path, 0.5)
    with listen_at(before.line_socket) as listener:
        left = subprocess.Popen(line_command(before), stdin=listener.fileno())
    try:
        with connect_to(before.line_socket) as gone:
            gone.settimeout(PATIENCE_S)
            assert gone.recv(MAX_CONTROL_BYTES)
        settings = _settings(tmp_path, share)
        said: SimpleQueue[Up] = SimpleQueue()
        line = LineProcess(settings.line_socket, line_command(settings), said.put, lambda: None)
        line.start()
        ready = said.get(timeout=PATIENCE_S)
        assert isinstance(ready, Ready)
        assert (ready.pid == left.pid, line.adopted) == (adopted, adopted)
        line.stop()
        assert not command_of(ready.pid)
    finally:
        left.kill()
        left.wait()
