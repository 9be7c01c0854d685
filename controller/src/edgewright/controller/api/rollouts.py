"""Operations on rollouts: list, start, show, pause, resume, abort, roll back."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from edgewright.controller import aliases
from edgewright.controller.api.access import bearer_scheme, need, verify_scope
from edgewright.controller.api.schemas import (
    LeftOutView,
    NewRollout,
    OrderBody,
    RolloutBody,
    RolloutDetail,
    RolloutDeviceView,
    RolloutView,
)
from edgewright.controller.api.seams import Services
from edgewright.controller.database.tables import Rollout
from edgewright.controller.errors import UnknownRolloutError
from edgewright.controller.rollouts.policy import Wave
from edgewright.controller.web import rows
from edgewright.controller.web.references import References


def create_router(services: Services, references: References) -> APIRouter:
    """The operations."""
    del references
    router = APIRouter(tags=["rollouts"], dependencies=[Depends(bearer_scheme)])

    @router.get("/rollouts", operation_id="list_rollouts", dependencies=[need("rollout.read")])
    def list_rollouts(limit: Annotated[int, Query(ge=1, le=1000)] = 50) -> list[RolloutView]:
        """Rollouts, newest first."""
        with services.db.reading() as session:
            return [RolloutView.model_validate(row) for row in rows.rollouts(session, limit)]

    @router.post(
        "/rollouts", operation_id="create_rollout", status_code=201, dependencies=[need("rollout.create")]
    )
    def create_rollout(body: RolloutBody, request: Request) -> NewRollout:
        """Start a rollout; without waves it takes the default ones."""
        verify_scope(request, body.model)
        chosen = tuple(Wave(**wave.model_dump()) for wave in body.waves or ())
        with services.db.reading() as session:
            version = aliases.resolve(session, body.model, body.version)
        arguments = (body.model, version, body.selector)
        if chosen:
            return NewRollout(id=services.rollouts.create(*arguments, chosen, body.reason))
        return NewRollout(id=services.rollouts.create(*arguments, reason=body.reason))

    @router.get("/rollouts/{number}", operation_id="show_rollout", dependencies=[need("rollout.read")])
    def show_rollout(number: int) -> RolloutDetail:
        """One rollout with its devices."""
        with services.db.reading() as session:
            row = session.get(Rollout, number)
            if row is None:
                raise UnknownRolloutError(f"There is no rollout {number}.")
            parts = [RolloutDeviceView.model_validate(p) for p in rows.rollout_devices(session, number)]
            left_out = [LeftOutView.model_validate(row) for row in rows.left_out(session, number)]
            found = {"devices": parts, "left_out": left_out}
            return RolloutDetail.model_validate(row).model_copy(update=found)

    _add_orders(router, services)
    return router


def _add_orders(router: APIRouter, services: Services) -> None:
    def known(number: int, request: Request) -> int:
        with services.db.reading() as session:
            row = session.get(Rollout, number)
        if row is None:
            raise UnknownRolloutError(f"There is no rollout {number}.")
        verify_scope(request, row.model)
        return number

    Known = Annotated[int, Depends(known)]  # noqa: N806  # an annotation, named like the types beside it

    @router.post(
        "/rollouts/{number}/pause",
        operation_id="pause_rollout",
        status_code=204,
        dependencies=[need("rollout.pause")],
    )
    def pause_rollout(number: Known, body: OrderBody) -> None:
        """Hold a rollout: devices that have their assignment finish."""
        services.rollouts.pause(number, body.reason)

    @router.post(
        "/rollouts/{number}/resume",
        operation_id="resume_rollout",
        status_code=204,
        dependencies=[need("rollout.resume")],
    )
    def resume_rollout(number: Known) -> None:
        """Go on with a held rollout."""
        services.rollouts.resume(number)

    @router.post(
        "/rollouts/{number}/abort",
        operation_id="abort_rollout",
        status_code=204,
        dependencies=[need("rollout.abort")],
    )
    def abort_rollout(number: Known, body: OrderBody) -> None:
        """End a rollout; devices on their way go back to what they ran."""
        services.rollouts.abort(number, body.reason)

    @router.post(
        "/rollouts/{number}/rollback",
        operation_id="rollback_rollout",
        status_code=201,
        dependencies=[need("rollout.rollback")],
    )
    def rollback_rollout(number: Known) -> NewRollout:
        """Send a rollout's devices back to what most of them ran before it, by a new rollout."""
        return NewRollout(id=services.rollouts.rollback(number))
