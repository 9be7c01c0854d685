"""Tokens and sessions: what counts, for how long, where, and what an attacker's text does."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI

from edgewright.controller.api.access import COOKIE
from edgewright.controller.api.app import create_app
from edgewright.controller.database import col, select
from edgewright.controller.database.tables import ApiToken, PageSession
from edgewright.controller.errors import (
    InvalidRequestError,
    NotAuthorisedError,
    TooManyAttemptsError,
    UnknownTokenError,
)
from edgewright.controller.people.attempts import ROWS_AT_MOST, WINDOW_S, WRONG_AT_MOST, Attempts
from edgewright.controller.people.roles import Role
from tests.controller.parts import TOKEN, Parts, make_parts
from tests.controller.people_rig import BASE, LOCAL, OWN, Plant, bearer, make_plant


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    """Services that the tests of this file share."""
    made = make_parts(tmp_path_factory.mktemp("data"))
    yield made
    made.db.close()


@pytest.fixture(scope="module")
def app(parts: Parts) -> FastAPI:
    """Their application."""
    return create_app(parts)


@pytest.fixture
def plant(parts: Parts, app: FastAPI) -> Plant:
    """The application with one new person of each role."""
    return make_plant(parts, app)


def _set(plant: Plant, token: str, **values: float) -> None:
    with plant.parts.db.session() as session:
        row = session.get_one(ApiToken, token)
        for name, value in values.items():
            setattr(row, name, value)
        session.add(row)


def test_a_token_is_shown_once_and_stored_as_a_digest(plant: Plant) -> None:
    """The answer has the token; neither the list, nor the log, nor any file of the folder has its secret."""
    body = {"name": "Ada", "role": "operator", "models": ["m"], "days": 7}
    made = plant.client(TOKEN).post("/api/v1/people/tokens", json=body).json()
    assert re.fullmatch(r"ewt_[0-9a-f]{12}_[\w-]{43}", made["token"])
    assert made["expires"] == pytest.approx(time.time() + 7 * 86400, abs=600)
    secret = made["token"].split("_", 2)[2]
    listed = plant.client(TOKEN).get("/api/v1/people/tokens").text
    assert "Ada" in listed
    assert secret not in listed
    for path in plant.parts.data.rglob("*"):
        assert path.is_dir() or secret.encode() not in path.read_bytes(), path
    who = plant.client(made["token"]).get("/api/v1/whoami").json()
    assert (who["name"], who["role"], who["models"]) == ("Ada", "operator", ["m"])
    assert "rollout.pause" in who["may"]
    assert "model.push" not in who["may"]


def test_the_folders_own_token_is_the_local_admin(plant: Plant) -> None:
    """Who can read the owner's file is admin; the id says that it is no person's token."""
    who = plant.client(TOKEN).get("/api/v1/whoami").json()
    assert (who["token"], who["role"], who["expires"]) == ("local", "admin", 0)


@pytest.mark.parametrize("days", [0, -1, 366, 100_000])
def test_a_token_lives_a_year_at_most(plant: Plant, days: int) -> None:
    """A life that is none or too long is refused, by the table and by the API."""
    with pytest.raises(InvalidRequestError, match="365"):
        plant.people.tokens.add("Ada", "viewer", (), days)
    body = {"name": "Ada", "role": "viewer", "days": days}
    assert plant.client(TOKEN).post("/api/v1/people/tokens", json=body).status_code == 422


def test_no_other_role_exists(plant: Plant) -> None:
    """A role that is none is refused by name."""
    answer = plant.client(TOKEN).post("/api/v1/people/tokens", json={"name": "A", "role": "root"})
    assert (answer.status_code, answer.json()["number"]) == (422, 99)
    assert "viewer, operator, engineer, admin" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("change", "said"), [({"revoked_at": 1.0}, "revoked"), ({"expires": 1.0}, "too old")]
)
def test_a_token_that_ended_is_refused_at_once(plant: Plant, change: dict[str, float], said: str) -> None:
    """Revocation and expiry count from the next request on, for the API and for an open session."""
    token = plant.tokens[Role.OPERATOR]
    client, browser = plant.client(token), plant.browser(token)
    assert client.get("/api/v1/devices").status_code == browser.get("/").status_code == 200
    _set(plant, token.split("_")[1], **change)
    answer = client.get("/api/v1/devices")
    assert (answer.status_code, answer.json()["number"]) == (401, 94)
    assert said in answer.json()["detail"]
    assert browser.get("/").headers["location"] == "/login"
    assert browser.get("/api/v1/devices").status_code == 401


def test_a_renewed_token_replaces_the_old_one(plant: Plant) -> None:
    """The new secret counts, the old one and its session do not, and the id stays."""
    old = plant.tokens[Role.ENGINEER]
    browser, number = plant.browser(old), old.split("_")[1]
    path = f"/api/v1/people/tokens/{number}/renew"
    made = plant.client(TOKEN).post(path, json={"days": 30}).json()
    assert made["id"] == number
    assert plant.client(made["token"]).get("/api/v1/whoami").json()["role"] == "engineer"
    assert plant.client(old).get("/api/v1/whoami").status_code == 401
    assert browser.get("/").headers["location"] == "/login"


def test_a_revoked_token_stays_revoked(plant: Plant) -> None:
    """It cannot be renewed or revoked again; the answer is E108."""
    number = plant.tokens[Role.VIEWER].split("_")[1]
    admin = plant.client(TOKEN)
    assert admin.delete(f"/api/v1/people/tokens/{number}").status_code == 204
    for answer in (
        admin.delete(f"/api/v1/people/tokens/{number}"),
        admin.post(f"/api/v1/people/tokens/{number}/renew", json={}),
        admin.delete("/api/v1/people/tokens/nothing"),
    ):
        assert (answer.status_code, answer.json()["number"]) == (404, 108)
    with pytest.raises(UnknownTokenError):
        plant.people.tokens.renew(number)


def test_the_last_use_is_written_once_a_minute(plant: Plant) -> None:
    """The first request of a minute writes it, the others do not wait for the writer."""
    number = plant.tokens[Role.VIEWER].split("_")[1]
    plant.client(plant.tokens[Role.VIEWER]).get("/api/v1/whoami")
    assert _used(plant, number) == pytest.approx(time.time(), abs=600)
    _set(plant, number, last_used=5.0)
    plant.client(plant.tokens[Role.VIEWER]).get("/api/v1/whoami")
    assert _used(plant, number) == 5.0


def _used(plant: Plant, number: str) -> float:
    with plant.parts.db.reading() as session:
        return session.get_one(ApiToken, number).last_used


@pytest.mark.parametrize(
    "shown",
    [
        "",
        "ewt_",
        "ewt__",
        "ewt_000000000000_",
        "ewt_000000000000_' OR '1'='1",
        "ewt_' OR 1=1 --_x",
        "ewt_%_%",
        "ewt_0000\u000000000_x",
        "ewt_" + "9" * 12 + "_" + "x" * 20_000,
        "ew_" + "x" * 20_000,
        "ew_",
        "\udcff" * 20,
        "ewt_000000000000_ü" + "ü" * 40,
        TOKEN + " ",
        TOKEN.upper(),
    ],
)
def test_no_text_gets_in(plant: Plant, shown: str) -> None:
    """Quotes, wildcards, null bytes, broken text and very long text are wrong tokens and nothing else."""
    claim = plant.people.tokens.authenticate(shown, "192.0.2.1")
    assert claim.person is None
    with pytest.raises(NotAuthorisedError):
        _ = claim.of


def test_a_right_id_with_another_secret_is_refused(plant: Plant) -> None:
    """Each token counts only whole: a secret of one and the id of another are no token."""
    viewer, admin = plant.tokens[Role.VIEWER], plant.tokens[Role.ADMIN]
    mixed = f"ewt_{admin.split('_')[1]}_{viewer.split('_', 2)[2]}"
    assert plant.client(mixed).get("/api/v1/whoami").status_code == 401
    assert plant.client(admin[:-1]).get("/api/v1/whoami").status_code == 401


@pytest.mark.parametrize("length", [1_000, 60_000])
def test_a_very_long_header_is_refused(plant: Plant, length: int) -> None:
    """It costs an answer and no more."""
    answer = plant.client().get("/api/v1/whoami", headers=bearer("ewt_" + "a" * length))
    assert answer.status_code == 401


def test_guessing_is_limited_and_locks_nobody_out(plant: Plant) -> None:
    """After ten wrong tokens further ones of that claim wait a minute; the right one never does."""
    engineer, viewer = plant.tokens[Role.ENGINEER], plant.tokens[Role.VIEWER]
    wrong = plant.client(engineer[:-4] + "AAAA")
    answers = [wrong.get("/api/v1/whoami").status_code for _ in range(WRONG_AT_MOST + 2)]
    assert answers == [401] * WRONG_AT_MOST + [429] * 2
    limited = wrong.get("/api/v1/whoami")
    assert (limited.status_code, limited.json()["number"]) == (429, 110)
    assert limited.json()["remedy"]
    page = plant.client().post("/login", data={"token": engineer[:-4] + "BBBB"}, headers=OWN)
    assert page.status_code == 429
    assert "Wait a minute" in page.text
    assert plant.client(engineer).get("/api/v1/whoami").status_code == 200
    assert plant.client(viewer).get("/api/v1/whoami").status_code == 200
    assert plant.client(TOKEN).get("/api/v1/whoami").status_code == 200
    assert plant.client().post("/login", data={"token": engineer}, headers=OWN).status_code == 303


def test_the_owner_of_the_folder_is_not_locked_out(tmp_path: Path) -> None:
    """Whoever shows wrong local tokens on the controller's own machine does not keep the right one out."""
    plant = make_plant(make_parts(tmp_path))
    wrong = plant.client("ew_wrong")
    assert [wrong.get("/api/v1/whoami").status_code for _ in range(WRONG_AT_MOST + 1)][-1] == 429
    assert plant.client(TOKEN).get("/api/v1/whoami").status_code == 200
    plant.parts.db.close()


