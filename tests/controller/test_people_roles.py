"""What each role may do: the table, every route, and every page's buttons."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewright.controller.api.access import Need, needs_of
from edgewright.controller.people.operations import FOR_SOME_MODELS, OPERATIONS
from edgewright.controller.people.roles import Role
from tests.controller.parts import make_parts
from tests.controller.people_rig import BASE, OWN, Plant, make_plant
from tests.controller.storyline import MODEL, tell

EXAMPLES = {
    "number": "99",
    "version": "1",
    "sha256": "0" * 64,
    "model": MODEL,
    "device": "nobody",
    "key": "nobody",
    "name": "nothing",
    "alias": "nothing",
    "token": "0" * 12,
    "target": "none",
}
READING = {"GET", "HEAD"}


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """A plant in the middle of the story; nothing that is tried here may change it."""
    parts = make_parts(tmp_path_factory.mktemp("data"))
    tell(parts.db, parts.blobs, 1e9, 362.0)
    yield make_plant(parts)
    parts.db.close()


def _routes(plant: Plant) -> list[tuple[str, str, list[Need]]]:
    return list(needs_of(plant.app))


def _address(path: str) -> str:
    return re.sub(r"\{(\w+)(?::\w+)?\}", lambda match: EXAMPLES[match[1]], path)


def test_every_route_names_its_row(plant: Plant) -> None:
    """A route that nobody gave a row of the table does not pass, nor one that changes without an entry."""
    routes = _routes(plant)
    assert len(routes) > 40
    assert [path for path, _, needs in routes if len(needs) != 1] == []
    assert {need.action for _, _, (need,) in routes} == OPERATIONS.keys()
    silent = [
        path
        for path, method, needs in routes
        if method not in READING and not OPERATIONS[needs[0].action].changes
    ]
    assert silent == []


def test_every_form_is_a_form(plant: Plant) -> None:
    """Whatever a page orders asks for the session and the origin; whatever is of the API does not take it."""
    for path, method, (need, *_) in _routes(plant):
        is_form = method == "POST" and not path.startswith(("/api/", "/.well-known/"))
        if OPERATIONS[need.action].role is not None:
            assert need.form == is_form, path


def test_each_role_may_do_what_lower_ones_may() -> None:
    """The roles are in one order, and each but the lowest may do something that the one below may not."""
    assert Role.VIEWER < Role.OPERATOR < Role.ENGINEER < Role.ADMIN
    assert {row.role for row in OPERATIONS.values()} == {None, *Role}
    assert all(name.count(".") == 1 and row.what for name, row in OPERATIONS.items())


@pytest.mark.parametrize("role", [None, *Role], ids=lambda role: role.word if role else "nobody")
def test_every_route_takes_the_role_that_the_table_says(plant: Plant, role: Role | None) -> None:
    """Each route answers 401 to nobody, 403 with the needed role's name below it, and neither from it on."""
    token = plant.tokens[role] if role else ""
    client = plant.client(token)
    browser = plant.browser(token) if token else client
    tried = {"401": 0, "403": 0, "let through": 0}
    for path, method, (need, *_) in _routes(plant):
        needed = OPERATIONS[need.action].role
        if needed is None:
            continue
        if need.form:
            answer = browser.request(method, _address(path), headers=OWN)
        elif method in READING or role is None or role < needed:
            answer = client.request(method, _address(path))
        else:
            # Wrong on purpose behind the check, so that a permitted call changes nothing.
            answer = client.request(method, _address(path), content=b"[]")
        if role is None:
            is_page = not path.startswith("/api/")
            assert answer.status_code == (303 if is_page else 401), path
            tried["401"] += 1
        elif role < needed:
            assert answer.status_code == 403, (path, answer.text)
            assert method == "HEAD" or (needed.word in answer.text and "107" in answer.text)
            tried["403"] += 1
        else:
            assert answer.status_code not in (401, 403), (path, answer.text)
            tried["let through"] += 1
    if role is None:
        assert tried["401"] > 30
    else:
        assert (tried["403"] > 5) == (role < Role.ADMIN)
        assert tried["let through"] > 10


