"""Where a version comes from: what a push and a rebuild write down, and the chain that is told of it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fastapi.testclient import TestClient

from edgewright.controller import registry
from edgewright.controller.api.app import create_app
from edgewright.controller.database.evidencetables import Rebuild
from edgewright.controller.database.tables import ModelVersion
from edgewright.controller.errors import ExchangeError, UnknownModelError
from edgewright.controller.exchange.origin import Imported, read_origin, write_origin
from edgewright.controller.lineage import Lineage, chain, of_push, of_rebuild, tell
from tests.controller import small_model
from tests.controller.parts import TOKEN, Parts, make_parts
from tests.controller.storyline import MODEL
from tests.controller.storyline import tell as tell_story

FILES = {
    "model.toml": "a" * 64,
    "small.onnx": "b" * 64,
    "data/calibration.npz": "c" * 64,
    "data/holdout.npz": "d" * 64,
}
IMPORTED = Imported("mlflow", "sqlite", "parcels", "7", "0f" * 16, "b" * 64, {"f1": 0.5}, {"team": "lyon"})


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    """The story's end: v1 was pushed, v2 rebuilt from it."""
    made = make_parts(tmp_path)
    tell_story(made.db, made.blobs, 1e9, 400.0)
    yield made
    made.db.close()


@pytest.fixture
def client(parts: Parts) -> TestClient:
    """A client of the application."""
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    return TestClient(create_app(parts), base_url="http://127.0.0.1/api/v1", headers=bearer)


def _rebuild() -> Rebuild:
    rungs = {"lazy": {"passed": False}, "head": {"passed": True, "sentence": "Better on 90 fresh items."}}
    gates = {
        "dataset": "e" * 64,
        "fit": 60,
        "gate": 30,
        "left_out": {"hat": 2},
        "since": 100.0,
        "rungs": rungs,
    }
    return Rebuild(
        id=4, model=MODEL, from_version=1, cause="much is wrong", alarm=9, state="building", queued_at=1.0,
        rung="head", gates=gates,
    )  # fmt: skip


def test_a_push_says_who_and_what() -> None:
    """Digests by role, the person, and what they said; no path of a file, and nothing that nobody said."""
    told = of_push(small_model.spec(), FILES, "Ada (0a1b)", run="run 7", imported_from=IMPORTED)
    assert told["by"] == "Ada (0a1b)"
    assert {item["role"]: item["sha256"] for item in told["materials"]} == {
        "declaration and gates": "a" * 64,
        "source model": "b" * 64,
        "calibration frames": "c" * 64,
        "holdout frames, which judge": "d" * 64,
    }
    assert not any(name in json.dumps(told) for name in ("small.onnx", ".npz", "note", "revision"))
    assert told["imported_from"]["run"] == "0f" * 16
    lines = {line.about: line.said for line in tell(told)}
    assert lines["Run"] == "run 7"
    assert lines["Imported"] == f"parcels version 7, run {'0f' * 16}, from mlflow at sqlite"
    assert lines["Its metrics"] == "f1 0.5"


def test_a_rebuild_says_what_it_learned_from() -> None:
    """Number, alarm, dataset with counts, rung, seed and the verdict stand in the record and in its words."""
    told = of_rebuild(small_model.spec(), FILES, _rebuild())
    assert (told["rebuild"], told["alarm"], told["rung"], told["dataset_sha256"]) == (4, 9, "head", "e" * 64)
    assert told["frames"] == {"fit": 60, "gate": 30, "left_out": 2}
    assert told["parameters"]["tried"] == ["lazy", "head"]
    lines = {line.about: line.said for line in tell(told)}
    assert lines["Rebuild"] == "4, rung head: much is wrong"
    assert lines["Judged"] == "Better on 90 fresh items."
    assert lines["Dataset"].startswith("60 to learn from, 30 to be judged on, 2 left out, SHA-256 eeee")


