"""What the doctor says: the step that fails, and what to do about it."""

import fcntl
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from edgewright.agent.configuration import read_settings
from edgewright.agent.database import Database
from edgewright.agent.doctor import Finding, examine
from edgewright.agent.enrolment import Request, enrol
from edgewright.agent.settings import (
    BrokerSettings,
    InterlockSettings,
    RuntimeSettings,
    Settings,
    SinkSettings,
    SourceSettings,
    UpdateSettings,
)
from tests.contract.brokers import free_port
from tests.controller.doors import OpenDoor, opened


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenDoor]:
    """A controller that enrols."""
    with opened(tmp_path_factory.mktemp("controller")) as door:
        yield door


@pytest.fixture
def settings(door: OpenDoor, tmp_path: Path) -> Settings:
    """An enrolled device that has a journal."""
    request = Request("press-7", "x86_64-ort-cpu", {}, door.token(device="press-7"))
    settings = read_settings(enrol(door.url, request, tmp_path / "data"))
    Database(settings.database).close()
    return settings


def findings(settings: Settings, word: str) -> list[Finding]:
    """What the doctor says that has a word in it."""
    return [finding for finding in examine(settings) if word in finding.said]


def only(settings: Settings, word: str) -> Finding:
    """The one thing that it says of something."""
    (found,) = findings(settings, word)
    return found


def test_every_bad_finding_says_what_to_do(settings: Settings) -> None:
    """Whatever is wrong comes with a remedy; what is good has none."""
    found = examine(settings)
    assert [finding.said for finding in found if finding.ok == bool(finding.remedy)] == []
    assert [finding.said for finding in found if not finding.ok] != []


def test_the_door_takes_this_devices_certificate(settings: Settings) -> None:
    """TLS is tried to its end with the device's own certificate."""
    found = only(settings, "controller's door")
    assert found.ok
    assert "takes this device's certificate" in found.said


@pytest.mark.parametrize(
    ("host", "said"), [("127.0.0.1", "No broker listens"), ("no-such-name.invalid", "unknown here")]
)
def test_the_broker_is_found_step_by_step(settings: Settings, host: str, said: str) -> None:
    """A name that nobody knows is another fault than a port at which nobody listens."""
    wrong = msgspec.structs.replace(settings, broker=BrokerSettings(host, free_port()))
    found = only(wrong, "of the broker" if "name" in said or "unknown" in said else "No broker")
    assert not found.ok
    assert said in found.said


def test_somebody_elses_certificate(settings: Settings, door: OpenDoor, tmp_path: Path) -> None:
    """A broker whose certificate is none of the fleet's authority is told apart from one that is away."""
    with opened(tmp_path / "impostor") as impostor:
        port = int(impostor.url.rpartition(":")[2])
        wrong = msgspec.structs.replace(settings, broker=BrokerSettings("127.0.0.1", port))
        found = only(wrong, "TLS with the broker")
    assert not found.ok
    assert "certificate" in found.said


def test_a_full_disk(settings: Settings) -> None:
    """Less free space than updates leave is bad news before an update fails by it."""
    wrong = msgspec.structs.replace(settings, update=UpdateSettings(free_mb=10**9))
    assert not only(wrong, "are free").ok


def test_places_that_are_not_there(settings: Settings, tmp_path: Path) -> None:
    """Camera, interlock, sink and a runtime's environment are each looked at and named."""
    wrong = msgspec.structs.replace(
        settings,
        source=SourceSettings(kind="camera", place="77"),
        interlock=InterlockSettings(kind="gpio", place=str(tmp_path / "value")),
        sinks=(SinkSettings(kind="file", place=str(tmp_path / "no" / "decisions.jsonl")),),
        runtime=RuntimeSettings(environments={"tflite-runtime": "/opt/no/python"}),
    )
    for word in ("/dev/video77", "interlock", "sink's folder", "/opt/no/python"):
        assert not only(wrong, word).ok, word


def test_a_look_changes_nothing(settings: Settings) -> None:
    """Nothing is put into the folder meanwhile: its time of change stays.

    Without a journal, beside which SQLite makes an index for every reader.
    """
    (settings.folder / "lock").touch()
    for path in settings.folder.glob("agent.db*"):
        path.unlink()
    before = settings.folder.stat().st_mtime_ns, sorted(path.name for path in settings.folder.iterdir())
    assert only(settings, "can be written").ok
    assert not only(settings, "does not run").ok
    after = settings.folder.stat().st_mtime_ns, sorted(path.name for path in settings.folder.iterdir())
    assert after == before


def test_a_folder_in_the_locks_place_is_no_agent(settings: Settings) -> None:
    """What is no file is not taken for a running agent."""
    (settings.folder / "lock").mkdir()
    assert not only(settings, "has never run").ok


def test_a_network_camera_and_a_callback_are_looked_at(settings: Settings) -> None:
    """Who does not listen, or is not installed, is named, and no password is shown."""
    wrong = msgspec.structs.replace(
        settings,
        source=SourceSettings(kind="rtsp", place=f"rtsp://user:hush@127.0.0.1:{free_port()}/stream"),
        sinks=(SinkSettings(kind="callback", place="no_such_package.gripper:take"),),
    )
    assert not only(wrong, "network camera").ok
    assert not only(wrong, "no_such_package").ok
    assert "hush" not in str(examine(wrong))
    right = msgspec.structs.replace(settings, sinks=(SinkSettings(kind="callback", place="json:dumps"),))
    assert only(right, "callback's package json").ok


def test_a_look_throws_no_machine_out(settings: Settings) -> None:
    """While the agent runs nobody connects to the cell's socket, which takes one machine at a time."""
    with (
        (settings.folder / "lock").open("a") as lock,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)
        listener.bind(str(settings.cell_socket))
        listener.listen(1)
        listener.settimeout(0)
        assert only(settings, "The agent runs").ok
        assert only(settings, "The line listens").ok
        with pytest.raises(BlockingIOError):
            listener.accept()
