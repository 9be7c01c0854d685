"""Rebuilds by API, command line and page: who may order what, and what is shown."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from edgewright.controller.api.app import create_app
from edgewright.controller.cli import main
from edgewright.controller.database.evidencetables import Rebuild, RebuildRun
from edgewright.controller.database.tables import Model, ModelVersion
from tests.controller.parts import TOKEN, Parts, make_parts
from tests.controller.served import served

HEADERS = {"Authorization": f"Bearer {TOKEN}"}
MODEL = "garment-packing"


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    """A controller with one more rebuild, which waits for a person, and its two runs."""
    parts = make_parts(tmp_path)
    with parts.db.session() as session:
        session.add(Model(name=MODEL, versions=3, created_at=1.0))
        for version in (1, 2, 3):
            session.add(
                ModelVersion(model=MODEL, version=version, state="ready", source="push", created_at=1.0)
            )
        row = Rebuild(model=MODEL, from_version=2, cause="A look.", state="waiting-approval", queued_at=9.0)
        row.new_version, row.gates = 3, {"set_aside": {"camera-7": "No."}}
        session.add(row)
        session.flush()
        for rung, accuracy in (("head", 0.5), ("tap-head", 0.9)):
            run = RebuildRun(rebuild=row.id or 0, model=MODEL, rung=rung, started_at=10.0, outcome="refused")
            run.parameters, run.metrics = {"seed": row.id}, {"fresh_accuracy": accuracy}
            session.add(run)
    yield parts
    parts.db.close()


@pytest.fixture
def client(parts: Parts) -> TestClient:
    """A program with the local token."""
    return TestClient(create_app(parts), base_url="http://127.0.0.1", headers=HEADERS)


def number_of(client: TestClient) -> int:
    """The waiting rebuild's number."""
    found = client.get("/api/v1/rebuilds", params={"model": MODEL}).json()
    return int(found[0]["id"])


def test_a_program_asks_as_a_program_and_a_person_as_a_person(client: TestClient, parts: Parts) -> None:
    """The API's call is held by cooldown and budget unless it says that a person asks."""
    for body in ({}, {"in_person": True}):
        assert client.post(f"/api/v1/models/{MODEL}/rebuilds", json=body).status_code == 201
    assert [trigger for _, trigger, _ in parts.workflows.rebuilds] == ["api", "person"]
    assert all("local" in by for _, _, by in parts.workflows.rebuilds)
    assert client.post("/api/v1/models/nobody/rebuilds", json={}).status_code == 404
    missing = client.post(f"/api/v1/models/{MODEL}/rebuilds", json={"from_version": 99})
    assert missing.status_code == 404


def test_a_rebuild_is_shown_with_its_runs(client: TestClient) -> None:
    """One rebuild comes with its runs in order, and an unknown one is E016."""
    number = number_of(client)
    found = client.get(f"/api/v1/rebuilds/{number}").json()
    assert [run["rung"] for run in found["runs"]] == ["head", "tap-head"]
    assert found["gates"]["set_aside"] == {"camera-7": "No."}
    assert client.get("/api/v1/rebuilds/999").json()["number"] == 16


@pytest.mark.parametrize("number", ["0", "9" * 19, "9" * 30, "9" * 5000])
def test_a_number_that_no_row_can_have_is_a_sentence(client: TestClient, number: str) -> None:
    """Rebuilds and runs of absurd numbers are not there, by every door; nothing is a defect."""
    client.post("/login", data={"token": TOKEN}, headers={"Origin": "http://127.0.0.1"})
    for path in (f"/api/v1/rebuilds/{number}", f"/rebuilds/{number}"):
        assert client.get(path).status_code in (404, 409, 422)
    for order in ("approve", "cancel"):
        assert client.post(f"/api/v1/rebuilds/{number}/{order}", json={}).status_code in (404, 409, 422)
    runs = client.get("/api/v1/rebuild-runs/compare", params={"runs": number})
    assert runs.json()["number"] == 16
    body = f'{{"from_version": {number}}}'
    headers = {"Content-Type": "application/json"}
    asked = client.post(f"/api/v1/models/{MODEL}/rebuilds", content=body, headers=headers)
    assert asked.status_code == (201 if number == "0" else 422)


def test_runs_are_held_side_by_side(client: TestClient) -> None:
    """The better run is marked better by points; one run alone is refused."""
    first, second = (run["id"] for run in client.get(f"/api/v1/rebuilds/{number_of(client)}").json()["runs"])
    found = client.get("/api/v1/rebuild-runs/compare", params={"runs": f"{first},{second}"}).json()
    (metrics,) = (section for section in found["sections"] if section["title"] == "Metrics")
    cells = metrics["rows"][0]["cells"]
    assert (cells[1]["mark"], cells[1]["by"]) == ("better", "40.0 points")
    assert client.get("/api/v1/rebuild-runs/compare", params={"runs": f"{first}"}).status_code == 422
    assert client.get("/api/v1/rebuild-runs/compare", params={"runs": "1,x"}).json()["number"] == 16


def test_an_engineer_approves_and_an_operator_does_not(parts: Parts, client: TestClient) -> None:
    """Approving and cancelling take an engineer, whom the audit log names."""
    operator = client.post("/api/v1/people/tokens", json={"name": "Op", "role": "operator"}).json()["token"]
    number = number_of(client)
    for order in ("approve", "cancel"):
        path = f"/api/v1/rebuilds/{number}/{order}"
        refused = client.post(path, json={}, headers={"Authorization": f"Bearer {operator}"})
        assert refused.status_code == 403
        assert client.post(path, json={"reason": "seen"}).status_code == 204
    assert [(what, of) for what, of, _ in parts.workflows.settled] == [
        ("approved", number),
        ("cancelled", number),
    ]
    entries = client.get("/api/v1/audit").json()
    assert f"rebuild {number}" in json.dumps(entries)


def test_the_page_shows_what_waits_and_what_was_set_aside(client: TestClient) -> None:
    """The rebuild's page has its runs, the doubted source and both buttons; the model's page leads there."""
    session = client.post("/login", data={"token": TOKEN}, headers={"Origin": "http://127.0.0.1"})
    assert session.status_code in (200, 303)
    number = number_of(client)
    page = client.get(f"/rebuilds/{number}").text
    for said in ("camera-7", f"/rebuilds/{number}/approve", f"/rebuilds/{number}/cancel", "tap-head"):
        assert said in page
    model = client.get(f"/models/{MODEL}").text
    assert f'href="/rebuilds/{number}"' in model
    assert f'action="/models/{MODEL}/rebuild"' in model


def test_the_command_line_orders_the_same(parts: Parts, capsys: pytest.CaptureFixture[str]) -> None:
    """start, list, show, approve, cancel and compare say what was done."""
    with served(parts):
        said = []
        for words in (["start", MODEL], ["list", MODEL], ["show", "1"], ["approve", "1"], ["cancel", "1"]):
            with pytest.raises(SystemExit, match=r"^0$"):
                main(["rebuild", *words, "--data", str(parts.data)])
            said.append(capsys.readouterr().out)
        with pytest.raises(SystemExit, match=r"^0$"):
            main(["rebuild", "compare", "1", "2", "--data", str(parts.data)])
    assert "is under way" in said[0]
    assert "A look." in said[1]
    assert "set aside: camera-7" in said[2]
    assert (said[3], said[4]) == ("Rebuild 1 is approved.\n", "Rebuild 1 is cancelled.\n")
    assert "40.0 points" in capsys.readouterr().out
    assert parts.workflows.rebuilds[0][1] == "person"
