"""MLflow's registry: names and addresses always; the round trip where the extra is installed."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgewright.controller import aliases
from edgewright.controller.cli import main
from edgewright.controller.database.tables import Artifact, ModelVersion, Rollout
from edgewright.controller.errors import ExchangeError
from edgewright.controller.exchange import mlflow_registry
from edgewright.controller.exchange.mlflow_registry import MlflowRegistry, Registration
from edgewright.controller.exchange.onnxfile import read_whole
from edgewright.controller.exchange.origin import read_origin
from edgewright.controller.exchange.references import (
    Reference,
    choose_file,
    public_address,
    read_reference,
    verify_source,
    verify_tracking,
)
from tests.controller.parts import Parts, make_parts
from tests.controller.served import served
from tests.controller.storyline import MODEL, TARGETS, tell

needs_mlflow = pytest.mark.skipif(
    not mlflow_registry.installed() and os.environ.get("EDGEWRIGHT_REQUIRE_MLFLOW") != "1",
    reason="needs the extra edgewright-controller[mlflow]: run .ci/mlflow",
)

SILENCE = """
import os, socket, sys

def watch(event, arguments):
    if event == "socket.getaddrinfo" or (event == "socket.connect" and arguments[0].family != socket.AF_UNIX):
        os.write(2, f"{event} {arguments}".encode())
        os._exit(3)

sys.addaudithook(watch)
"""


def _network() -> onnx.ModelProto:
    weight = numpy_helper.from_array(np.arange(4096, dtype=np.float32).reshape(64, 64), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 64])],
        [weight],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("text", ["", "a@", "a/", "a/b", "a@b@c", "a:b", "a/1/2", "@champion"])
def test_what_names_no_version_there(text: str) -> None:
    """Neither an alias nor a number, or no model: E113."""
    with pytest.raises(ExchangeError):
        read_reference(text)


def test_what_names_a_version_there() -> None:
    """A model alone means its newest version; names may hold spaces, as MLflow's do."""
    assert read_reference("My model@line_b.2") == Reference("My model", alias="line_b.2")
    assert read_reference("p/12") == Reference("p", version="12")
    assert read_reference("p") == Reference("p")


@pytest.mark.parametrize(
    "address",
    ["http://ada:secret@h:5000/x", "sqlite:////home/ada/m.db", "/home/ada", "file:///home/ada", "a b"],
)
def test_what_of_an_address_is_kept(address: str) -> None:
    """Neither a path nor a person nor a password."""
    kept = public_address(address)
    assert not any(word in kept for word in ("ada", "secret", "home"))


def test_a_password_on_the_command_line_is_refused() -> None:
    """Everybody on the machine can read it; MLflow takes it from its environment."""
    for address in (
        "https://ada:secret@h",
        "mysql+pymysql://h/runs?password=p",
        "https://h/?a=1&ACCESS_TOKEN=x",
        "https://h/?pwd",
    ):
        with pytest.raises(ExchangeError, match="MLFLOW_TRACKING_PASSWORD"):
            verify_tracking(address)
    for address in ("https://h:5000", "postgresql://h/runs?sslmode=require", "sqlite:///m.db"):
        verify_tracking(address)


def test_what_is_no_address_is_refused() -> None:
    """An address that cannot be read is E113 and no traceback."""
    with pytest.raises(ExchangeError, match="no address"):
        verify_tracking("http://[bad")


@pytest.mark.parametrize("source", ["file:///home/ada/.ssh", "/etc", "mlruns/7"])
def test_a_registry_elsewhere_names_no_folder_of_ours(source: str) -> None:
    """What a server calls the place of a version is not copied from this machine."""
    with pytest.raises(ExchangeError, match="on this machine"):
        verify_source("https://ml.example", source)


@pytest.mark.parametrize("names", [[], ["MLmodel"], ["a.onnx", "b.onnx"]])
def test_a_version_that_holds_no_one_network(names: list[str]) -> None:
    """None and two are refused with what there is."""
    with pytest.raises(ExchangeError):
        choose_file(names)


def test_weights_beside_the_file_come_inside(tmp_path: Path) -> None:
    """A model saved with its weights apart is read as one file that computes the same, and a whole one is
    read as it is.
    """
    onnx.save_model(_network(), tmp_path / "whole.onnx")
    assert read_whole(tmp_path / "whole.onnx") == (tmp_path / "whole.onnx").read_bytes()
    apart = tmp_path / "apart.onnx"
    onnx.save_model(_network(), apart, save_as_external_data=True, location="weights", size_threshold=0)
    (weight,) = onnx.load_from_string(read_whole(apart)).graph.initializer
    assert numpy_helper.to_array(weight).sum() == 4096 * 4095 / 2
    (tmp_path / "weights").unlink()
    with pytest.raises(ExchangeError):
        read_whole(apart)
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(ExchangeError):
        read_whole(tmp_path / "text.onnx")


