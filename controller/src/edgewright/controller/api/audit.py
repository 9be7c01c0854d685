"""Operations on the audit log: look, export, and a signed head. None changes it."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from edgewright.controller.api.access import bearer_scheme, need
from edgewright.controller.api.seams import Services
from edgewright.controller.people import audit, heads
from edgewright.controller.web.references import References


class AuditView(BaseModel):
    """One entry of the audit log."""

    model_config = ConfigDict(from_attributes=True)

    seq: int
    at: float
    actor: str = Field(description="Name and token id, `device` and its id, or `controller`")
    role: str
    action: str = Field(description="The operation, or the kind of event that the controller caused")
    subject: str
    outcome: str = Field(description="done, or the error that refused it")
    detail: dict[str, Any]
    previous_sha256: str
    sha256: str


class HeadView(BaseModel):
    """How far the log goes."""

    model_config = ConfigDict(from_attributes=True)

    seq: int
    sha256: str
    at: float


class SignedHeadView(BaseModel):
    """A head with the raw Ed25519 key and the signature, both base64."""

    model_config = ConfigDict(from_attributes=True)

    head: HeadView
    key: str
    signature: str


def create_router(services: Services, references: References) -> APIRouter:
    """The operations."""
    del references
    router = APIRouter(tags=["audit"], dependencies=[Depends(bearer_scheme)])

    @router.get("/audit", operation_id="list_audit", dependencies=[need("audit.read")])
    def list_audit(
        search: Annotated[str, Query(max_length=200)] = "",
        before: Annotated[int, Query(ge=0)] = 0,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> list[AuditView]:
        """Entries in which every word of the search stands, newest first; the next page by ``before``."""
        with services.db.reading() as session:
            found = audit.search(session, search, limit, before=before)
            return [AuditView.model_validate(row) for row in found]

    @router.get("/audit/head", operation_id="audit_head", dependencies=[need("audit.export")])
    def audit_head() -> SignedHeadView:
        """The signed head of the log, to be kept elsewhere."""
        return SignedHeadView.model_validate(heads.present_head(services.db, services.data))

    @router.get(
        "/audit/export",
        operation_id="export_audit",
        response_class=StreamingResponse,
        dependencies=[need("audit.export")],
    )
    def export_audit() -> StreamingResponse:
        """The whole log as JSON lines; the last line is the signed head."""
        lines = heads.export_lines(services.db, services.data)
        return StreamingResponse(lines, media_type="application/x-ndjson")

    return router