@pytest.mark.parametrize("role", list(Role), ids=lambda role: role.word)
def test_a_page_offers_what_the_role_may_do(plant: Plant, role: Role) -> None:
    """Buttons stand on the page of those who may press them, and on no other."""
    browser = plant.browser(plant.tokens[role])
    orders = set(re.findall(r'action="(/rollouts/[^"]+)"', browser.get("/rollouts/2").text))
    assert bool(orders) == (role >= Role.OPERATOR)
    assert ("/devices/robot-1/revoke" in browser.get("/devices/robot-1").text) == (role >= Role.OPERATOR)
    overview = browser.get("/").text
    assert ('href="/people"' in overview) == ('href="/audit"' in overview) == (role is Role.ADMIN)


def test_the_description_states_the_roles(plant: Plant) -> None:
    """OpenAPI has row and role of each operation."""
    described = plant.client(plant.tokens[Role.VIEWER]).get("/api/v1/openapi.json").json()
    operations = [o for methods in described["paths"].values() for o in methods.values()]
    roles = {o["operationId"]: o["x-edgewright-role"] for o in operations}
    assert roles["pause_rollout"] == "operator"
    assert roles["push_version"] == "engineer"
    assert roles["export_audit"] == "admin"
    assert roles["health"] == "nobody"
    assert all(o["x-edgewright-operation"] in OPERATIONS for o in operations)


def test_a_session_reads_the_api_and_changes_nothing(plant: Plant) -> None:
    """Even an admin's cookie changes something through the page's forms only."""
    browser = plant.browser(plant.tokens[Role.ADMIN])
    assert browser.get("/api/v1/devices").status_code == 200
    answer = browser.post("/api/v1/rollouts/2/pause", json={}, headers=OWN)
    assert answer.status_code == 401
    assert browser.post("/rollouts/2/pause", headers={"Origin": f"{BASE}1"}).status_code == 422


def test_a_scope_leaves_nothing_of_the_whole_fleet(plant: Plant) -> None:
    """An admin for one model is refused every change that is not about a model, on page and API."""
    scoped = plant.people.tokens.add("Scoped", "admin", ("bottle-sorting",)).text
    client, browser = plant.client(scoped), plant.browser(scoped)
    refused = set()
    for path, method, needs in needs_of(plant.app):
        for row in needs:
            if not OPERATIONS[row.action].changes or OPERATIONS[row.action].role is None:
                continue
            said = (browser if row.form else client).request(
                method, re.sub(r"{[^}]+}", "1", path), headers=OWN if row.form else {}
            )
            if said.status_code == 403:
                refused.add(row.action)
            elif "{model}" not in path:
                assert row.action in FOR_SOME_MODELS, (path, said.text)
    changes = {name for name, row in OPERATIONS.items() if row.changes and row.role is not None}
    assert refused >= changes - FOR_SOME_MODELS
    assert {"people.add", "people.renew", "people.revoke", "keys.change", "device.revoke"} <= refused
    may = client.get("/api/v1/whoami").json()["may"]
    assert "people.add" not in may
    assert "model.push" in may


def test_a_scope_limits_what_is_changed_and_not_what_is_read(tmp_path: Path) -> None:
    """A token for another model reads everything and changes nothing of this one, on page and API."""
    parts = make_parts(tmp_path)
    tell(parts.db, parts.blobs, 1e9, 362.0)
    plant = make_plant(parts)
    other = plant.people.tokens.add("Other", "engineer", ("bottle-sorting",)).text
    client = plant.client(other)
    assert client.get(f"/api/v1/models/{MODEL}/versions").status_code == 200
    for path, body in (
        (f"/models/{MODEL}/versions", {"files": {"model.toml": "0" * 64}}),
        ("/rollouts", {"model": MODEL, "version": 2}),
        ("/rollouts/2/pause", {}),
    ):
        answer = client.post(f"/api/v1{path}", json=body)
        assert (answer.status_code, answer.json()["number"]) == (403, 107)
        assert "bottle-sorting" in answer.json()["detail"]
    assert plant.browser(other).post("/rollouts/2/pause", headers=OWN).status_code == 403
    own = plant.people.tokens.add("Own", "engineer", ("bottle-sorting", MODEL)).text
    assert plant.client(own).post("/api/v1/rollouts/2/pause", json={}).status_code == 204
    parts.db.close()
