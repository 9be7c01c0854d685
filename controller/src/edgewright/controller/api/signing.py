"""Operations on signatures: requests that wait, the keys that sign, and withdrawing a version."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import BaseModel, Field

from edgewright.controller.api.access import bearer_scheme, need
from edgewright.controller.api.schemas import Name
from edgewright.controller.api.seams import Services
from edgewright.controller.errors import SignatureRefusedError
from edgewright.controller.signing import Outcome
from edgewright.controller.trust import requests
from edgewright.controller.trust.orders import KeyOrder
from edgewright.controller.trust.requests import MAX_REQUEST_BYTES
from edgewright.controller.web.references import References

FILE_BODY: Final[dict[str, Any]] = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}
}
RoleName = Annotated[str, Field(min_length=1, max_length=64)]
KeyPem = Annotated[str, Field(max_length=4096)]
KeyId = Annotated[str, Field(min_length=4, max_length=64, pattern="^[0-9a-f]+$")]


class PartView(BaseModel):
    """One document of a request."""

    role: str
    version: int
    missing: int = Field(description="How many more signatures it needs at least")
    wanted: list[str] = Field(description="Ids of the keys whose signature brings it further")
    signed_by: list[str] = Field(description="Ids of the keys that have signed")


class SigningView(BaseModel):
    """A change that waits for signatures of keys that are not on the controller."""

    id: str
    made_at: float
    missing: int = Field(description="How many more signatures it needs at least")
    waits_for: str = Field(description="In words")
    summary: list[str] = Field(description="What changes, in words")
    parts: list[PartView]


class OutcomeView(BaseModel):
    """What came of an order."""

    sentence: str
    request: str = Field(description="Request that waits for signatures; empty where it was done")


class KeyView(BaseModel):
    """One key of one role."""

    role: str
    keyid: str
    scheme: str
    store: str = Field(description="file, token, or elsewhere")
    threshold: int
    of: int
    expires: float = Field(description="When the role's present document ends; 0 where it has none")


class RosterView(BaseModel):
    """Which keys sign what."""

    laboratory: bool = Field(description="The controller made the keys by itself: not fit for a factory")
    keys: list[KeyView]


class KeyOrderBody(BaseModel):
    """A change of keys; see `edgewright keys`."""

    roles: Annotated[list[RoleName], Field(max_length=100)] = []
    add: Annotated[list[KeyPem], Field(max_length=100)] = []
    drop: Annotated[list[KeyId], Field(max_length=100)] = []
    replace: bool = False
    generate: bool = False
    threshold: Annotated[int, Field(ge=0, le=100)] = 0
    recover: bool = False


class WithdrawBody(BaseModel):
    """Why a version is withdrawn."""

    reason: Annotated[str, Field(max_length=200)] = ""


def create_router(services: Services, references: References) -> APIRouter:
    """The operations."""
    del references
    router = APIRouter(tags=["signing"], dependencies=[Depends(bearer_scheme)])
    _add_requests(router, services)
    _add_keys(router, services)

    @router.post(
        "/models/{model}/versions/{version}/withdraw",
        operation_id="withdraw_version",
        dependencies=[need("model.withdraw")],
    )
    def withdraw_version(model: Annotated[Name, Path()], version: int, body: WithdrawBody) -> OutcomeView:
        """Take a version out of circulation and out of the signed catalogue; its rollouts end.

        Devices that run it go on until they are given another.
        """
        return _outcome(services.signing.withdraw(model, version, body.reason))

    return router


def _add_requests(router: APIRouter, services: Services) -> None:
    @router.get("/signing", operation_id="list_signing", dependencies=[need("keys.read")])
    def list_signing() -> list[SigningView]:
        """What waits for signatures, the oldest first."""
        return [_view(request) for request in services.signing.requests()]

    @router.get("/signing/{number}", operation_id="export_signing", dependencies=[need("model.sign")])
    def export_signing(number: str) -> Response:
        """The request's file, to be signed where the keys are."""
        data = requests.encode(services.signing.request(number))
        return Response(data, media_type="application/json")

    @router.post(
        "/signing/{number}",
        operation_id="import_signing",
        dependencies=[need("model.sign")],
        openapi_extra=FILE_BODY,
    )
    async def import_signing(number: str, request: Request) -> OutcomeView:
        """Bring a signed file back; it is committed when every role has its threshold."""
        from anyio.to_thread import run_sync

        data = await _body(request)
        shown = requests.decode(data)
        if shown.id != number:
            raise SignatureRefusedError(f"The file is the request {shown.id}, not {number[:80]}.")
        return _outcome(await run_sync(services.signing.accept, data))


async def _body(request: Request) -> bytes:
    parts, total = [], 0
    async for part in request.stream():
        total += len(part)
        if total > MAX_REQUEST_BYTES:
            raise SignatureRefusedError("The file is too long for a signing request.")
        parts.append(part)
    return b"".join(parts)


def _add_keys(router: APIRouter, services: Services) -> None:
    @router.get("/keys", operation_id="list_keys", dependencies=[need("keys.read")])
    def list_keys() -> RosterView:
        """Which keys sign what, how many of them, and where they are."""
        rows = services.signing.roster()
        keys = [
            KeyView(
                role=row.role,
                keyid=row.keyid,
                scheme=row.scheme,
                store=row.store,
                threshold=row.threshold,
                of=row.of,
                expires=row.expires,
            )
            for row in rows
        ]
        return RosterView(laboratory=services.signing.laboratory, keys=keys)

    @router.post("/keys", operation_id="change_keys", dependencies=[need("keys.change")])
    def change_keys(body: KeyOrderBody) -> OutcomeView:
        """Add, drop or replace keys, or set a threshold; what cannot be signed here waits as a request."""
        order = KeyOrder(
            roles=tuple(body.roles),
            add=tuple(body.add),
            drop=tuple(body.drop),
            replace=body.replace,
            generate=body.generate,
            threshold=body.threshold,
            recover=body.recover,
        )
        return _outcome(services.signing.order(order))


def _view(request: requests.Request) -> SigningView:
    parts = [
        PartView(
            role=part.role,
            version=part.version,
            missing=part.missing(),
            wanted=sorted(part.wanted()),
            signed_by=sorted(part.signatures),
        )
        for part in request.parts
    ]
    return SigningView(
        id=request.id,
        made_at=request.made_at,
        missing=request.missing(),
        waits_for=request.short_of(),
        summary=list(request.summary),
        parts=parts,
    )


def _outcome(outcome: Outcome) -> OutcomeView:
    return OutcomeView(sentence=outcome.sentence, request=outcome.request)
