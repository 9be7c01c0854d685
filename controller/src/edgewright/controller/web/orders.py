"""What the page's buttons order; each asks for the same row of ``people.operations`` as the API."""

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from edgewright.controller.api.access import need_form, verify_scope
from edgewright.controller.api.seams import RolloutOrders, Services
from edgewright.controller.database.tables import Rollout
from edgewright.controller.errors import UnknownRolloutError
from edgewright.controller.settling import alarm_model, close_alarm, trust_device
from edgewright.controller.web.entry import Fields

ORDERED_BY: Final = "Ordered on the page."
REASON_AT_MOST: Final = 500

ORDERS: Final[dict[str, Callable[[RolloutOrders, int], Any]]] = {
    "pause": lambda rollouts, number: rollouts.pause(number, ORDERED_BY),
    "resume": lambda rollouts, number: rollouts.resume(number),
    "abort": lambda rollouts, number: rollouts.abort(number, ORDERED_BY),
    "rollback": lambda rollouts, number: rollouts.rollback(number),
}
"""What each button of a rollout's page does."""


def add_orders(router: APIRouter, services: Services) -> None:
    """The routes."""
    for order in ORDERS:
        router.add_api_route(
            f"/rollouts/{{number}}/{order}",
            _order_of(order, services),
            methods=["POST"],
            dependencies=[need_form(f"rollout.{order}")],
        )

    @router.post("/devices/{device}/revoke", dependencies=[need_form("device.revoke")])
    def revoke(device: str, fields: Fields) -> Response:
        services.register.revoke(device, _reason(fields))
        return RedirectResponse(f"/devices/{quote(device)}", 303)

    @router.post("/devices/{device}/trust", dependencies=[need_form("device.trust")])
    def trust(device: str, fields: Fields) -> Response:
        trust_device(services.db, device, _reason(fields))
        return RedirectResponse(f"/devices/{quote(device)}", 303)

    @router.post("/alarms/{number}/close", dependencies=[need_form("alarm.close")])
    def close(number: int, request: Request) -> Response:
        model = alarm_model(services.db, number)
        verify_scope(request, model)
        close_alarm(services.db, number)
        return RedirectResponse(f"/models/{quote(model)}", 303)


def _order_of(order: str, services: Services) -> Callable[[Request, int], Response]:
    def order_rollout(request: Request, number: int) -> Response:
        with services.db.reading() as session:
            rollout = session.get(Rollout, number)
        if rollout is None:
            raise UnknownRolloutError(f"There is no rollout {number}.")
        verify_scope(request, rollout.model)
        following = ORDERS[order](services.rollouts, number)
        return RedirectResponse(f"/rollouts/{following or number}", 303)

    return order_rollout


def _reason(fields: dict[str, str]) -> str:
    return fields.get("reason", "")[:REASON_AT_MOST]
