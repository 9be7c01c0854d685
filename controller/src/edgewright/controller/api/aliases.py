"""Operations on aliases: list, show, move, remove."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, Field

from edgewright.controller import aliases
from edgewright.controller.api.access import bearer_scheme, need
from edgewright.controller.api.schemas import AliasName, AliasView
from edgewright.controller.api.seams import Services
from edgewright.controller.web.references import References

Alias = Annotated[str, Path(max_length=64)]
"""Of an alias; what cannot be one is E112, with the reason."""


class AliasBody(BaseModel):
    """Where an alias shall point."""

    version: Annotated[int, Field(ge=1)] | AliasName = Field(description="A number, or another alias")


def create_router(services: Services, references: References) -> APIRouter:
    """The operations."""
    del references
    router = APIRouter(tags=["models"], dependencies=[Depends(bearer_scheme)])

    @router.get("/models/{model}/aliases", operation_id="list_aliases", dependencies=[need("model.read")])
    def list_aliases(model: str) -> list[AliasView]:
        """A model's aliases, by name."""
        with services.db.reading() as session:
            return [AliasView.model_validate(row) for row in aliases.list_aliases(session, model)]

    @router.get(
        "/models/{model}/aliases/{alias}", operation_id="show_alias", dependencies=[need("model.read")]
    )
    def show_alias(model: str, alias: Alias) -> AliasView:
        """The version that an alias means now."""
        with services.db.reading() as session:
            return AliasView.model_validate(aliases.find_alias(session, model, alias))

    @router.put(
        "/models/{model}/aliases/{alias}", operation_id="move_alias", dependencies=[need("model.alias")]
    )
    def move_alias(model: str, alias: Alias, body: AliasBody) -> AliasView:
        """Point an alias at a version that is ready; the champion's moves by rollouts only."""
        with services.db.session() as session:
            version = aliases.resolve(session, model, body.version)
            return AliasView.model_validate(aliases.move(session, model, alias, version))

    @router.delete(
        "/models/{model}/aliases/{alias}",
        operation_id="remove_alias",
        status_code=204,
        dependencies=[need("model.alias")],
    )
    def remove_alias(model: str, alias: Alias) -> None:
        """Take an alias away."""
        with services.db.session() as session:
            aliases.remove(session, model, alias)

    return router
