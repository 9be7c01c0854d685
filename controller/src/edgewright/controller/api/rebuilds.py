"""Operations on rebuilds: start, list, show, approve, cancel, and runs side by side."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, Field

from edgewright.controller import aliases, registry
from edgewright.controller.api.access import Asking, audited, bearer_scheme, need, verify_scope
from edgewright.controller.api.schemas import AliasName, OrderBody, RebuildView, RunView
from edgewright.controller.api.seams import Services
from edgewright.controller.api.versions import SectionView
from edgewright.controller.database import MOST_NUMBER, Session
from edgewright.controller.rebuild import runs
from edgewright.controller.rebuild.comparing import compare_runs
from edgewright.controller.rebuild.orders import find_rebuild
from edgewright.controller.rebuild.trigger import Asked, Trigger
from edgewright.controller.versionfacts import read_words
from edgewright.controller.web import rows
from edgewright.controller.web.references import References

MOST_RUNS = 8
"""More columns than this nobody reads."""

DIGITS = len(str(MOST_NUMBER))


class RebuildBody(BaseModel):
    """Why a rebuild is asked for, and by whom."""

    reason: Annotated[str, Field(max_length=500)] = ""
    from_version: Annotated[int, Field(ge=0, le=MOST_NUMBER)] | AliasName = Field(
        default=0, description="A number or an alias to start from; 0 for what most devices run"
    )
    in_person: bool = Field(
        default=False,
        description="A person asks, and not a program: neither cooldown nor the day's budget holds it",
    )


class NewRebuild(BaseModel):
    """Number of the rebuild: a new one, or the one that is under way."""

    id: int


class RebuildDetail(RebuildView):
    """A rebuild with its runs, in the order in which they were begun."""

    runs: list[RunView] = Field(default_factory=list)


class RunComparison(BaseModel):
    """Runs side by side; the first is what the others are held against."""

    model: str
    runs: tuple[int, ...]
    sections: tuple[SectionView, ...]


def create_router(services: Services, references: References) -> APIRouter:
    """The operations."""
    del references
    router = APIRouter(tags=["rebuilds"], dependencies=[Depends(bearer_scheme)])

    @router.post(
        "/models/{model}/rebuilds",
        operation_id="start_rebuild",
        status_code=201,
        dependencies=[need("rebuild.start")],
    )
    def start_rebuild(model: str, body: RebuildBody, person: Asking) -> NewRebuild:
        """Ask for a rebuild; where one is under way it is that one."""
        with services.db.reading() as session:
            registry.verify_model(session, model)
            base = aliases.resolve(session, model, body.from_version) if body.from_version else 0
        trigger = Trigger.PERSON if body.in_person else Trigger.API
        cause = body.reason or f"{person.name} asks for it."
        asked = Asked(trigger, person.actor, from_version=base)
        number = services.workflows.enqueue_rebuild(model, cause, asked)
        return NewRebuild(id=number)

    @router.get("/rebuilds", operation_id="list_rebuilds", dependencies=[need("evidence.read")])
    def list_rebuilds(model: str = "", limit: Annotated[int, Query(ge=1, le=1000)] = 50) -> list[RebuildView]:
        """Rebuilds of a model or of all, newest first."""
        with services.db.reading() as session:
            return [RebuildView.model_validate(row) for row in rows.rebuilds(session, model, limit)]

    @router.get("/rebuilds/{number}", operation_id="show_rebuild", dependencies=[need("evidence.read")])
    def show_rebuild(number: int) -> RebuildDetail:
        """One rebuild with its runs."""
        with services.db.reading() as session:
            row = find_rebuild(session, number)
            found = [RunView.model_validate(run) for run in runs.runs_of(session, number)]
            return RebuildDetail.model_validate(row).model_copy(update={"runs": found})

    @router.get("/rebuild-runs/compare", operation_id="compare_runs", dependencies=[need("evidence.read")])
    def compare(
        numbers: Annotated[list[str], Query(alias="runs", description="Numbers, by commas", max_length=20)],
    ) -> RunComparison:
        """Runs side by side, held against the first that is named."""
        with services.db.reading() as session:
            found = compare_runs(named_runs(session, numbers))
        sections = tuple(SectionView.model_validate(section) for section in found.sections)
        return RunComparison(model=found.model, runs=found.versions, sections=sections)

    _add_orders(router, services)
    return router


def named_runs(session: Session, words: list[str]) -> list[Any]:
    """The runs that a person named by numbers and commas; what is no number names none."""
    chosen = [int(word) if word.isdecimal() and len(word) <= DIGITS else 0 for word in read_words(words)]
    return [runs.find_run(session, number) for number in chosen[:MOST_RUNS]]


def _add_orders(router: APIRouter, services: Services) -> None:
    def known(number: int, request: Request) -> int:
        with services.db.reading() as session:
            model = find_rebuild(session, number).model
        verify_scope(request, model)
        return number

    Known = Annotated[int, Depends(known)]  # noqa: N806  # an annotation, named like the types beside it

    @router.post(
        "/rebuilds/{number}/approve",
        operation_id="approve_rebuild",
        status_code=204,
        dependencies=[need("rebuild.approve")],
    )
    def approve_rebuild(number: Known, body: OrderBody, request: Request, person: Asking) -> None:
        """Let a rebuild that waits for a person go to the line."""
        audited(request, f"rebuild {number}", reason=body.reason)
        services.workflows.approve_rebuild(number, person.actor)

    @router.post(
        "/rebuilds/{number}/cancel",
        operation_id="cancel_rebuild",
        status_code=204,
        dependencies=[need("rebuild.cancel")],
    )
    def cancel_rebuild(number: Known, body: OrderBody, request: Request, person: Asking) -> None:
        """End a rebuild that has not gone to the line; its version is withdrawn."""
        audited(request, f"rebuild {number}", reason=body.reason)
        services.workflows.cancel_rebuild(number, person.actor)
