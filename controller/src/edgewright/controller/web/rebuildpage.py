"""The page of one rebuild with its runs side by side, and the buttons that order rebuilds."""

from typing import Any, Final
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from edgewright.controller.api.access import Asking, need, need_form, verify_scope
from edgewright.controller.api.seams import Services
from edgewright.controller.database.evidencetables import Rebuild, RebuildRun
from edgewright.controller.rebuild import runs
from edgewright.controller.rebuild.comparing import compare_runs
from edgewright.controller.rebuild.orders import find_rebuild
from edgewright.controller.rebuild.states import TRANSITIONS, RebuildState
from edgewright.controller.rebuild.trigger import Asked, Trigger
from edgewright.controller.web.rendering import render
from edgewright.controller.web.words import mark_word

MOST_RUNS: Final = 8
"""Runs side by side; the newest where there were more."""

ASKED: Final[dict[str, str]] = {
    Trigger.HARM: "an alarm",
    Trigger.SCHEDULE: "the schedule",
    Trigger.DATA: "new data",
    Trigger.PERSON: "a person",
    Trigger.API: "a program",
    Trigger.RECIPE: "a changed recipe",
}
"""What asked for a rebuild, in words."""


def add_rebuild_page(router: APIRouter, services: Services) -> None:
    """The routes."""

    @router.get("/rebuilds/{number}", dependencies=[need("page.read")])
    def show(person: Asking, number: int) -> str:
        with services.db.reading() as session:
            row = find_rebuild(session, number)
            found = runs.runs_of(session, number)
        return render("rebuild.html", {"person": person, **_context(row, found)})

    @router.post("/models/{model}/rebuild", dependencies=[need_form("rebuild.start")])
    def start(model: str, person: Asking) -> Response:
        asked = Asked(Trigger.PERSON, person.actor)
        number = services.workflows.enqueue_rebuild(model, f"{person.name} asks for it.", asked)
        return RedirectResponse(f"/rebuilds/{number}", 303)

    @router.post("/rebuilds/{number}/approve", dependencies=[need_form("rebuild.approve")])
    def approve(number: int, request: Request, person: Asking) -> Response:
        model = _verify(request, services, number)
        services.workflows.approve_rebuild(number, person.actor)
        return RedirectResponse(f"/models/{quote(model)}", 303)

    @router.post("/rebuilds/{number}/cancel", dependencies=[need_form("rebuild.cancel")])
    def cancel(number: int, request: Request, person: Asking) -> Response:
        _verify(request, services, number)
        services.workflows.cancel_rebuild(number, person.actor)
        return RedirectResponse(f"/rebuilds/{number}", 303)


def _verify(request: Request, services: Services, number: int) -> str:
    """The rebuild's model, which the person may change."""
    with services.db.reading() as session:
        model = find_rebuild(session, number).model
    verify_scope(request, model)
    return model


def _context(row: Rebuild, found: list[RebuildRun]) -> dict[str, Any]:
    shown = found[-MOST_RUNS:]
    return {
        "rebuild": row,
        "asked": ASKED.get(row.trigger or (Trigger.HARM if row.alarm else ""), "nobody knows"),
        "waits": row.state == RebuildState.WAITING_APPROVAL,
        "can_end": RebuildState.CANCELLED in TRANSITIONS[RebuildState(row.state)],
        "runs": shown,
        "found": compare_runs(shown) if len(shown) > 1 else None,
        "mark": mark_word,
    }
