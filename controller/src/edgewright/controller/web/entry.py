"""The doors of the page: static files, login and logout."""

from typing import Annotated, Final
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Request
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response

from edgewright.controller.api.access import (
    Need,
    authenticate,
    cookie_name,
    need,
    origin_of,
    people_of,
    verify_origin,
)
from edgewright.controller.api.auditing import acting_of, note_error
from edgewright.controller.api.problems import problem_of
from edgewright.controller.errors import NotAuthorisedError, TooManyAttemptsError, UnknownAddressError
from edgewright.controller.people.acting import Acting
from edgewright.controller.people.operations import OPERATIONS
from edgewright.controller.people.person import Person
from edgewright.controller.web.rendering import ASSETS, STATIC, render

MAX_FORM_BYTES: Final = 16384

STATIC_FILES: Final = {
    **{name: STATIC / name for name in ("edgewright.css", "edgewright.js", "label.js", "favicon.svg")},
    **{
        name: ASSETS / name
        for name in (
            "htmx.min.js",
            "htmx-ext-sse.min.js",
            "idiomorph-ext.min.js",
            "uplot.iife.min.js",
            "uplot.min.css",
            "inter.woff2",
        )
    },
}
"""Everything that is served beside pages; no path of a request ever reaches the file system."""


async def read_fields(request: Request) -> dict[str, str]:
    """The fields of a form; a form parser would be one more dependency."""
    parsed = parse_qs((await request.body())[:MAX_FORM_BYTES].decode(errors="replace"))
    return {name: values[0].strip() for name, values in parsed.items()}


Fields = Annotated[dict[str, str], Depends(read_fields)]


class NeedOrLink(Need):
    """The same as ``need``, but a link with a token in it goes through, to open a session with it."""

    def __call__(self, request: Request) -> Person | None:
        """Let a request through; raises as ``Need`` does."""
        if request.query_params.get("token"):
            _log_in_by(acting_of(request))
            return None
        return super().__call__(request)


def _log_in_by(acting: Acting) -> None:
    acting.action, acting.changes = "page.login", OPERATIONS["page.login"].changes


def add_entry(router: APIRouter) -> None:
    """The routes."""

    @router.get("/static/{name}", dependencies=[need("page.static")])
    def static_file(name: str) -> Response:
        path = STATIC_FILES.get(name)
        if path is None or not path.is_file():
            raise UnknownAddressError(f"There is no static file {name!r}.")
        return FileResponse(path, headers={"Cache-Control": "no-cache"})

    @router.get("/login", dependencies=[need("page.static")])
    def login() -> str:
        return render("login.html", {"problem": None})

    @router.post("/login", dependencies=[need("page.login"), Depends(verify_origin)])
    def log_in(request: Request, fields: Fields) -> Response:
        try:
            return with_session(request, fields.get("token", ""))
        except (NotAuthorisedError, TooManyAttemptsError) as error:
            problem = problem_of(error)
            note_error(request.scope, problem.number)
            return HTMLResponse(render("login.html", {"problem": problem}), problem.status)

    @router.post("/logout", dependencies=[need("page.logout"), Depends(verify_origin)])
    def log_out(request: Request) -> Response:
        name = cookie_name(request)
        people_of(request).sessions.close(request.cookies.get(name, ""))
        answer = RedirectResponse("/login", 303)
        answer.delete_cookie(name)
        return answer


def with_session(request: Request, shown: str) -> Response:
    """To the overview, with a session for the token.

    Raises:
        NotAuthorisedError: the token does not count.
        TooManyAttemptsError: too many wrong ones came from there.
    """
    claim = authenticate(request, shown)
    acting_of(request).person = claim.person
    session = people_of(request).sessions.open(claim, origin_of(request))
    answer = RedirectResponse("/", 303)
    answer.set_cookie(
        cookie_name(request),
        session.cookie,
        max_age=int(session.life_s),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return answer
