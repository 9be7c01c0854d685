"""Who gets in, and how a refusal looks."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from edgewright.agent.certificates import make_request
from edgewright.agent.devicekey import DeviceKey
from edgewright.controller.api.access import COOKIE
from edgewright.controller.api.app import create_app
from edgewright.controller.database.tables import Rollout
from edgewright.controller.evidence.version import VersionHealth
from tests.controller.parts import TOKEN, Parts, SilentMonitor, make_parts
from tests.controller.storyline import MODEL, tell

BASE = "http://127.0.0.1"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
CSR = make_request(DeviceKey.generate(), "d").decode()
OPEN = {"health", "enrol", "est_cacerts", "est_simpleenroll", "est_simplereenroll"}


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    """Services over a new data folder."""
    made = make_parts(tmp_path)
    yield made
    made.db.close()


@pytest.fixture
def client(parts: Parts) -> TestClient:
    """A client of the application."""
    return TestClient(create_app(parts), base_url=BASE, follow_redirects=False)


@pytest.mark.parametrize("shown", ["", "Bearer", "Bearer ew_test-tokeN", f"Basic {TOKEN}", "Bearer ä"])
def test_a_wrong_token_is_refused(client: TestClient, shown: str) -> None:
    """Anything but the exact token behind Bearer is refused."""
    assert client.get("/api/v1/devices", headers={"Authorization": shown.encode()}).status_code == 401


def test_operation_ids_are_the_functions_names(client: TestClient) -> None:
    """Generated clients get the names that the code has: unique and plain."""
    described = client.get("/api/v1/openapi.json", headers=BEARER).json()
    names = [
        operation["operationId"] for methods in described["paths"].values() for operation in methods.values()
    ]
    assert len(names) == len(set(names))
    assert all(name.isidentifier() for name in names)


def test_the_link_with_the_token_opens_the_page(client: TestClient) -> None:
    """The token in the address becomes a strict, script-proof cookie, and leaves the address."""
    answer = client.get("/", params={"token": TOKEN})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert TOKEN not in cookie
    assert client.get("/").status_code == 200


def test_a_page_without_a_session_leads_to_the_login(client: TestClient) -> None:
    """A person without a session is sent to the login, with a wrong token as well."""
    for address in ("/", "/models", "/rollouts/1", f"/?token={TOKEN}x"):
        answer = client.get(address)
        assert (answer.status_code, answer.headers["location"]) == (303, "/login")


def test_the_login_takes_the_token_only(client: TestClient) -> None:
    """The login form gives a session for the token and for nothing else."""
    own = {"Origin": BASE}
    wrong = client.post("/login", data={"token": "guess"}, headers=own)
    assert wrong.status_code == 401
    assert "The token is missing or wrong" in wrong.text
    assert not wrong.cookies
    right = client.post("/login", data={"token": TOKEN}, headers=own)
    assert right.status_code == 303
    assert list(right.cookies) == [f"{COOKIE}_80"]


def test_a_session_reads_the_api_and_changes_nothing(client: TestClient) -> None:
    """A page's cookie is good for GET; what changes something needs the bearer token."""
    client.get("/", params={"token": TOKEN})
    assert client.get("/api/v1/devices").status_code == 200
    assert client.post("/api/v1/tokens", json={}).status_code == 401


def test_a_form_of_another_origin_is_refused(client: TestClient, parts: Parts) -> None:
    """A page on another port of this host, which gets the cookie too, cannot order anything."""
    tell(parts.db, parts.blobs, 1e9, 362.0)
    client.get("/", params={"token": TOKEN})
    for origin in ("http://127.0.0.1:9999", "null", ""):
        assert client.post("/rollouts/2/pause", headers={"Origin": origin}).status_code == 422
    with parts.db.reading() as session:
        rollout = session.get(Rollout, 2)
        assert rollout is not None
        assert rollout.state == "running"
    assert client.post("/rollouts/2/pause", headers={"Origin": BASE}).status_code == 303


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:80", "192.0.2.7:8420"])
def test_another_host_name_is_refused(client: TestClient, host: str) -> None:
    """A name that was rebound to loopback gets nothing, not even the health."""
    answer = client.get("/api/v1/health", headers={"Host": host})
    assert answer.status_code == 422
    assert answer.json()["number"] == 99


def test_every_answer_carries_the_content_policy(client: TestClient) -> None:
    """No page may load or run anything from elsewhere, and none may be framed."""
    for address in ("/login", "/api/v1/health", "/static/edgewright.css", "/nowhere"):
        policy = client.get(address).headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "number"),
    [
        ("GET", "/api/v1/nowhere", None, 404, 100),
        ("DELETE", "/api/v1/devices", None, 404, 100),
        ("GET", "/api/v1/devices/nobody", None, 404, 91),
        ("GET", "/api/v1/models/none/versions", None, 404, 90),
        ("GET", "/api/v1/models/none/versions/1", None, 404, 90),
        ("GET", "/api/v1/rollouts/7", None, 404, 101),
        ("POST", "/api/v1/rollouts/7/pause", {}, 404, 101),
        ("GET", "/api/v1/rollouts/seven", None, 422, 99),
        ("GET", "/api/v1/drift/none", None, 404, 90),
        ("GET", "/api/v1/charts/none", None, 404, 90),
        ("GET", "/api/v1/charts/none?since=1", None, 422, 99),
        ("POST", "/api/v1/rollouts", {"model": "m"}, 422, 99),
        ("POST", "/api/v1/rollouts", {"model": "m", "version": 1}, 404, 90),
        ("POST", "/api/v1/tokens", {"life_s": -1}, 422, 99),
        ("POST", "/api/v1/enrol", {"device": "d", "target": "t", "token": "x", "csr": CSR}, 403, 95),
    ],
)
def test_refusals_are_problems(
    client: TestClient, method: str, path: str, body: object, status: int, number: int
) -> None:
    """Each refusal has its HTTP status, its number, one sentence and a remedy."""
    answer = client.request(method, path, json=body, headers=BEARER)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["number"] == number
    assert problem["status"] == status
    assert problem["detail"].endswith(".")
    assert problem["remedy"]


class _BrokenMonitor(SilentMonitor):
    def status(self, model: str) -> list[VersionHealth]:
        raise RuntimeError(f"a defect about {model} at /some/secret/path")


def test_a_defect_shows_no_traceback(parts: Parts) -> None:
    """An exception nobody foresaw becomes a plain problem without its text."""
    tell(parts.db, parts.blobs, 1e9, 30.0)
    client = TestClient(create_app(replace(parts, monitor=_BrokenMonitor())), base_url=BASE)
    answer = client.get(f"/api/v1/drift/{MODEL}", headers=BEARER)
    assert answer.status_code == 500
    assert answer.json()["number"] == 1
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text


def test_a_page_that_does_not_exist_is_a_page(client: TestClient) -> None:
    """A person gets the refusal as HTML with number and remedy."""
    client.get("/", params={"token": TOKEN})
    answer = client.get("/devices/nobody")
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert "E091" in answer.text
    assert "edgewright devices" in answer.text


@pytest.mark.parametrize("path", ["/api/v1/enrol", "/login"])
def test_a_huge_body_is_refused(client: TestClient, path: str) -> None:
    """A body beyond the limit is answered with a problem; nobody's memory takes it."""
    answer = client.post(path, content=b"x" * (1 << 21), headers={"Origin": BASE})
    assert answer.status_code == 422
