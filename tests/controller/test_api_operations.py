"""What the API's operations do, on a real database."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from edgewright.agent.certificates import make_request
from edgewright.agent.devicekey import DeviceKey
from edgewright.controller.api.app import create_app
from edgewright.controller.database.tables import Device, ModelVersion
from edgewright.controller.web import rows
from edgewright.wire.canonical import sha256_hex
from tests.controller.parts import ROOT, TOKEN, Parts, make_parts
from tests.controller.storyline import MODEL, tell

BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    """Services over a new data folder."""
    made = make_parts(tmp_path)
    yield made
    made.db.close()


@pytest.fixture
def client(parts: Parts) -> TestClient:
    """A client of the application."""
    return TestClient(create_app(parts), base_url="http://127.0.0.1/api/v1", headers=BEARER)


@pytest.fixture
def told(parts: Parts) -> Parts:
    """The story in the middle of the fix's rollout, told until now."""
    tell(parts.db, parts.blobs, time.time() - 362.0, 362.0)
    return parts


def test_devices_are_listed_as_they_described_themselves(client: TestClient, told: Parts) -> None:
    """The list has each device with its tags and what it runs, by id."""
    found = client.get("/devices").json()
    assert [d["id"] for d in found] == ["robot-1", "robot-2", "robot-3", "robot-4"]
    assert [d["active_version"] for d in found] == [2, 1, 1, 1]
    assert client.get("/devices/robot-2").json() == found[1]
    assert found[1]["tags"] == {"site": "lyon", "line": "b"}


def test_a_version_is_shown_with_its_artifacts(client: TestClient, told: Parts) -> None:
    """Sizes of artifacts and patches and the gates' report are in the version's detail."""
    assert [m["versions"] for m in client.get("/models").json()] == [2]
    assert [v["version"] for v in client.get(f"/models/{MODEL}/versions").json()] == [2, 1]
    detail = client.get(f"/models/{MODEL}/versions/2").json()
    assert detail["parent"] == 1
    assert {a["target"]: a["patch_lengths"] for a in detail["artifacts"]} == {
        "x86_64-ort-cpu": {"1": 6600},
        "aarch64-ort-cpu": {"1": 6600},
    }


def test_a_blob_is_kept_under_its_digest_only(client: TestClient, parts: Parts) -> None:
    """Bytes are stored where they hash to the name, and refused and dropped where they do not."""
    content = b"model" * 100_000
    name = sha256_hex(content)
    assert client.head(f"/blobs/{name}").status_code == 404
    wrong = client.put(f"/blobs/{'0' * 64}", content=content)
    assert (wrong.status_code, wrong.json()["number"]) == (422, 96)
    assert not parts.blobs.has("0" * 64)
    assert client.put(f"/blobs/{name}", content=content).status_code == 204
    assert client.head(f"/blobs/{name}").status_code == 200
    assert parts.blobs.read(name) == content
    assert [p.name for p in (parts.data / "blobs").iterdir() if p.is_file()] == []


@pytest.mark.parametrize("name", ["", "0" * 63, "G" * 64, "../../api-token"])
def test_a_blobs_name_is_a_digest(client: TestClient, name: str) -> None:
    """Nothing but 64 hexadecimal digits names a blob, so no request reaches another file."""
    assert client.put(f"/blobs/{name}", content=b"").status_code in (404, 422)


def test_a_push_without_its_blobs_is_refused(client: TestClient, parts: Parts) -> None:
    """A version whose files were not uploaded is not made."""
    answer = client.post("/models/m/versions", json={"files": {"model.toml": "1" * 64}})
    assert (answer.status_code, answer.json()["number"]) == (422, 99)
    assert parts.workflows.queued == []


def test_a_push_of_nonsense_makes_no_version(client: TestClient, parts: Parts) -> None:
    """A folder whose model.toml is wrong is refused by its number, and nothing is half-done."""
    content = b"[model]\nname = 7\n"
    client.put(f"/blobs/{sha256_hex(content)}", content=content)
    answer = client.post("/models/m/versions", json={"files": {"model.toml": sha256_hex(content)}})
    assert (answer.status_code, answer.json()["number"]) == (422, 73)
    assert parts.workflows.queued == []
    with parts.db.reading() as session:
        assert session.get(ModelVersion, ("m", 1)) is None


def test_a_rollout_is_started_and_steered(client: TestClient, told: Parts) -> None:
    """A rollout takes the default waves; it is held, resumed and ended, each where its state allows."""
    made = client.post("/rollouts", json={"model": MODEL, "version": 2, "selector": "line=b"})
    assert made.status_code == 201
    number = made.json()["id"]
    shown = client.get(f"/rollouts/{number}").json()
    assert [wave["name"] for wave in shown["waves"]] == ["first robot", "all the others"]
    assert [d["device"] for d in shown["devices"]] == ["robot-2", "robot-4"]
    assert client.post(f"/rollouts/{number}/pause", json={"reason": "lunch"}).status_code == 204
    assert client.get(f"/rollouts/{number}").json()["reason"] == "lunch"
    again = client.post(f"/rollouts/{number}/pause", json={})
    assert (again.status_code, again.json()["number"]) == (409, 93)
    assert client.post(f"/rollouts/{number}/resume").status_code == 204
    assert client.post(f"/rollouts/{number}/abort", json={}).status_code == 204
    assert client.get("/rollouts").json()[0]["state"] == "stopped"