def test_a_chain_goes_back_to_the_root(parts: Parts) -> None:
    """From a rebuilt version to the one that was pushed; a row that names a younger parent ends it."""
    with parts.db.session() as session:
        row = session.get_one(ModelVersion, (MODEL, 2))
        row.lineage = of_rebuild(small_model.spec(), FILES, _rebuild())
        steps = chain(session, MODEL, 2)
        assert [(step.version, step.parent) for step in steps] == [(2, 1), (1, 0)]
        assert [bool(step.told) for step in steps] == [True, False]
        session.get_one(ModelVersion, (MODEL, 1)).parent = 2
        assert [step.version for step in chain(session, MODEL, 2)] == [2, 1]
        with pytest.raises(UnknownModelError):
            chain(session, MODEL, 3)


def test_a_push_over_the_api_is_recorded(parts: Parts, client: TestClient, tmp_path: Path) -> None:
    """The version's row has the person of the token, and what the body said; the API tells it."""
    small_model.write_folder(tmp_path / "small")
    files = registry.store_folder(parts.blobs, tmp_path / "small")
    imported = {"registry": "mlflow", "address": "https://ml.example:5000", "model": "p", "version": "7"}
    body: dict[str, Any] = {"files": files, "note": "first", "imported_from": imported}
    number = client.post("/models/small/versions", json=body).json()["version"]
    found = client.get(f"/models/small/versions/{number}/lineage").json()["chain"][0]
    about = {line["about"]: line["said"] for line in found["told"]}
    assert about["Note"] == "first"
    assert about["Pushed by"].endswith("(local)")
    assert found["lineage"]["imported_from"] == imported
    assert str(tmp_path) not in json.dumps(found)


@pytest.mark.parametrize(
    "address", ["sqlite:///home/ada/mlflow.db", "https://ada:secret@ml.example", "/home/ada", "http://a b"]
)
def test_no_path_and_no_password_comes_with_a_push(client: TestClient, address: str) -> None:
    """An address that holds more than scheme, host and port is refused, whoever wrote the client."""
    imported = {"registry": "mlflow", "address": address, "model": "p", "version": "7"}
    answer = client.post(
        "/models/small/versions", json={"files": {"model.toml": "0" * 64}, "imported_from": imported}
    )
    assert answer.json()["number"] == 99
    assert "address" in answer.json()["detail"]


def test_the_note_beside_a_fetched_model(tmp_path: Path) -> None:
    """It reads back as it was written; where there is none nothing was fetched, and a broken one is E113."""
    assert read_origin(tmp_path) is None
    write_origin(tmp_path, IMPORTED)
    assert read_origin(tmp_path) == IMPORTED
    (tmp_path / "imported.json").write_text('{"registry": "elsewhere"}')
    with pytest.raises(ExchangeError):
        read_origin(tmp_path)


def test_an_unknown_record_is_no_lineage() -> None:
    """A version that is older than the records tells nothing, and a record round-trips."""
    assert tell({}) == ()
    record = of_push(small_model.spec(), FILES, "Ada (0a1b)", imported_from=IMPORTED)
    assert msgspec.convert(record, Lineage).imported_from == IMPORTED


def test_papers_are_fetched_where_there_are_any(parts: Parts, client: TestClient) -> None:
    """Card and bill of materials come by their own addresses; a version without them says so with E090."""
    card, sbom = parts.blobs.put(b"# Card\n"), parts.blobs.put(b"{}")
    address = f"/models/{MODEL}/versions/2"
    assert client.get(f"{address}/card").json()["number"] == 90
    with parts.db.session() as session:
        row = session.get_one(ModelVersion, (MODEL, 2))
        row.card_sha256, row.sbom_sha256 = card, sbom
    fetched = client.get(f"{address}/card")
    assert (fetched.text, fetched.headers["content-type"]) == ("# Card\n", "text/markdown; charset=utf-8")
    assert f"{MODEL}-v2-card.md" in fetched.headers["content-disposition"]
    assert client.get(f"{address}/sbom").headers["content-type"] == "application/vnd.cyclonedx+json"


def test_a_record_of_a_newer_controller_is_said_and_no_more() -> None:
    """A record that cannot be read here is one line in words; pages and the API go on."""
    for record in ({"kind": "elsewhere"}, {"kind": "push", "materials": "all"}):
        assert [line.said for line in tell(record)] == ["of a form that this controller does not know"]
    assert [line.said for line in tell({"kind": "push", "by": "Ada", "later": 1})] == ["Ada"]
