"""Operations on devices: list, show, enrol; and whether the controller is there."""

import json

from fastapi import APIRouter, Depends, Request

from edgewright.controller.api.access import Asking, bearer_scheme, client_address, need
from edgewright.controller.api.schemas import (
    BrokerView,
    DeviceView,
    EnrolBody,
    EnrolmentView,
    Health,
    TargetView,
    TelemetryView,
    TokenBody,
    TokenView,
)
from edgewright.controller.api.seams import Services
from edgewright.controller.compiler.targets import standing_table
from edgewright.controller.database.tables import Device
from edgewright.controller.errors import UnknownDeviceError
from edgewright.controller.identity.requests import decode_base64
from edgewright.controller.ingest.gaps import telemetry_of
from edgewright.controller.matching import Targets, judge
from edgewright.controller.targetrows import target_rows
from edgewright.controller.web import rows
from edgewright.controller.web.references import References

VERSION = "0.1.0"


def create_router(services: Services, references: References) -> APIRouter:
    """The operations."""
    del references
    router = APIRouter(tags=["devices"])
    _add_open(router, services)
    guarded = APIRouter(dependencies=[Depends(bearer_scheme)])

    @guarded.get("/devices", operation_id="list_devices", dependencies=[need("device.read")])
    def list_devices() -> list[DeviceView]:
        """The fleet, by id."""
        with services.db.reading() as session:
            targets = standing_table(services.data).table.target
            return [_view(device, targets) for device in rows.devices(session)]

    @guarded.get("/devices/{device}", operation_id="show_device", dependencies=[need("device.read")])
    def show_device(device: str) -> DeviceView:
        """One device."""
        with services.db.reading() as session:
            row = session.get(Device, device)
            if row is None:
                raise UnknownDeviceError(f"There is no device {device!r}.")
            return _view(row, standing_table(services.data).table.target)

    @guarded.get(
        "/devices/{device}/telemetry", operation_id="show_telemetry", dependencies=[need("device.read")]
    )
    def show_telemetry(device: str) -> TelemetryView:
        """What of one device's telemetry is not here: it waits there, or was given up."""
        with services.db.reading() as session:
            row = session.get(Device, device)
            if row is None:
                raise UnknownDeviceError(f"There is no device {device!r}.")
            return TelemetryView.model_validate(telemetry_of(session, row))

    @guarded.post(
        "/tokens", operation_id="new_token", status_code=201, dependencies=[need("enrolment.token")]
    )
    def new_token(person: Asking, body: TokenBody) -> TokenView:
        """Make a one-time enrolment token."""
        made = services.enrolment.new_token(
            body.life_s, device=body.device, tags=body.tags, created_by=person.actor
        )
        return TokenView(token=made)

    @guarded.get("/targets", operation_id="list_targets", dependencies=[need("device.read")])
    def list_targets() -> list[TargetView]:
        """Targets that models can be compiled for, and those that are not qualified yet."""
        with services.db.reading() as session:
            fleet = rows.devices(session)
        return [TargetView(**row) for row in target_rows(standing_table(services.data).table, fleet)]

    router.include_router(guarded)
    return router


def _view(device: Device, targets: Targets) -> DeviceView:
    verdict = judge(device, targets)
    said = {"fits": verdict.fits, "reasons": list(verdict.reasons), "better": verdict.better}
    return DeviceView.model_validate(device).model_copy(update=said)


def _add_open(router: APIRouter, services: Services) -> None:
    """What needs no API token."""

    @router.get("/health", operation_id="health", dependencies=[need("controller.health")])
    def health() -> Health:
        """Whether the controller answers."""
        return Health(version=VERSION)

    @router.post("/enrol", operation_id="enrol", status_code=201, dependencies=[need("device.enrol")])
    def enrol(body: EnrolBody, request: Request) -> EnrolmentView:
        """Take a device in, by its one-time token and a request for a certificate."""
        csr, host = decode_base64(body.csr.encode()), request.url.hostname or ""
        answer = services.enrolment.enrol(
            body.device, body.target, body.tags, body.token, csr, host, client_address(request)
        )
        return EnrolmentView(
            broker=BrokerView(host=answer.broker_host, port=answer.broker_port, tls=True),
            tags=answer.tags,
            certificate=answer.certificate,
            authority=answer.authority,
            expires=answer.expires,
            image_root=json.loads(answer.image_root),
            director_root=json.loads(answer.director_root),
        )
