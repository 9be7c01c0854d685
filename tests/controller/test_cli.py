"""The command line against an application that listens on loopback."""

import json
import time
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewright.agent.certificates import make_request
from edgewright.agent.devicekey import DeviceKey
from edgewright.controller import registry
from edgewright.controller.cli import main
from edgewright.controller.cli.output import print_table
from edgewright.controller.cli.rollouts import read_wave
from edgewright.controller.database import col, select
from edgewright.controller.database.tables import Device, ModelVersion, Rollout
from edgewright.controller.errors import GateFailedError, InvalidRequestError
from tests.controller.parts import TOKEN, Parts, keep_building, make_parts
from tests.controller.served import served
from tests.controller.storyline import MODEL, TARGETS, artifact, tell

SOURCE = Path(__file__).parents[2] / "models" / MODEL
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    """A controller in the middle of the story, listening."""
    made = make_parts(tmp_path_factory.mktemp("data"))
    tell(made.db, made.blobs, time.time() - 362.0, 362.0)
    with served(made):
        yield made
    made.db.close()


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Only what a test gives says which controller is meant."""
    for name in ("EDGEWRIGHT_URL", "EDGEWRIGHT_TOKEN", "EDGEWRIGHT_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)


def run(*arguments: str | Path) -> int:
    """The exit status of a command line."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def said(capture: Capture, *arguments: str | Path) -> str:
    """What a command that succeeds prints."""
    status = run(*arguments)
    output = capture.readouterr()
    assert (status, output.err) == (0, "")
    return output.out


def refused(capture: Capture, *arguments: str | Path) -> tuple[int, str]:
    """Status and the one line on standard error of a command that fails, with nothing on standard output."""
    status = run(*arguments)
    output = capture.readouterr()
    assert output.out == ""
    assert "Traceback" not in output.err
    (line,) = output.err.splitlines()
    return status, line


def test_devices_are_listed(parts: Parts, capsys: Capture) -> None:
    """The table has a line a robot; JSON has what the API says."""
    table = said(capsys, "devices", "--data", parts.data)
    assert "robot-1" in table
    assert "line=a, site=lyon" in table
    found = json.loads(said(capsys, "devices", "--data", parts.data, "--json"))
    assert [d["active_version"] for d in found] == [2, 1, 1, 1]


def test_a_device_that_does_not_fit_is_told(parts: Parts, capsys: Capture) -> None:
    """Lists say which robot is not what its target asks for and why, and a robot's own page what it is."""
    with parts.db.session() as session:
        robot = session.get_one(Device, "robot-1")
        robot.machine, robot.cpu, robot.memory_mb = "x86_64", ["sse4"], 2048
        robot.runtimes = ["onnxruntime 1.31.1 CPUExecutionProvider"]
    where = ["--data", str(parts.data)]
    listed = said(capsys, "devices", *where)
    assert "robot-1 is not what x86_64-ort-cpu asks for: its processor lacks vnni." in listed
    assert "x86_64-ort-cpu-fp32 would fit robot-1" in listed
    shown = said(capsys, "device", "robot-1", *where)
    assert "x86_64 with sse4" in shown
    assert "2048 MiB" in shown
    assert json.loads(said(capsys, "device", "robot-1", *where, "--json"))["fits"] == "no"
    targets = {t["name"]: t for t in json.loads(said(capsys, "targets", *where, "--json"))}
    assert targets["x86_64-ort-cpu-fp32"]["fitting"] == 1
    assert "x86_64-cuda is not yet qualified: " in said(capsys, "targets", *where)
    assert "fitting" not in json.loads(said(capsys, "targets", "--json"))[0]


def test_models_drift_events_and_targets_are_told(parts: Parts, capsys: Capture) -> None:
    """Each listing command prints a table, and with --json a document."""
    assert "rebuilt from v1" in said(capsys, "models", "--data", parts.data)
    drift = said(capsys, "drift", MODEL, "--data", parts.data)
    assert "1.4 %" in drift
    assert "rebuild 1" in drift
    assert "robot-1 runs" in said(capsys, "events", "--data", parts.data)
    assert "x86_64-ort-cpu" in said(capsys, "targets")
    for command in (["models"], ["drift"], ["events"], ["rollout", "list"], ["rollout", "show", "2"]):
        json.loads(said(capsys, *command, "--data", parts.data, "--json"))
    json.loads(said(capsys, "targets", "--json"))