def test_the_limit_ends_and_its_table_is_bounded() -> None:
    """After a minute it counts anew; more addresses than it remembers push the oldest out."""
    attempts = Attempts()
    for _ in range(WRONG_AT_MOST):
        attempts.count_wrong("192.0.2.1", "", 0.0)
    with pytest.raises(TooManyAttemptsError):
        attempts.verify_allowed("192.0.2.1", "", 1.0)
    attempts.verify_allowed("192.0.2.2", "", 1.0)
    attempts.verify_allowed("192.0.2.1", "", WINDOW_S)
    for i in range(ROWS_AT_MOST + 10):
        attempts.count_wrong(f"host-{i}", "", 1.0)
    assert len(attempts._rows) == ROWS_AT_MOST
    attempts.verify_allowed("192.0.2.1", "", 2.0)
    for i in range(WRONG_AT_MOST):
        attempts.count_wrong(f"2001:db8::{i:x}", "", 3.0)
    with pytest.raises(TooManyAttemptsError):
        attempts.verify_allowed("2001:db8::ffff", "", 3.0)


def test_a_stolen_cookie_counts_at_its_own_port_only(plant: Plant) -> None:
    """Whoever listens on another port of this host gets the cookie and cannot use it at another door."""
    browser = plant.browser(plant.tokens[Role.ADMIN])
    (cookie,) = browser.cookies.jar
    assert cookie.name == f"{COOKIE}_8420"
    for base in ("http://127.0.0.1:8443", "https://127.0.0.1:8443", "http://localhost:8420"):
        thief = plant.client(base=base)
        for name in (cookie.name, f"{COOKIE}_{base.rpartition(':')[2]}"):
            thief.headers["Cookie"] = f"{name}={cookie.value}"
            assert thief.get("/").headers.get("location") == "/login", base
    same = plant.client()
    same.headers["Cookie"] = f"{cookie.name}={cookie.value}"
    assert same.get("/").status_code == 200


