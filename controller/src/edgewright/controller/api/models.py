"""Operations on models: blobs up, versions in, versions shown."""

from typing import Annotated, Any, Final

import anyio.to_thread
from fastapi import APIRouter, Depends, Path, Request, Response

from edgewright.controller import registry
from edgewright.controller.api.access import Asking, bearer_scheme, need
from edgewright.controller.api.bodies import pulled
from edgewright.controller.api.schemas import (
    ArtifactView,
    ModelView,
    Name,
    PushBody,
    Sha256,
    VersionDetail,
    VersionView,
)
from edgewright.controller.api.seams import Services
from edgewright.controller.database.tables import Model
from edgewright.controller.errors import InvalidRequestError, UnknownModelError
from edgewright.controller.exchange.origin import Imported
from edgewright.controller.lineage import of_push
from edgewright.controller.model_toml import FILE_NAME, parse_model
from edgewright.controller.people.person import Person
from edgewright.controller.web import rows
from edgewright.controller.web.references import References

MAX_BLOB_BYTES: Final = 4 << 30
"""Far above any model for an edge device; a wrong file must not fill the disk."""

RAW_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


def create_router(services: Services, references: References) -> APIRouter:
    """The operations."""
    del references
    router = APIRouter(tags=["models"], dependencies=[Depends(bearer_scheme)])
    _add_blobs(router, services)
    _add_reading(router, services)

    @router.post(
        "/models/{model}/versions",
        operation_id="push_version",
        status_code=202,
        dependencies=[need("model.push")],
    )
    def push_version(model: Annotated[Name, Path()], body: PushBody, person: Asking) -> VersionView:
        """Check a new version and queue its build; its blobs have to be here already.

        The check loads the model in a child process, so the answer takes a second or two.
        """
        missing = [path for path, sha256 in body.files.items() if not services.blobs.has(sha256)]
        if missing:
            raise InvalidRequestError(f"The blob of {missing[0]!r} was not uploaded.")
        checked = registry.verify_upload(services.blobs, model, body.files)
        origin = _origin(services, body, person)
        with services.db.session() as session:
            version = registry.add_version(
                session, model, body.files, "push", labels=checked.labels, lineage=origin
            )
        services.workflows.enqueue_build(model, version)
        with services.db.reading() as session:
            return VersionView.model_validate(registry.find_version(session, model, version))

    return router


def _origin(services: Services, body: PushBody, person: Person) -> dict[str, Any]:
    spec = parse_model(services.blobs.read(body.files[FILE_NAME]))
    told = body.imported_from
    imported = Imported(**told.model_dump()) if told else None
    return of_push(spec, body.files, person.actor, body.run, body.note, imported)


def _add_reading(router: APIRouter, services: Services) -> None:
    @router.get("/models", operation_id="list_models", dependencies=[need("model.read")])
    def list_models() -> list[ModelView]:
        """All models, by name."""
        with services.db.reading() as session:
            return [ModelView.model_validate(row) for row in rows.models(session)]

    @router.get("/models/{model}/versions", operation_id="list_versions", dependencies=[need("model.read")])
    def list_versions(model: str) -> list[VersionView]:
        """A model's versions, newest first."""
        with services.db.reading() as session:
            if session.get(Model, model) is None:
                raise UnknownModelError(f"There is no model {model!r}.")
            return [VersionView.model_validate(row) for row in rows.versions(session, model)]

    @router.get(
        "/models/{model}/versions/{version}",
        operation_id="show_version",
        dependencies=[need("model.read")],
    )
    def show_version(model: str, version: int) -> VersionDetail:
        """One version with its artifacts."""
        with services.db.reading() as session:
            row = registry.find_version(session, model, version)
            mine = [a for a in rows.artifacts(session, model) if a.version == version]
            artifacts = [ArtifactView.model_validate(artifact) for artifact in mine]
            return VersionDetail.model_validate(row).model_copy(update={"artifacts": artifacts})


def _add_blobs(router: APIRouter, services: Services) -> None:
    @router.head("/blobs/{sha256}", operation_id="has_blob", dependencies=[need("blob.read")])
    def has_blob(sha256: Sha256) -> Response:
        """Whether a blob is here: 200 or 404, without a body."""
        return Response(status_code=200 if services.blobs.has(sha256) else 404)

    @router.put(
        "/blobs/{sha256}",
        operation_id="put_blob",
        status_code=204,
        openapi_extra=RAW_BODY,
        dependencies=[need("blob.upload")],
    )
    async def put_blob(sha256: Sha256, request: Request) -> None:
        """Upload bytes under their SHA-256; bytes that have another are refused and not kept."""
        parts = aiter(request.stream())
        bounded = pulled(parts, MAX_BLOB_BYTES, "A blob")
        await anyio.to_thread.run_sync(lambda: services.blobs.put_stream(bounded, sha256))
