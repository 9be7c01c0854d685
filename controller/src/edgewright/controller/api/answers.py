"""How an error is answered: as a problem to programs, as a page to people."""

from typing import Final

from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import Scope

from edgewright.controller.api.auditing import note_error
from edgewright.controller.api.problems import MEDIA_TYPE, problem_of
from edgewright.controller.errors import NotAuthorisedError
from edgewright.controller.web.rendering import render
from edgewright.wire.errors import EdgewrightError

CHALLENGES: Final = {
    "/api/": "Bearer",
    "/.well-known/": 'Basic realm="edgewright"',
    "/device/": 'Certificate realm="edgewright"',
}
"""What programs are asked for below each path; everything else is for people. The last is a device's
certificate in the handshake of TLS, for which no scheme is registered: it only says which credential."""


def answer_problem(scope: Scope, error: EdgewrightError) -> Response:
    """The answer to a request that ended with an error.

    A page without a session leads to the login instead.
    """
    problem = problem_of(error)
    note_error(scope, problem.number)
    challenge = next((asked for path, asked in CHALLENGES.items() if scope["path"].startswith(path)), None)
    if challenge:
        headers = {"WWW-Authenticate": challenge} if isinstance(error, NotAuthorisedError) else None
        return JSONResponse(problem.model_dump(), problem.status, headers, MEDIA_TYPE)
    if isinstance(error, NotAuthorisedError):
        return RedirectResponse("/login", 303)
    html = render("problem.html", {"problem": problem, "title": problem.title})
    return Response(html, problem.status, media_type="text/html")
