"""Operations on people and their tokens, and who asks."""

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from edgewright.controller.api.access import Asking, Peoples, bearer_scheme, need
from edgewright.controller.api.schemas import Name
from edgewright.controller.api.seams import Services
from edgewright.controller.people.operations import OPERATIONS
from edgewright.controller.people.tokens import LIFE_DAYS, LIFE_DAYS_AT_MOST
from edgewright.controller.web.references import References

Days = Annotated[int, Field(ge=1, le=LIFE_DAYS_AT_MOST, description="Days until it ends")]


class ApiTokenView(BaseModel):
    """A person's or program's token; its secret is known to its holder only."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    name: str
    role: str = Field(description="viewer, operator, engineer or admin")
    models: list[str] = Field(description="What it may change; empty for all")
    created_at: float
    created_by: str
    expires: float
    last_used: float = Field(description="To the minute; 0 for never")
    revoked_at: float = Field(description="0 while it counts")


class ApiTokenBody(BaseModel):
    """A new token."""

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f]+$")]
    role: Annotated[str, Field(max_length=20)]
    models: Annotated[list[Name], Field(max_length=100)] = []
    days: Days = LIFE_DAYS


class RenewalBody(BaseModel):
    """A new end for a token."""

    days: Days = LIFE_DAYS


class NewApiToken(BaseModel):
    """A token's text; it is shown only now."""

    id: str
    token: str
    expires: float


class WhoView(BaseModel):
    """Who asks, and what that role may do."""

    token: str = Field(description="Public id; local for the data folder's own")
    name: str
    role: str
    models: list[str]
    expires: float = Field(description="0 for never")
    may: list[str] = Field(description="Names of the operations that the role may do")


def create_router(services: Services, references: References) -> APIRouter:
    """The operations."""
    del services, references
    router = APIRouter(tags=["people"], dependencies=[Depends(bearer_scheme)])

    @router.get("/whoami", operation_id="whoami", dependencies=[need("person.self")])
    def whoami(person: Asking) -> WhoView:
        """Whose token this is, and what it may do."""
        return WhoView(
            token=person.token,
            name=person.name,
            role=person.role.word,
            models=list(person.models),
            expires=person.expires,
            may=[action for action, row in OPERATIONS.items() if row.role and person.may(action)],
        )

    _add_tokens(router)
    return router


def _add_tokens(router: APIRouter) -> None:
    @router.get("/people/tokens", operation_id="list_tokens", dependencies=[need("people.read")])
    def list_tokens(people: Peoples) -> list[ApiTokenView]:
        """All tokens of people and programs, newest first."""
        return [ApiTokenView.model_validate(row) for row in people.tokens.list()]

    @router.post(
        "/people/tokens", operation_id="add_token", status_code=201, dependencies=[need("people.add")]
    )
    def add_token(people: Peoples, person: Asking, body: ApiTokenBody) -> NewApiToken:
        """Give somebody a token."""
        made = people.tokens.add(body.name, body.role, tuple(body.models), body.days, by=person.actor)
        return NewApiToken(id=made.id, token=made.text, expires=made.expires)

    @router.post(
        "/people/tokens/{token}/renew",
        operation_id="renew_token",
        status_code=201,
        dependencies=[need("people.renew")],
    )
    def renew_token(people: Peoples, token: str, body: RenewalBody) -> NewApiToken:
        """Give a token a new secret and a new end; the old secret ends now."""
        made = people.tokens.renew(token, body.days)
        return NewApiToken(id=made.id, token=made.text, expires=made.expires)

    @router.delete(
        "/people/tokens/{token}",
        operation_id="revoke_token",
        status_code=204,
        dependencies=[need("people.revoke")],
    )
    def revoke_token(people: Peoples, token: str) -> None:
        """End a token and its sessions."""
        people.tokens.revoke(token)
