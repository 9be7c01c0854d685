"""Operations on qualifications: list what was measured on devices, have a version measured."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from edgewright.controller import aliases
from edgewright.controller.api.access import bearer_scheme, need, verify_scope
from edgewright.controller.api.auditing import acting_of
from edgewright.controller.api.schemas import AliasName, Name
from edgewright.controller.api.seams import Services
from edgewright.controller.database import col, select
from edgewright.controller.database.versiontables import Qualification
from edgewright.controller.qualification.service import LIMIT_S, LONGEST_S
from edgewright.controller.web.references import References


class QualificationView(BaseModel):
    """One candidate on one device."""

    model_config = ConfigDict(from_attributes=True)

    order_id: int
    model: str
    version: int
    target: str
    candidate: str
    manifest_sha256: str
    size: int = Field(description="Of the artifact, bytes")
    device: str
    state: str = Field(description="waiting, ordered, measured, failed, unmeasured or expired")
    ordered_at: float
    finished_at: float
    error: int
    detail: str
    result: dict[str, Any] = Field(description="What the device measured; empty before")


class QualificationBody(BaseModel):
    """What shall be measured, and where."""

    model: Name
    version: Annotated[int, Field(ge=1)] | AliasName = Field(description="A number, or an alias")
    target: str = Field("", description="One of its targets; empty for all that have a device")
    devices: list[str] = Field([], description="Empty for all whose token gave them qualify=yes")
    limit_s: Annotated[float, Field(gt=0, le=LONGEST_S)] = LIMIT_S


class NewQualifications(BaseModel):
    """Numbers of the orders, one a device and target."""

    orders: list[int]


def create_router(services: Services, references: References) -> APIRouter:
    """The operations."""
    del references
    router = APIRouter(tags=["qualifications"], dependencies=[Depends(bearer_scheme)])

    @router.get(
        "/qualifications", operation_id="list_qualifications", dependencies=[need("qualification.read")]
    )
    def list_qualifications(
        model: str = "", version: int = 0, limit: Annotated[int, Query(ge=1, le=1000)] = 100
    ) -> list[QualificationView]:
        """Candidates on devices, newest first."""
        found = select(Qualification).order_by(col(Qualification.id).desc()).limit(limit)
        if model:
            found = found.where(col(Qualification.model) == model)
        if version:
            found = found.where(col(Qualification.version) == version)
        with services.db.reading() as session:
            return [QualificationView.model_validate(row) for row in session.exec(found).all()]

    @router.post(
        "/qualifications",
        operation_id="order_qualification",
        status_code=201,
        dependencies=[need("qualification.order")],
    )
    def order_qualification(body: QualificationBody, request: Request) -> NewQualifications:
        """Have a released version measured on devices that take part."""
        verify_scope(request, body.model)
        person = acting_of(request).person
        with services.db.reading() as session:
            version = aliases.resolve(session, body.model, body.version)
        numbers = services.qualifications.order(
            body.model,
            version,
            body.target,
            body.devices,
            limit_s=body.limit_s,
            ordered_by=person.name if person else "",
        )
        return NewQualifications(orders=numbers)

    return router
