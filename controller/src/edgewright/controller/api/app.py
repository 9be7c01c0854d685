"""The application: the API under /api/v1, the pages, and what both share."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from edgewright.controller.api import (
    aliases,
    audit,
    broker,
    devices,
    director,
    evidence,
    health,
    labels,
    models,
    people,
    provenance,
    qualifications,
    rebuilds,
    rollouts,
    settling,
    signing,
    versions,
)
from edgewright.controller.api.access import Need, need, needs_of
from edgewright.controller.api.answers import answer_problem
from edgewright.controller.api.auditing import Auditing
from edgewright.controller.api.deviceblobs import create_device_blobs
from edgewright.controller.api.est import create_est, create_revocation
from edgewright.controller.api.guard import Guard
from edgewright.controller.api.problems import Problem, from_http, from_validation
from edgewright.controller.api.seams import Services
from edgewright.controller.labelling import Desk
from edgewright.controller.people.operations import OPERATIONS
from edgewright.controller.people.service import People
from edgewright.controller.web.pages import create_pages
from edgewright.controller.web.references import References
from edgewright.wire.errors import EdgewrightError

PREFIX = "/api/v1"
VERSION = "0.1.0"


def create_app(services: Services, names: Sequence[str] = ()) -> FastAPI:
    """The application over a running controller.

    Args:
        services: the running controller.
        names: under which it answers, beside loopback.
    """
    # The interactive documentation of FastAPI loads its scripts from a public host, so it stays off.
    app = Application(title="Edgewright", version=VERSION, openapi_url=None, docs_url=None, redoc_url=None)
    app.state.people = People(services.db, services.data / "api-token")
    app.state.desk = Desk()
    _handle_errors(app)
    references = References(services.blobs)
    of_people = (people, audit, signing, director, settling, qualifications, labels)
    of_models = (models, aliases, versions, provenance, evidence, health)
    for part in (devices, *of_models, rollouts, rebuilds, broker, *of_people):
        app.include_router(part.create_router(services, references), prefix=PREFIX, responses=PROBLEMS)
    app.include_router(create_revocation(services), prefix=PREFIX, responses=PROBLEMS)
    app.include_router(create_est(services), responses=PROBLEMS)
    app.include_router(create_device_blobs(services), responses=PROBLEMS)
    app.include_router(create_pages(services, references))
    _describe(app)
    app.add_middleware(Auditing, db=services.db)
    app.add_middleware(Guard, names=names)
    return app


PROBLEMS: dict[int | str, dict[str, object]] = {
    "4XX": {"model": Problem, "description": "The request cannot be done; the problem says why"},
    "5XX": {"model": Problem, "description": "The controller cannot do it now"},
}


class Application(FastAPI):
    """An application whose description says which role each operation takes."""

    def openapi(self) -> dict[str, Any]:
        """The description; made once."""
        if not self.openapi_schema:
            described = super().openapi()
            for path, method, asked in needs_of(self):
                operation = described["paths"].get(path, {}).get(method.lower())
                if operation is not None:
                    _state_role(operation, asked)
        return super().openapi()


def _state_role(operation: dict[str, Any], needs: Sequence[Need]) -> None:
    for asked in needs:
        role = OPERATIONS[asked.action].role
        operation["x-edgewright-operation"] = asked.action
        operation["x-edgewright-role"] = role.word if role else "nobody"


def _handle_errors(app: FastAPI) -> None:
    @app.exception_handler(EdgewrightError)
    def on_error(request: Request, error: EdgewrightError) -> Response:
        return answer_problem(request.scope, error)

    @app.exception_handler(RequestValidationError)
    def on_validation(request: Request, error: RequestValidationError) -> Response:
        return answer_problem(request.scope, from_validation(error))

    @app.exception_handler(HTTPException)
    def on_http(request: Request, error: HTTPException) -> Response:
        return answer_problem(request.scope, from_http(error))


def _describe(app: FastAPI) -> None:
    @app.get(f"{PREFIX}/openapi.json", include_in_schema=False, dependencies=[need("controller.describe")])
    def openapi() -> JSONResponse:
        return JSONResponse(app.openapi())