def test_a_rollout_takes_waves(client: TestClient, told: Parts) -> None:
    """Waves of the request stand in the rollout."""
    waves = [{"name": "one", "count": 1, "gate": "quality"}, {"name": "rest", "percent": 100, "soak_s": 5}]
    number = client.post("/rollouts", json={"model": MODEL, "version": 2, "waves": waves}).json()["id"]
    found = client.get(f"/rollouts/{number}").json()["waves"]
    assert [(w["name"], w["gate"], w["soak_s"]) for w in found] == [
        ("one", "quality", 0),
        ("rest", "install", 5),
    ]


def test_a_rollout_is_rolled_back_by_a_new_one(client: TestClient, told: Parts) -> None:
    """Rolling back starts a rollout of what the devices ran before."""
    made = client.post("/rollouts/2/rollback")
    assert made.status_code == 201
    assert client.get(f"/rollouts/{made.json()['id']}").json()["version"] == 1


def test_a_selector_without_a_device_is_refused(client: TestClient, told: Parts) -> None:
    """Nothing is started for nobody."""
    answer = client.post("/rollouts", json={"model": MODEL, "version": 2, "selector": "site=oslo"})
    assert (answer.status_code, answer.json()["number"]) == (422, 92)


def test_drift_stands_beside_the_promise(client: TestClient, told: Parts) -> None:
    """Present quality of each version, what it promised, the alarm and its rebuild are in one answer."""
    found = client.get(f"/drift/{MODEL}").json()
    by_version = {v["version"]: v for v in found["versions"]}
    assert by_version[1]["mispack_rate"] > 0.1
    assert by_version[1]["expected_mispack_rate"] == 0.014
    assert by_version[2]["mispack_rate"] < 0.1
    assert [a["closed_at"] for a in found["alarms"]] == [0.0]
    assert [(r["alarm"], r["new_version"]) for r in found["rebuilds"]] == [(1, 2)]


def test_charts_have_a_series_a_version(client: TestClient, told: Parts) -> None:
    """Both charts have as many values a version as there are times, and the story's marks in order."""
    found = client.get(f"/charts/{MODEL}", params={"since": 600}).json()
    assert [s["version"] for s in found["mispack"]] == [1, 2]
    assert all(len(s["values"]) == len(found["times"]) for s in found["mispack"] + found["confidence"])
    kinds = [mark["kind"] for mark in found["marks"]]
    assert kinds[-4:] == ["alarm.raised", "rebuild.queued", "rebuild.candidate", "rollout.started"]


def test_rollups_and_windows_tell_the_same(told: Parts) -> None:
    """Charts of long ranges read minute sums; over the whole story they count what the windows count."""
    with told.db.reading() as session:
        short, long = rows.sums(session, MODEL, 0.0, 30), rows.sums(session, MODEL, 0.0, 60)
    assert len(long) < len(short)
    for version in (1, 2):
        for name in ("labelled", "wrong", "confidence_count"):
            totals = [sum(getattr(s, name) for s in sums if s.version == version) for sums in (short, long)]
            assert totals[0] == totals[1]
            assert totals[0] or name == "wrong"


def test_events_come_after_an_id_in_order(client: TestClient, told: Parts) -> None:
    """Whoever remembers the last id sees each later event once, in order."""
    newest = client.get("/events", params={"limit": 5}).json()
    assert [e["id"] for e in newest] == sorted((e["id"] for e in newest), reverse=True)
    later = client.get("/events", params={"after": newest[-1]["id"]}).json()
    assert [e["id"] for e in later] == sorted(e["id"] for e in newest)[1:]


def test_a_device_enrols_once_with_a_token(client: TestClient, parts: Parts) -> None:
    """A one-time token takes one device in, without the API token, and then no other."""
    token = client.post("/tokens", json={}).json()["token"]
    body = {"device": "robot-9", "target": "x86_64-ort-cpu", "tags": {"site": "lyon"}, "token": token}
    body["csr"] = make_request(DeviceKey.generate(), "robot-9").decode()
    stranger = TestClient(client.app, base_url="http://127.0.0.1/api/v1")
    answer = stranger.post("/enrol", json=body)
    assert answer.status_code == 201
    said = answer.json()
    assert said["broker"] == {"host": "127.0.0.1", "port": 18830, "tls": True}
    assert said["image_root"] == said["director_root"] == ROOT
    assert said["certificate"].count("BEGIN CERTIFICATE") == 2
    again = stranger.post("/enrol", json={**body, "device": "robot-10"})
    assert (again.status_code, again.json()["number"]) == (403, 95)
    with parts.db.reading() as session:
        assert session.get(Device, "robot-9") is not None
        assert session.get(Device, "robot-10") is None


def test_health_needs_no_token(parts: Parts) -> None:
    """A watchdog can ask whether the controller answers."""
    answer = TestClient(create_app(parts), base_url="http://127.0.0.1").get("/api/v1/health")
    assert answer.json()["status"] == "ok"
