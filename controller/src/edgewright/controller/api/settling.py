"""Operations that settle something: close an alarm, trust a suspicious device again."""

from fastapi import APIRouter, Depends, Request

from edgewright.controller.api.access import bearer_scheme, need, verify_scope
from edgewright.controller.api.schemas import OrderBody
from edgewright.controller.api.seams import Services
from edgewright.controller.settling import alarm_model, close_alarm, trust_device
from edgewright.controller.web.references import References


def create_router(services: Services, references: References) -> APIRouter:
    """The operations."""
    del references
    router = APIRouter(dependencies=[Depends(bearer_scheme)])

    @router.post(
        "/alarms/{number}/close",
        operation_id="close_alarm",
        status_code=204,
        tags=["evidence"],
        dependencies=[need("alarm.close")],
    )
    def close(number: int, body: OrderBody, request: Request) -> None:
        """Close an alarm that needs no answer."""
        verify_scope(request, alarm_model(services.db, number))
        close_alarm(services.db, number, body.reason)

    @router.post(
        "/devices/{device}/trust",
        operation_id="trust_device",
        status_code=204,
        tags=["devices"],
        dependencies=[need("device.trust")],
    )
    def trust(device: str, body: OrderBody) -> None:
        """Take away the suspicion that a device is a copy."""
        trust_device(services.db, device, body.reason)

    return router
