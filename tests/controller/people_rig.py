"""An application with one person of each role."""

from dataclasses import dataclass

from fastapi import FastAPI
from fastapi.testclient import TestClient

from edgewright.controller.api.app import create_app
from edgewright.controller.people.roles import Role
from edgewright.controller.people.service import People
from tests.controller.parts import TOKEN, Parts

BASE = "http://127.0.0.1:8420"
OWN = {"Origin": BASE}


def bearer(token: str) -> dict[str, str]:
    """The header that shows a token."""
    return {"Authorization": f"Bearer {token}"}


LOCAL = bearer(TOKEN)


@dataclass(frozen=True)
class Plant:
    """The application, its people, and a token of each role."""

    parts: Parts
    app: FastAPI
    tokens: dict[Role, str]

    @property
    def people(self) -> People:
        """The application's tokens and sessions."""
        found: People = self.app.state.people
        return found

    def client(self, token: str = "", *, base: str = BASE) -> TestClient:
        """A program that shows a token, or nothing."""
        return _client(self.app, base, bearer(token) if token else {})

    def browser(self, token: str, *, base: str = BASE) -> TestClient:
        """A browser that has logged in with a token."""
        opened = _client(self.app, base, {})
        answer = opened.post("/login", data={"token": token}, headers={"Origin": base})
        assert answer.status_code == 303
        return opened


def _client(app: FastAPI, base: str, headers: dict[str, str]) -> TestClient:
    return TestClient(
        app, base_url=base, headers=headers, follow_redirects=False, raise_server_exceptions=False
    )


def make_plant(parts: Parts, app: FastAPI | None = None) -> Plant:
    """An application over these parts, or the given one, with new people."""
    app = app or create_app(parts)
    tokens = {role: app.state.people.tokens.add(f"the {role.word}", role.word).text for role in Role}
    return Plant(parts, app, tokens)
