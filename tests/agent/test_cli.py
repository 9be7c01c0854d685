"""The command line: one sentence and a number for each thing that can be wrong, never a traceback."""

import importlib.metadata
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from edgewright.agent.cli import main
from edgewright.agent.database import Database
from edgewright.agent.footprint import installed_version
from edgewright.agent.settings import read_settings
from simulators.repository import RepositorySimulator
from tests.contract.brokers import free_port


class ControllerDoor(HTTPServer):
    """The controller's enrolment address; ``answer`` is what it says, ``asked`` what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        simulator = RepositorySimulator()
        self.asked: list[dict[str, Any]] = []
        self.status = 200
        self.answer: dict[str, Any] = {
            "broker": {"host": "127.0.0.1", "port": 1883},
            "image_root": json.loads(simulator.image_root),
            "director_root": json.loads(simulator.director_root),
        }

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: ControllerDoor

    def do_POST(self) -> None:
        assert self.path == "/api/v1/enrol"
        self.server.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(json.dumps(self.server.answer).encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        """Say nothing."""


@pytest.fixture
def door() -> Iterator[ControllerDoor]:
    """A controller that enrols."""
    server = ControllerDoor()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def enroll(url: str, data: Path, *more: str) -> int:
    """Run ``enroll``."""
    command = ["enroll", "--controller", url, "--device", "press-7", "--target", "t", "--data", str(data)]
    return main([*command, *more])


def test_enroll_writes_a_complete_private_folder(door: ControllerDoor, tmp_path: Path) -> None:
    """After enrolment configuration and roots are there, and only the owner can read them."""
    assert enroll(door.url, tmp_path, "--token", "s3cret", "--tag", 'site=L"yon', "--tag", "line=a=b") == 0
    settings = read_settings(tmp_path / "agent.toml")
    assert (settings.device, settings.tags) == ("press-7", {"site": 'L"yon', "line": "a=b"})
    assert settings.broker.port == 1883
    for path in (tmp_path / "agent.toml", settings.image_root, settings.director_root):
        assert path.stat().st_mode & 0o077 == 0
        assert "s3cret" not in path.read_text()
    assert door.asked[0] == {"device": "press-7", "target": "t", "tags": settings.tags, "token": "s3cret"}


def test_token_may_come_from_the_environment(
    door: ControllerDoor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EDGEWRIGHT_TOKEN carries the token, so that no process list shows it."""
    monkeypatch.setenv("EDGEWRIGHT_TOKEN", "from-environment")
    assert enroll(door.url, tmp_path) == 0
    assert door.asked[0]["token"] == "from-environment"


def test_refused_token_is_one_sentence(
    door: ControllerDoor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A controller that refuses ends with E041 and its own sentence; nothing is written."""
    door.status, door.answer = 403, {"detail": "The token was used before."}
    assert enroll(door.url, tmp_path, "--token", "x") == 41
    assert capsys.readouterr().err.startswith("E041 The controller answered 403: The token was used before.")
    assert not (tmp_path / "agent.toml").exists()


def test_forged_root_is_refused(
    door: ControllerDoor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A root that does not sign itself is not taken, and no configuration is written."""
    door.answer["director_root"]["signed"]["version"] = 9
    assert enroll(door.url, tmp_path, "--token", "x") == 41
    assert "does not sign itself" in capsys.readouterr().err
    assert not (tmp_path / "agent.toml").exists()


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}", "ftp://127.0.0.1", "nonsense"])
def test_unreachable_controller(tmp_path: Path, capsys: pytest.CaptureFixture[str], url: str) -> None:
    """An address where nothing answers ends with E041."""
    assert enroll(url.format(port=free_port()), tmp_path, "--token", "x") == 41
    assert capsys.readouterr().err.startswith("E041 ")


GOOD = 'device = "a"\ntarget = "t"\ndata = "{data}"\n[broker]\nhost = "h"\nport = 1\n'


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (None, "cannot be read"),
        ("device = ", "no TOML"),
        (GOOD.replace("port = 1", "port = 99999"), "port"),
        (GOOD.replace('"a"', '"a/b"'), "a/b"),
        (GOOD + "colour = 3\n", "colour"),
        (GOOD.replace("{data}", "/" + "x" * 120), "too long"),
        (GOOD, "Enrol this device first"),
    ],
)
def test_wrong_configuration_names_its_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, named: str
) -> None:
    """Each wrong configuration ends with E040 and a sentence that names what is wrong."""
    config = tmp_path / "agent.toml"
    if text is not None:
        config.write_text(text.replace("{data}", str(tmp_path)))
    assert main(["run", "--config", str(config)]) == 40
    said = capsys.readouterr().err
    assert said.startswith("E040 ")
    assert named in said
    assert "Traceback" not in said


def test_newer_data_folder(door: ControllerDoor, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A data folder of a newer agent ends ``run`` with status 49 and its remedy."""
    enroll(door.url, tmp_path, "--token", "x")
    database = Database(tmp_path / "agent.db")
    database.connection.execute("PRAGMA user_version = 2")
    database.close()
    assert main(["run", "--config", str(tmp_path / "agent.toml")]) == 49
    assert "Run the newer agent again" in capsys.readouterr().err


def test_doctor_names_what_is_wrong(
    door: ControllerDoor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a device that was only enrolled, doctor finds no broker, no line and no model, and ends with 1."""
    door.answer["broker"]["port"] = free_port()
    enroll(door.url, tmp_path, "--token", "x")
    Database(tmp_path / "agent.db").close()
    capsys.readouterr()
    assert main(["doctor", "--config", str(tmp_path / "agent.toml")]) == 1
    said = capsys.readouterr().out
    for wrong in ("No broker answers", "No line listens", "No model decides"):
        assert wrong in said
    assert "can be written" in said


def test_status_before_the_first_start(
    door: ControllerDoor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a journal, status says so by number."""
    enroll(door.url, tmp_path, "--token", "x")
    assert main(["status", "--config", str(tmp_path / "agent.toml")]) == 40
    assert not (tmp_path / "agent.db").exists()


@pytest.mark.parametrize("name", ["edgewright-agent", "onnxruntime", "paho-mqtt"])
def test_versions_are_read_without_metadata_machinery(name: str) -> None:
    """The small reader of versions agrees with the standard library's."""
    assert installed_version(name) == importlib.metadata.version(name)
