"""Operations on the director's keys: show, rotate, and carry a next root to keys that are elsewhere."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from edgewright.controller.api.access import bearer_scheme, need
from edgewright.controller.api.seams import Services
from edgewright.controller.api.signing import FILE_BODY, KeyPem
from edgewright.controller.errors import SignatureRefusedError, UnknownSigningRequestError
from edgewright.controller.trust.director_seam import State
from edgewright.controller.trust.requests import MAX_REQUEST_BYTES
from edgewright.controller.web.references import References


class DirectorKeyView(BaseModel):
    """One key of one of the director's roles."""

    role: str
    keyid: str
    store: str = Field(description="file, token, or elsewhere; the key of timestamp is the controller's")
    threshold: int


class DirectorView(BaseModel):
    """Who signs assignments and acknowledgements."""

    root: int = Field(description="Version of the newest root")
    expires: float = Field(description="When it ends")
    laboratory: bool = Field(description="Keys on this machine alone can replace the root")
    devices: int = Field(description="How many devices have a document")
    waits_for: str = Field(description="Whom a next root waits for; empty where none waits")
    keys: list[DirectorKeyView]


class RotationBody(BaseModel):
    """Other keys for a role."""

    role: Literal["root", "targets", "timestamp"]
    public: Annotated[list[KeyPem], Field(max_length=20)] = []
    threshold: Annotated[int, Field(ge=1, le=20)] = 1


def create_router(services: Services, references: References) -> APIRouter:
    """The operations."""
    del references
    router = APIRouter(tags=["director"], dependencies=[Depends(bearer_scheme)])

    @router.get("/director", operation_id="show_director", dependencies=[need("keys.read")])
    def show_director() -> DirectorView:
        """Which keys sign assignments and acknowledgements."""
        return _view(services.director.show())

    @router.post("/director/rotate", operation_id="rotate_director", dependencies=[need("keys.change")])
    def rotate_director(body: RotationBody) -> DirectorView:
        """Give a role other keys; every assignment is issued again once the next root is signed."""
        return _view(services.director.rotate(body.role, body.public, body.threshold))

    @router.get("/director/request", operation_id="export_director", dependencies=[need("keys.read")])
    def export_director() -> Response:
        """The next root that waits for signatures, as a file for `edgewright keys sign`."""
        waiting = services.director.show().waiting
        if not waiting:
            raise UnknownSigningRequestError("No root of the director waits for signatures.")
        return Response(waiting, media_type="application/json")

    @router.post(
        "/director/request",
        operation_id="import_director",
        openapi_extra=FILE_BODY,
        dependencies=[need("keys.change")],
    )
    async def import_director(request: Request) -> DirectorView:
        """Bring the signed file back."""
        data = bytearray()
        async for piece in request.stream():
            data += piece
            if len(data) > MAX_REQUEST_BYTES:
                raise SignatureRefusedError("The file is too long to be a signing request.")
        return _view(await run_in_threadpool(services.director.adopt, bytes(data)))

    return router


def _view(state: State) -> DirectorView:
    return DirectorView(
        root=len(state.roots),
        expires=state.expires,
        laboratory=state.laboratory,
        devices=state.devices,
        waits_for=state.waits_for,
        keys=[
            DirectorKeyView(role=name, keyid=keyid, store=store, threshold=role.threshold)
            for name, role in state.roles.items()
            for keyid, store in role.keys.items()
        ],
    )
