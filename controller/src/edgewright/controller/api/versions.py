"""Operations on what is known of versions: where they come from, how they compare, their papers."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from edgewright.controller import lineage, registry
from edgewright.controller.api.access import bearer_scheme, need
from edgewright.controller.api.seams import Services
from edgewright.controller.comparison import compare
from edgewright.controller.errors import UnknownModelError
from edgewright.controller.versionfacts import gather, read_words
from edgewright.controller.web.references import References


class _FromValue(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class LineView(_FromValue):
    """One thing about a version, in words."""

    about: str
    said: str


class StepView(_FromValue):
    """One version of a chain."""

    version: int
    state: str
    source: str
    parent: int = Field(description="The version that it was made from; 0 at the root")
    created_at: float
    aliases: tuple[str, ...]
    lineage: dict[str, Any] = Field(description="The record; empty for a version that is older than records")
    told: tuple[LineView, ...] = Field(description="The record in words")


class LineageView(_FromValue):
    """Where a version comes from."""

    model: str
    version: int
    chain: tuple[StepView, ...] = Field(description="From the version back to its root")


class CellView(_FromValue):
    """One version's value."""

    value: float | str | None
    text: str
    mark: str = Field(description="Against the first version: same, other, better, worse; empty for itself")
    by: str = Field(description="How much better or worse")


class RowView(_FromValue):
    """One thing, in the order of the versions."""

    what: str
    differs: bool
    cells: tuple[CellView, ...]


class SectionView(_FromValue):
    """Rows about one subject."""

    title: str
    rows: tuple[RowView, ...]


class ComparisonView(_FromValue):
    """Versions side by side; the first is what the others are held against."""

    model: str
    versions: tuple[int, ...]
    sections: tuple[SectionView, ...]


def create_router(services: Services, references: References) -> APIRouter:
    """The operations."""
    del references
    router = APIRouter(tags=["models"], dependencies=[Depends(bearer_scheme)])
    _add_papers(router, services)

    @router.get(
        "/models/{model}/versions/{version}/lineage",
        operation_id="show_lineage",
        dependencies=[need("model.read")],
    )
    def show_lineage(model: str, version: int) -> LineageView:
        """Where a version comes from, back to its root."""
        with services.db.reading() as session:
            steps = lineage.chain(session, model, version)
        chain = tuple(StepView.model_validate(step) for step in steps)
        return LineageView(model=model, version=version, chain=chain)

    @router.get("/models/{model}/compare", operation_id="compare_versions", dependencies=[need("model.read")])
    def compare_versions(
        model: str,
        versions: Annotated[list[str], Query(description="Numbers or aliases, by commas", max_length=20)],
    ) -> ComparisonView:
        """Versions side by side, held against the first that is named."""
        with services.db.reading() as session:
            facts = gather(session, services.blobs, model, read_words(versions))
        return ComparisonView.model_validate(compare(model, facts))

    return router


def _add_papers(router: APIRouter, services: Services) -> None:
    def paper(model: str, version: int, sha256: str, what: str, name: str, media_type: str) -> Response:
        if not sha256:
            raise UnknownModelError(f"{model} v{version} has no {what}: it was built before there were any.")
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(services.blobs.read(sha256), media_type=media_type, headers=headers)

    @router.get(
        "/models/{model}/versions/{version}/card",
        operation_id="fetch_card",
        response_class=Response,
        dependencies=[need("model.read")],
    )
    def fetch_card(model: str, version: int) -> Response:
        """The generated model card, in Markdown."""
        with services.db.reading() as session:
            row = registry.find_version(session, model, version)
        name = f"{model}-v{version}-card.md"
        return paper(model, version, row.card_sha256, "model card", name, "text/markdown")

    @router.get(
        "/models/{model}/versions/{version}/sbom",
        operation_id="fetch_sbom",
        response_class=Response,
        dependencies=[need("model.read")],
    )
    def fetch_sbom(model: str, version: int) -> Response:
        """The software bill of materials, CycloneDX as JSON."""
        with services.db.reading() as session:
            row = registry.find_version(session, model, version)
        name = f"{model}-v{version}-sbom.cdx.json"
        kind = "application/vnd.cyclonedx+json"
        return paper(model, version, row.sbom_sha256, "bill of materials", name, kind)