def test_a_cookie_is_strict_hidden_and_secure(plant: Plant) -> None:
    """No script reads it, no other site sends it, and over HTTPS it goes over HTTPS only."""
    for base, secure in ((BASE, False), ("https://127.0.0.1:8443", True)):
        client = plant.client(base=base)
        answer = client.post("/login", data={"token": TOKEN}, headers={"Origin": base})
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert ("secure" in cookie) == secure
        assert TOKEN not in cookie


def test_a_session_is_stored_as_a_digest_and_ends_with_a_logout(plant: Plant) -> None:
    """The database does not have the cookie; after the logout the cookie is worth nothing."""
    browser = plant.browser(plant.tokens[Role.OPERATOR])
    (cookie,) = browser.cookies.jar
    with plant.parts.db.reading() as session:
        rows = session.exec(select(PageSession).where(col(PageSession.sha256) == cookie.value)).all()
    assert rows == []
    assert browser.post("/logout", headers={"Origin": "http://127.0.0.1:1"}).status_code == 422
    assert browser.post("/logout", headers=OWN).headers["location"] == "/login"
    thief = plant.client()
    thief.headers["Cookie"] = f"{cookie.name}={cookie.value}"
    assert thief.get("/").headers["location"] == "/login"


def test_a_session_ends_by_its_own_time_and_with_its_token(plant: Plant) -> None:
    """Who may change something logs in once a shift, a screen stays, and no session outlives its token."""
    lives = {role: _life(plant, plant.tokens[role]) for role in Role}
    assert lives[Role.VIEWER] == pytest.approx(30 * 86400, abs=600)
    assert lives[Role.ADMIN] == lives[Role.OPERATOR] == pytest.approx(12 * 3600, abs=600)
    short = plant.people.tokens.add("short", "viewer", (), 1).text
    assert _life(plant, short) == pytest.approx(86400, abs=600)
    browser = plant.browser(short)
    with plant.parts.db.session() as session:
        for row in session.exec(select(PageSession)):
            row.expires = 1.0
            session.add(row)
    assert browser.get("/").headers["location"] == "/login"


def _life(plant: Plant, token: str) -> float:
    claim = plant.people.tokens.authenticate(token, "192.0.2.1")
    return round(plant.people.sessions.open(claim, BASE).life_s, -2)


def test_the_link_opens_a_session_and_a_wrong_one_does_not(plant: Plant) -> None:
    """The link of `edgewright up` works as before; with a wrong token it leads to the login."""
    opened = plant.client().get("/", params={"token": TOKEN})
    assert (opened.status_code, opened.headers["location"]) == (303, "/")
    assert plant.client().get("/", params={"token": TOKEN + "x"}).headers["location"] == "/login"


def test_a_replaced_local_token_ends_its_sessions(plant: Plant) -> None:
    """Who replaces the file ends what was opened with the old one."""
    browser = plant.browser(TOKEN)
    file = plant.parts.data / "api-token"
    file.write_text("ew_another-token")
    assert browser.get("/").headers["location"] == "/login"
    assert plant.client().get("/api/v1/whoami", headers=LOCAL).status_code == 401
    file.write_text(TOKEN)