def test_weights_of_inner_graphs_come_inside(tmp_path: Path) -> None:
    """Weights that lie apart in a branch and in an attribute come inside too."""
    weight = numpy_helper.from_array(np.arange(64, dtype=np.float32), "w")
    constant = helper.make_node("Constant", [], ["c"], value=weight)
    out = helper.make_tensor_value_info("o", TensorProto.FLOAT, [64])
    branch = helper.make_graph([helper.make_node("Add", ["c", "w"], ["o"])], "b", [], [out], [weight])
    branch.node.insert(0, constant)
    node = helper.make_node("If", ["x"], ["o"], then_branch=branch, else_branch=branch)
    flag = helper.make_tensor_value_info("x", TensorProto.BOOL, [])
    graph = helper.make_graph([node], "g", [flag], [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save_model(
        model,
        tmp_path / "m.onnx",
        save_as_external_data=True,
        location="weights",
        size_threshold=0,
        convert_attribute=True,
    )
    assert (tmp_path / "m.onnx").stat().st_size < 1000
    read = read_whole(tmp_path / "m.onnx")
    assert b"weights" not in read
    assert len(read) > 4 * 256
    (tmp_path / "weights").unlink()
    onnx.checker.check_model(onnx.load_from_string(read))


def test_without_mlflow(tmp_path: Path) -> None:
    """Without the extra the command is E113 with the remedy, and makes no folder."""
    program = "import sys; sys.modules['mlflow'] = None; from edgewright.controller.cli import main; main()"
    words = ["mlflow", "import", "parcels", "--tracking", "sqlite:///m.db", "--out", "new"]
    done = subprocess.run(
        [sys.executable, "-c", program, *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 113, done.stderr
    assert "edgewright-controller[mlflow]" in done.stderr
    assert not (tmp_path / "new").exists()


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A real registry in a database of its own; its artifacts lie beside it."""
    monkeypatch.chdir(tmp_path)
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    """The end of the story, with the bytes of v2's artifacts and a champion, listening."""
    made = make_parts(tmp_path / "data")
    tell(made.db, made.blobs, time.time() - 400.0, 400.0)
    with made.db.session() as session:
        aliases.crown(session, session.get_one(Rollout, 2))
        session.get_one(ModelVersion, (MODEL, 2)).card_sha256 = made.blobs.put(b"# What it is for\n")
        for target in TARGETS:
            row = session.get_one(Artifact, (MODEL, 2, target))
            row.artifact_sha256 = made.blobs.put(f"compiled for {target}".encode())
            row.numbers = {"latency_us": 300.0}
    with served(made):
        yield made
    made.db.close()


def _run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    output = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, output.out + output.err


@needs_mlflow
def test_a_version_goes_there_once(
    address: str, parts: Parts, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Artifacts, figures, alias and card stand in MLflow's registry; a second export finds the first, and an
    alias that has moved since moves there.
    """
    export = ("mlflow", "export", f"{MODEL}@2", "--tracking", address, "--data", parts.data)
    status, said = _run(capsys, *export)
    assert (status, said) == (0, f"{MODEL} v2 is registered as {MODEL} version 1, champion.\n")
    with parts.db.session() as session:
        aliases.move(session, MODEL, "line-b", 2)
    assert "was registered before as" in _run(capsys, *export)[1]
    fetched = MlflowRegistry(address).fetch(Reference(MODEL, alias="line-b"), tmp_path / "fetched")
    assert fetched.version == "1"
    assert fetched.description == "# What it is for\n"
    assert fetched.metrics[f"{TARGETS[0]}.latency_us"] == 300.0
    assert fetched.tags["edgewright.parent"] == "1"
    assert fetched.files[f"{TARGETS[1]}/model.onnx"].read_bytes() == f"compiled for {TARGETS[1]}".encode()
    assert fetched.files["card.md"].read_bytes() == b"# What it is for\n"


@needs_mlflow
def test_a_model_comes_from_there(address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The ONNX file, its run, metrics and tags and the description lie in a new folder, by alias; nothing of
    this machine stands in the note.
    """
    (tmp_path / "made").mkdir()
    onnx.save_model(_network(), tmp_path / "made/net.onnx")
    made = Registration(
        "Parcels EU",
        "Sorts parcels.",
        tmp_path / "made",
        {"team": "lyon"},
        {"mlflow.source.name": str(tmp_path)},
        {"f1": 0.5},
        ("champion",),
    )
    MlflowRegistry(address).register(made)
    words = ("mlflow", "import", "Parcels EU@champion", "--tracking", address, "--out", "new")
    status, said = _run(capsys, *words)
    assert (status, said.splitlines()[-1]) == (0, "Next: edgewright init new/parcels-eu.onnx")
    assert (tmp_path / "new/parcels-eu.onnx").read_bytes() == (tmp_path / "made/net.onnx").read_bytes()
    assert (tmp_path / "new/README.md").read_text() == "Sorts parcels."
    origin = read_origin(tmp_path / "new")
    assert origin is not None
    assert (origin.address, origin.version, origin.metrics, origin.tags) == (
        "sqlite",
        "1",
        {"f1": 0.5},
        {"team": "lyon"},
    )
    assert len(origin.run) == 32
    assert str(tmp_path) not in (tmp_path / "new/imported.json").read_text()
    assert _run(capsys, *words)[0] == 113
    for nobody in ("Parcels EU@nobody", "Parcels EU/9", "others"):
        assert _run(capsys, *words[:2], nobody, *words[3:5], "--out", "other")[0] == 113
    assert not (tmp_path / "other").exists()


@needs_mlflow
def test_mlflow_reports_to_nobody(address: str, tmp_path: Path) -> None:
    """A process that imports MLflow through the adapter, registers and fetches asks for no address and opens
    no connection; its switches are off whatever the surroundings say.
    """
    program = f"""{SILENCE}
import json, os, pathlib, time
from edgewright.controller.exchange.mlflow_registry import MlflowRegistry, Registration
from edgewright.controller.exchange.references import Reference
here = pathlib.Path({str(tmp_path)!r})
(here / "made").mkdir()
(here / "made/a.txt").write_text("a")
registry = MlflowRegistry({address!r})
registry.register(Registration("m", "", here / "made", {{"a": "b"}}))
registry.fetch(Reference("m"), here / "out")
from mlflow.telemetry.client import get_telemetry_client
print(json.dumps([os.environ["MLFLOW_DISABLE_TELEMETRY"], get_telemetry_client() is None]))
"""
    surroundings = {"PATH": "/usr/bin:/bin", "MLFLOW_DISABLE_TELEMETRY": "false", "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=surroundings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == ["true", True]