def test_a_rollout_is_steered(parts: Parts, capsys: Capture) -> None:
    """Create, show, pause, resume, abort: each says what it did, and the controller's row agrees."""
    created = said(
        capsys,
        "rollout",
        "create",
        MODEL,
        "2",
        "--selector",
        "line=b",
        "--wave",
        "1:quality",
        "--wave",
        "all",
        "--data",
        parts.data,
    )
    number = int(created.split()[1])
    where = ["--data", str(parts.data)]
    said(capsys, "rollout", "pause", str(number), "--reason", "lunch", *where)
    with parts.db.reading() as session:
        row = session.get(Rollout, number)
        assert row is not None
        assert (row.state, row.reason) == ("paused", "lunch")
        assert [wave["gate"] for wave in row.waves] == ["quality", "install"]
    assert "lunch" in said(capsys, "rollout", "show", str(number), *where)
    said(capsys, "rollout", "resume", str(number), *where)
    said(capsys, "rollout", "abort", str(number), *where)
    assert refused(capsys, "rollout", "resume", str(number), *where)[0] == 93
    assert "stopped" in said(capsys, "rollout", "list", *where)


def test_a_token_enrols(parts: Parts, capsys: Capture) -> None:
    """The printed token is the whole output, and takes a device in."""
    token = said(capsys, "token", "--data", parts.data).strip()
    csr = b64decode(make_request(DeviceKey.generate(), "robot-7"))
    parts.enrolment.enrol("robot-7", "x86_64-ort-cpu", {}, token, csr)
    with parts.db.session() as session:
        row = session.get(Device, "robot-7")
        assert row is not None
        session.delete(row)


