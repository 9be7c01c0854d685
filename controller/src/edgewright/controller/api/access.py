"""Who may do what: the dependency that every route names.

::

    @router.post("/models/{model}/withdraw", dependencies=[need("model.withdraw")])
    def withdraw(model: str, request: Request) -> None:
        ...
        audited(request, f"{model} v{version}", reason=body.reason)   # optional: says more in the entry

The row of that name in ``people.operations`` has the role. A program shows a token as bearer. A person logs
in once at ``/login`` and gets a session cookie; it reads the API, and it changes something only through the
page's own forms, which have to come from this very origin (``need_form``). A device shows its own one-time
token or certificate to a row without a role.

A token for some models may change only these: a path parameter ``model`` is checked here, a model that
stands elsewhere by ``verify_scope``.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from fastapi import Depends, FastAPI, Request
from fastapi.routing import iter_route_contexts
from fastapi.security import HTTPBearer

from edgewright.controller.api.auditing import acting_of
from edgewright.controller.errors import InvalidRequestError, NotAuthorisedError
from edgewright.controller.people.operations import OPERATIONS
from edgewright.controller.people.person import Person
from edgewright.controller.people.service import People
from edgewright.controller.people.tokens import Claim

COOKIE: Final = "edgewright_session"
"""The port follows in the name."""

bearer_scheme = HTTPBearer(auto_error=False, description="A person's token, or the data folder's api-token")


def people_of(request: Request) -> People:
    """The application's people."""
    people: People = request.app.state.people
    return people


def cookie_name(request: Request) -> str:
    """Name of the session cookie at the port that the browser speaks to."""
    return f"{COOKIE}_{request.url.port or (443 if request.url.scheme == 'https' else 80)}"


def origin_of(request: Request) -> str:
    """Scheme, host and port as the browser has them."""
    return f"{request.url.scheme}://{request.headers.get('host', '')}"


def client_address(request: Request) -> str:
    """Where the request comes from."""
    return request.client.host if request.client else ""


class Need:
    """One row of ``OPERATIONS`` as a dependency; yields the person, or None where none is needed.

    Attributes:
        action: name of the row.
        form: the request comes from a page's form: a session, and from this origin.
    """

    def __init__(self, action: str, *, form: bool = False) -> None:
        self.action = action
        self.form = form
        self._operation = OPERATIONS[action]

    def __call__(self, request: Request) -> Person | None:
        """Let a request through.

        Raises:
            NotAuthorisedError: neither a token nor a session that counts for this is shown.
            TooManyAttemptsError: too many wrong tokens came from there.
            ForbiddenError: the role or the scope does not suffice.
            InvalidRequestError: the form comes from another origin.
        """
        acting = acting_of(request)
        acting.action, acting.changes = self.action, self._operation.changes
        if self._operation.role is None:
            return None
        acting.person = person = self.person(request)
        if self.form:
            verify_origin(request)
        person.verify_may(self.action)
        if self._operation.changes and "model" in request.path_params:
            person.verify_scope(request.path_params["model"])
        return person

    def person(self, request: Request) -> Person:
        """Who asks, whatever they may do.

        Raises:
            NotAuthorisedError, TooManyAttemptsError: as a call does.
        """
        scheme, _, shown = request.headers.get("authorization", "").partition(" ")
        if shown and not self.form:
            return authenticate(request, shown.strip() if scheme.lower() == "bearer" else "").of
        if self.form or request.method in ("GET", "HEAD"):
            cookie = request.cookies.get(cookie_name(request), "")
            return people_of(request).sessions.person(cookie, origin_of(request))
        raise NotAuthorisedError("This takes a token; a page's session only reads here.")


def need(action: str) -> Any:
    """The dependency of a route that does ``action``, a row of ``people.operations``."""
    return Depends(Need(action))


def need_form(action: str) -> Any:
    """The same for a form of our own pages."""
    return Depends(Need(action, form=True))


def needs_of(app: FastAPI) -> Iterator[tuple[str, str, list[Need]]]:
    """Path, method and needs of every route of an application."""
    for route in iter_route_contexts(app.routes):
        needs = [d.dependency for d in route.dependencies if isinstance(d.dependency, Need)]
        for method in sorted(route.methods or ()):
            yield route.path or "", method, needs


def authenticate(request: Request, shown: str) -> Claim:
    """Whoever shows this token; its claim has a person.

    Raises:
        NotAuthorisedError: it does not count.
        TooManyAttemptsError: too many wrong ones came from there.
    """
    claim = people_of(request).tokens.authenticate(shown, client_address(request))
    if claim.person is None:
        acting_of(request).claimed = f"{claim.name} ({claim.id})" if claim.id else ""
        raise NotAuthorisedError(claim.sentence)
    return claim


def present_person(request: Request) -> Person:
    """The person that ``need`` let through, for a route that wants to know."""
    person = acting_of(request).person
    if person is None:
        raise NotAuthorisedError("Nobody is known here.")
    return person


Asking = Annotated[Person, Depends(present_person)]
"""Parameter of a route: who asks."""


Peoples = Annotated[People, Depends(people_of)]
"""Parameter of a route: the application's people."""


def verify_scope(request: Request, model: str) -> None:
    """Refuse a change of a model that the token is not for.

    Raises:
        ForbiddenError: its scope has other models only.
    """
    present_person(request).verify_scope(model)


def audited(request: Request, subject: str = "", **detail: Any) -> None:
    """Say more in the audit log's entry of this request; secrets do not belong there."""
    acting = acting_of(request)
    acting.subject = subject or acting.subject
    acting.detail |= detail


def verify_origin(request: Request) -> None:
    """Refuse a form that another origin sent.

    SameSite keeps other sites out, but another port of this host counts as the same site, so the browser
    has to say that the form came from this very origin.

    Raises:
        InvalidRequestError: it does not come from a page of this controller.
    """
    if urlsplit(request.headers.get("origin", "")).netloc != request.headers.get("host"):
        raise InvalidRequestError("The form was not sent by a page of this controller.")
