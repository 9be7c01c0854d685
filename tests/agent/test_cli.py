"""The command line: one sentence and a number for each thing that can be wrong, never a traceback."""

import importlib.metadata
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewright.agent.cli import main
from edgewright.agent.configuration import read_settings
from edgewright.agent.database import SCHEMA_VERSION, Database
from edgewright.agent.footprint import installed_version
from edgewright.agent.identity import Identity
from edgewright.controller.database.tables import Device
from tests.contract.brokers import free_port
from tests.controller.doors import OpenDoor, opened


@pytest.fixture
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenDoor]:
    """A controller that enrols."""
    with opened(tmp_path_factory.mktemp("controller")) as door:
        yield door


def enroll(url: str, data: Path, *more: str) -> int:
    """Run ``enroll``."""
    command = ["enroll", "--controller", url, "--device", "press-7", "--target", "t", "--data", str(data)]
    return main([*command, *more])


def test_enroll_writes_a_complete_private_folder(door: OpenDoor, tmp_path: Path) -> None:
    """After enrolment configuration and roots are there, and only the owner can read them."""
    token = door.token(tags={"floor": "2"})
    assert enroll(door.url, tmp_path, "--token", token, "--tag", 'site=L"yon', "--tag", "line=a=b") == 0
    settings = read_settings(tmp_path / "agent.toml")
    tags = {"site": 'L"yon', "line": "a=b", "floor": "2"}
    assert (settings.device, settings.tags) == ("press-7", tags)
    assert (settings.broker.host, settings.broker.tls, settings.door) == ("127.0.0.1", True, door.url)
    identity = Identity.load(tmp_path)
    files = [tmp_path / "agent.toml", settings.image_root, settings.director_root, *identity.folder.iterdir()]
    for path in files:
        assert path.stat().st_mode & 0o077 == 0
        assert token.partition(".")[0] not in path.read_text()
    with door.parts.db.reading() as session:
        row = session.get(Device, "press-7")
        assert row is not None
        assert (row.target, row.tags, row.public_key) == ("t", tags, identity.key.public_der())


def test_token_may_come_from_the_environment(
    door: OpenDoor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EDGEWRIGHT_TOKEN carries the token, so that no process list shows it."""
    monkeypatch.setenv("EDGEWRIGHT_TOKEN", door.token())
    assert enroll(door.url, tmp_path) == 0


def test_refused_token_is_one_sentence(
    door: OpenDoor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A controller that refuses ends with E041 and its own sentence; nothing is written."""
    wrong = f"ewe_x.{door.authority.fingerprint}"
    assert enroll(door.url, tmp_path, "--token", wrong) == 41
    assert capsys.readouterr().err.startswith(
        "E041 The controller answered 403: The enrolment token is unknown"
    )
    assert not (tmp_path / "agent.toml").exists()


def test_forged_root_is_refused(door: OpenDoor, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A root that does not sign itself is not taken, and no configuration is written."""
    forged = json.loads(door.director_root)
    forged["signed"]["version"] = 9
    door.director_root = json.dumps(forged).encode()
    assert enroll(door.url, tmp_path, "--token", door.token()) == 41
    assert "does not sign itself" in capsys.readouterr().err
    assert not (tmp_path / "agent.toml").exists()


@pytest.mark.parametrize(
    "url", ["https://127.0.0.1:{port}", "http://127.0.0.1:{port}", "ftp://127.0.0.1", "nonsense"]
)
def test_unreachable_controller(tmp_path: Path, capsys: pytest.CaptureFixture[str], url: str) -> None:
    """An address where nothing answers ends with E041."""
    assert enroll(url.format(port=free_port()), tmp_path, "--token", "x." + "0" * 64) == 41
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


def test_newer_data_folder(door: OpenDoor, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A data folder of a newer agent ends ``run`` with status 49 and its remedy."""
    enroll(door.url, tmp_path, "--token", door.token())
    database = Database(tmp_path / "agent.db")
    database.connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    database.close()
    assert main(["run", "--config", str(tmp_path / "agent.toml")]) == 49
    assert "Run the newer agent again" in capsys.readouterr().err


def test_doctor_names_what_is_wrong(
    door: OpenDoor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a device that was only enrolled, doctor finds no broker, no agent and no model, and ends with 1."""
    door.broker_port = free_port()
    enroll(door.url, tmp_path, "--token", door.token())
    Database(tmp_path / "agent.db").close()
    capsys.readouterr()
    assert main(["doctor", "--config", str(tmp_path / "agent.toml")]) == 1
    said = capsys.readouterr().out
    for wrong in ("No broker listens", "has never run here", "No model decides"):
        assert wrong in said
    assert "can be written" in said
    assert "The certificate is good for 90 days." in said


def test_status_before_the_first_start(
    door: OpenDoor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a journal, status says so by number."""
    enroll(door.url, tmp_path, "--token", door.token())
    assert main(["status", "--config", str(tmp_path / "agent.toml")]) == 40
    assert not (tmp_path / "agent.db").exists()


@pytest.mark.parametrize("name", ["edgewright-agent", "onnxruntime", "paho-mqtt"])
def test_versions_are_read_without_metadata_machinery(name: str) -> None:
    """The small reader of versions agrees with the standard library's."""
    assert installed_version(name) == importlib.metadata.version(name)