def test_the_controller_is_found_by_address_and_environment(
    parts: Parts, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address with a token in the environment is enough; so is the data folder in the environment."""
    address = json.loads((parts.data / "endpoint.json").read_text())["api"]
    monkeypatch.setenv("EDGEWRIGHT_TOKEN", TOKEN)
    assert "robot-1" in said(capsys, "devices", "--url", address)
    monkeypatch.setenv("EDGEWRIGHT_URL", address)
    assert "robot-1" in said(capsys, "devices")
    monkeypatch.delenv("EDGEWRIGHT_URL")
    monkeypatch.delenv("EDGEWRIGHT_TOKEN")
    monkeypatch.setenv("EDGEWRIGHT_DATA", str(parts.data))
    assert "robot-1" in said(capsys, "devices")


def test_an_absent_controller_is_one_sentence(
    parts: Parts, capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without a controller every way of naming one ends with E064 and the remedy."""
    status, line = refused(capsys, "devices", "--data", tmp_path)
    assert status == 64
    assert "edgewright up" in line
    assert refused(capsys, "devices")[0] == 64
    monkeypatch.setenv("EDGEWRIGHT_TOKEN", TOKEN)
    for address in ("http://127.0.0.1:9", "http://[", "nonsense"):
        assert refused(capsys, "devices", "--url", address)[0] == 64


def test_a_wrong_token_is_one_sentence(
    parts: Parts, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The controller's refusal comes out with its number, and without the token."""
    monkeypatch.setenv("EDGEWRIGHT_TOKEN", "ew_wrong")
    status, line = refused(capsys, "devices", "--data", parts.data)
    assert status == 94
    assert line.startswith("E094 ")
    assert "ew_wrong" not in line


def test_a_data_folders_token_goes_to_its_own_controller_only(parts: Parts, capsys: Capture) -> None:
    """An address that is not the data folder's is sent no token of it; its own address is."""
    address = json.loads((parts.data / "endpoint.json").read_text())["api"]
    assert "robot-1" in said(capsys, "devices", "--url", f"{address}/", "--data", parts.data)
    status, line = refused(capsys, "devices", "--url", "http://127.0.0.1:9", "--data", parts.data)
    assert status == 94  # not 64: nothing was sent
    assert "EDGEWRIGHT_TOKEN" in line


def test_problems_are_shown_word_for_word(parts: Parts, capsys: Capture) -> None:
    """What the controller says of a model, a rollout or a selector is the sentence and the status."""
    where = ["--data", str(parts.data)]
    assert refused(capsys, "models", "none", *where)[0] == 90
    assert refused(capsys, "rollout", "show", "99", *where)[0] == 101
    status, line = refused(capsys, "rollout", "create", MODEL, "2", "--selector", "site=oslo", *where)
    assert status == 92
    assert line.endswith("Check the selector and the devices' targets with `edgewright devices`.")


def test_a_wrong_command_line_is_one_sentence(capsys: Capture) -> None:
    """An unknown option, command or value ends with status 2 and a hint."""
    for arguments in (["devices", "--foo"], ["fly"], ["rollout", "show", "two"]):
        status, line = refused(capsys, *arguments)
        assert status == 2
        assert line.endswith("Look at `edgewright --help`.")


def test_a_push_is_checked_before_anything_is_sent(capsys: Capture, tmp_path: Path) -> None:
    """A wrong path, a folder without model.toml and a broken one need no controller to be refused."""
    assert refused(capsys, "push", tmp_path / "nowhere")[0] == 70
    assert refused(capsys, "push", tmp_path)[0] == 70
    (tmp_path / "model.toml").write_text("[model\n")
    assert refused(capsys, "push", tmp_path)[0] == 73
    (tmp_path / "model.toml").write_text("[model]\nname = 'x'\n")
    status, line = refused(capsys, "push", tmp_path)
    assert status == 73
    assert "model.toml" in line or "[model]" in line


def test_a_push_uploads_and_queues_a_build(parts: Parts, capsys: Capture) -> None:
    """Every file that model.toml names lies in the blob store under its digest, and a build is queued."""
    output = said(capsys, "push", SOURCE, "--data", parts.data)
    number = int(output.split(" v")[1].split()[0])
    assert parts.workflows.queued[-1] == (MODEL, number)
    with parts.db.reading() as session:
        row = session.get(ModelVersion, (MODEL, number))
        assert row is not None
        assert row.state == "building"
        for name, sha256 in row.files.items():
            assert parts.blobs.read(sha256) == (SOURCE / name).read_bytes()


def test_a_push_under_way_ends_with_the_builds_error(parts: Parts, capsys: Capture) -> None:
    """A version that cannot be built ends the waiting push with the controller's number and sentence."""

    def fail(model: str, version: int) -> None:
        with parts.db.session() as session:
            registry.mark_failed(session, model, version, GateFailedError("No candidate passed."))

    parts.workflows.end = fail
    status = run("push", SOURCE, "--wait", "--data", parts.data)
    parts.workflows.end = keep_building
    assert status == 75
    assert capsys.readouterr().err.startswith("E075 No candidate passed.")


def test_a_push_with_a_rollout_reaches_the_fleet(parts: Parts, capsys: Capture) -> None:
    """When the version is built, a rollout of it with the ordered waves begins."""

    def build(model: str, version: int) -> None:
        with parts.db.session() as session:
            row = registry.find_version(session, model, version)
            row.state = "ready"
            session.add(row)
            session.add(artifact(parts.blobs, 1, TARGETS[0], version))

    parts.workflows.end = build
    output = said(capsys, "push", SOURCE, "--rollout", "--wave", "1", "--wave", "all", "--data", parts.data)
    parts.workflows.end = keep_building
    assert "has begun" in output
    with parts.db.reading() as session:
        newest = session.exec(select(Rollout).order_by(col(Rollout.id).desc())).first()
        assert newest is not None
        assert newest.version == parts.workflows.queued[-1][1]
        assert [wave["name"] for wave in newest.waves] == ["1", "all"]


def test_help_and_version_go_to_standard_output(capsys: Capture) -> None:
    """Every command has a help text; the version is the distribution's."""
    for command in ("up", "push", "devices", "models", "targets", "drift", "token", "events", "rollout"):
        assert "Usage: edgewright" in said(capsys, command, "--help")
    assert said(capsys, "version").strip() == "0.1.0"


@pytest.mark.parametrize(
    ("text", "wave"),
    [
        ("1", {"name": "1", "count": 1, "gate": "install", "soak_s": 0.0}),
        ("all:quality", {"name": "all", "gate": "quality", "soak_s": 0.0}),
        ("2.5%:install:90s", {"name": "2.5%", "percent": 2.5, "gate": "install", "soak_s": 90.0}),
    ],
)
def test_waves_are_read(text: str, wave: dict[str, object]) -> None:
    """A wave is a size, and where it is given a gate and a soak."""
    assert read_wave(text) == wave


@pytest.mark.parametrize("text", ["", "-1", "1:fast", "1:quality:5"])
def test_nonsense_is_no_wave(text: str) -> None:
    """What is not of the form is refused by a sentence with the form."""
    with pytest.raises(InvalidRequestError, match="SIZE"):
        read_wave(text)


def test_brackets_of_a_sentence_are_shown(capsys: Capture) -> None:
    """A sentence that names an entry in brackets, or looks like markup, is printed as it is."""
    print_table(("detail",), [("[data] holdout: see [/data]",)], "")
    assert "[data] holdout: see [/data]" in capsys.readouterr().out


def test_broker_show_says_what_lies_there(parts: Parts, capsys: Capture) -> None:
    """The figures of each kind, the bound, and what the broker takes, as a table and as JSON."""
    printed = said(capsys, "broker", "show", "--data", parts.data)
    assert "chunks" in printed
    assert "In all 10 MB of 50 MB." in printed
    assert "The broker (mosquitto, connected) takes 21 MB of memory." in printed
    assert "3 chunks or files were published again, 2 put off, 1 unknown or retired." in printed
    found = json.loads(said(capsys, "broker", "show", "--data", parts.data, "--json"))
    assert found["retained"]["bytes"] == 10_032_000
    assert found["retained"]["assignments"] == {"topics": 4, "bytes": 12_000}
