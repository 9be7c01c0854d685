"""The admin's pages: people with their tokens, and the audit log."""

import time
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from edgewright.controller.api.access import Asking, Peoples, need, need_form
from edgewright.controller.api.seams import Services
from edgewright.controller.errors import InvalidRequestError
from edgewright.controller.people import audit
from edgewright.controller.people.operations import OPERATIONS
from edgewright.controller.people.person import Person
from edgewright.controller.people.roles import Role
from edgewright.controller.people.service import People
from edgewright.controller.people.tokens import LIFE_DAYS, LIFE_DAYS_AT_MOST, NewToken
from edgewright.controller.web import words
from edgewright.controller.web.auditlog import SPANS, bars_of, line_of
from edgewright.controller.web.entry import Fields
from edgewright.controller.web.fleet import PAGE_ROWS, Page
from edgewright.controller.web.rendering import render

NAME_AT_MOST: Final = 100
ROLE_WORDS: Final = {
    Role.VIEWER: "sees everything but secrets",
    Role.OPERATOR: "steers rollouts, closes alarms, labels frames, revokes and enrols devices",
    Role.ENGINEER: "pushes, rolls out, signs, withdraws, exports",
    Role.ADMIN: "gives tokens out, changes keys, reads the audit log",
}


def add_people_pages(router: APIRouter, services: Services) -> None:
    """The routes."""
    _add_people(router)
    _add_changes(router)

    @router.get("/audit", dependencies=[need("audit.read")])
    def log(
        person: Asking,
        search: Annotated[str, Query(max_length=200)] = "",
        days: Annotated[int, Query(ge=1, le=365)] = 30,
        number: Annotated[int, Query(ge=1, le=1_000_000, alias="page")] = 1,
    ) -> str:
        now = time.time()
        span = next((s for s in SPANS if s.days >= days), SPANS[-1])
        with services.db.reading() as session:
            page = Page.of(audit.count(session, search), number)
            found = audit.search(session, search, PAGE_ROWS, offset=page.offset)
            counts = audit.activity(session, search, span.start(now), span.bucket_s)
        context = {
            "person": person,
            "search": search,
            "page": page,
            "span": span,
            "spans": SPANS,
            "bars": bars_of(counts, span, now),
            "entries": [line_of(row) for row in found],
        }
        return render("audit.html", context)


def _add_people(router: APIRouter) -> None:
    @router.get("/people", dependencies=[need("people.read")])
    def show(person: Asking, people: Peoples) -> str:
        return _people_page(person, people)

    @router.post("/people", dependencies=[need_form("people.add")])
    def add(person: Asking, people: Peoples, fields: Fields) -> Response:
        name = fields.get("name", "")[:NAME_AT_MOST]
        models = tuple(name for name in fields.get("models", "").replace(",", " ").split() if name)
        made = people.tokens.add(name, fields.get("role", ""), models, _days(fields), by=person.actor)
        return _with_new(person, people, made)


def _add_changes(router: APIRouter) -> None:
    @router.post("/people/{token}/renew", dependencies=[need_form("people.renew")])
    def renew(person: Asking, people: Peoples, token: str, fields: Fields) -> Response:
        return _with_new(person, people, people.tokens.renew(token, _days(fields)))

    @router.post("/people/{token}/revoke", dependencies=[need_form("people.revoke")])
    def revoke(request: Request, people: Peoples, token: str) -> Response:
        del request
        people.tokens.revoke(token)
        return RedirectResponse("/people", 303)


def _with_new(person: Person, people: People, made: NewToken) -> Response:
    # The one page that holds a secret: no cache keeps it, and going back asks again.
    return HTMLResponse(_people_page(person, people, made), 201, {"Cache-Control": "no-store"})


def _people_page(person: Person, people: People, made: NewToken | None = None) -> str:
    now = time.time()
    tokens = people.tokens.list()
    shown = [(token, words.token_word(token.revoked_at, token.expires, now)) for token in tokens]
    roles: list[tuple[str, str]] = [(role.word, said) for role, said in ROLE_WORDS.items()]
    context: dict[str, Any] = {
        "person": person,
        "tokens": shown,
        "made": made,
        "roles": roles,
        "operations": [(row.what, row.role) for row in OPERATIONS.values() if row.role],
        "now": now,
        "life": LIFE_DAYS,
        "life_at_most": LIFE_DAYS_AT_MOST,
    }
    return render("people.html", context)


def _days(fields: dict[str, str]) -> int:
    text = fields.get("days", "") or str(LIFE_DAYS)
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        raise InvalidRequestError(f"{text[:20]!r} is no number of days.")
    return int(text)
