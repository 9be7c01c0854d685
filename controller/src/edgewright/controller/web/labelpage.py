"""The page where a person labels frames: by keyboard with its script, by plain forms without.

The frame is lent when the page is shown and stays the same until it is answered or skipped, so loading the
page again changes nothing. The script takes the next frames from the API (``labels/next``) and sends answers
to the page's own form, as a form would; only what comes back differs.
"""

import time
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from edgewright.controller.api.access import Asking, need, need_form
from edgewright.controller.api.labels import AtDesk, FrameView, frame_view
from edgewright.controller.api.seams import Services
from edgewright.controller.database import Session, col, select
from edgewright.controller.database.evidencetables import Label
from edgewright.controller.database.tables import Sample
from edgewright.controller.errors import InvalidRequestError
from edgewright.controller.labelintake import known_classes
from edgewright.controller.labelling import (
    ENOUGH,
    Desk,
    Key,
    count_random_looks,
    look,
    newest_version,
    next_to_label,
    take_look_back,
)
from edgewright.controller.labels import AUDIT, verify_model
from edgewright.controller.labelstatus import count_today, count_waiting
from edgewright.controller.people.person import Person
from edgewright.controller.web.entry import Fields
from edgewright.controller.web.rendering import render

KEYS: Final = "123456789abcdefghijklmopqrtuvwxy"
"""Keys of classes in their order; n types a new class, s skips, z undoes, 0 and space cannot tell."""

RANDOM: Final = (
    "Drawn at random. What the model decided is shown after your answer, so that it does not lead you."
)
NOTHING: Final = "No frame waits. Robots send new ones while they work; look again in a while."

ADDED_CLASSES: Final = 40
"""Classes beyond the model's own that people have named."""

REASONS: Final = {
    "disagreeing": "a candidate disagreed",
    "novel": "it resembles no frame before",
    "undecided": "no model decided",
    "uncertain": "the model was unsure",
}


def add_label_page(router: APIRouter, services: Services) -> None:
    """The routes."""

    @router.get("/models/{model}/label", dependencies=[need("sample.read")])
    def show(model: str, person: Asking, desk: AtDesk) -> Response:
        with services.db.reading() as session:
            page = render("label.html", _page(session, model, person, desk))
        # Going back must not show a frame that was answered meanwhile.
        return HTMLResponse(page, headers={"Cache-Control": "no-store"})

    @router.post("/models/{model}/label", dependencies=[need_form("label.tell")])
    def answer(model: str, request: Request, person: Asking, desk: AtDesk, fields: Fields) -> Response:
        again = _act(services, model, person, desk, fields)
        if "application/json" not in request.headers.get("accept", ""):
            return RedirectResponse(f"/models/{model}/label", 303)
        with services.db.reading() as session:
            told = {
                "counts": _counts(session, model, person, desk),
                "last": _last(session, model, person, desk),
            }
            frame = session.get(Sample, again) if again else None
            told["frame"] = frame_view(frame).model_dump() if frame else None
        return JSONResponse(told)


def _act(services: Services, model: str, person: Person, desk: Desk, fields: dict[str, str]) -> Key | None:
    """Do what a form asks; the frame that comes back, where it was undone."""
    order, key = fields.get("order", ""), (fields.get("device", ""), fields.get("item", ""))
    if order == "undo":
        return _undo(services, model, person, desk)
    if order == "skip":
        desk.skip(model, person.token, key)
        return None
    truth = "" if order == "cannot-tell" else fields.get("truth") or fields.get("new", "")
    if not truth and order != "cannot-tell":
        raise InvalidRequestError("The form names no class.")
    with services.db.session() as session:
        look(session, model, person, key, truth, time.time())
    desk.finish(model, person.token, key)
    return None


def _undo(services: Services, model: str, person: Person, desk: Desk) -> Key | None:
    key = desk.undo(model, person.token)
    if key is not None:
        with services.db.session() as session:
            take_look_back(session, model, person, key)
    return key


def _page(session: Session, model: str, person: Person, desk: Desk) -> dict[str, Any]:
    verify_model(session, model)
    found = next_to_label(session, model, person.token, desk)
    frame = frame_view(found[0]) if found else None
    random, other = count_waiting(session, model)
    return {
        "person": person,
        "name": model,
        "frame": frame,
        "why": why(frame) if frame else NOTHING,
        "classes": keyed(_classes(session, model)),
        "counts": _counts(session, model, person, desk),
        "last": _last(session, model, person, desk),
        "waiting": {"random": random, "other": other},
        "data": {
            "model": model,
            "frame": frame.model_dump() if frame else None,
            "reasons": REASONS,
            "random": RANDOM,
            "nothing": NOTHING,
        },
    }


def keyed(classes: list[str]) -> list[tuple[str, str]]:
    """Classes with their keys; those beyond the keys are buttons only.

    >>> keyed(["bag", "boot"])
    [('1', 'bag'), ('2', 'boot')]
    """
    return [(KEYS[place] if place < len(KEYS) else "", name) for place, name in enumerate(classes)]


def why(frame: FrameView) -> str:
    """Why a frame is shown, for a person."""
    if frame.random:
        return RANDOM
    return f"Captured because {REASONS.get(frame.reason, frame.reason)}. The model decided {frame.decided}."


def _classes(session: Session, model: str) -> list[str]:
    known = known_classes(session, model)
    named = select(Label.truth).where(Label.model == model, Label.source == AUDIT, Label.truth != "")
    added = session.exec(named.where(col(Label.truth).not_in(known)).distinct().limit(ADDED_CLASSES))
    return [*known, *sorted(added)]


def _counts(session: Session, model: str, person: Person, desk: Desk) -> dict[str, Any]:
    version = newest_version(session, model)
    random = count_random_looks(session, model, version)
    return {
        "today": count_today(session, model),
        "mine": count_today(session, model, person.actor),
        "pace": round(desk.pace(model, person.token)),
        "version": version,
        "random": random,
        "enough": ENOUGH,
        "missing": max(ENOUGH - random, 0),
    }


def _last(session: Session, model: str, person: Person, desk: Desk) -> dict[str, Any] | None:
    key = desk.last(model, person.token)
    sample, label = (session.get(Sample, key), session.get(Label, (*key, AUDIT))) if key else (None, None)
    if sample is None or label is None:
        return None
    return {
        "truth": label.truth,
        "decided": sample.label,
        "version": sample.version,
        "agrees": label.truth == sample.label,
    }
