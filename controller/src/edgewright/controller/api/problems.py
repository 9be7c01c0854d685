"""Errors as RFC 9457 problem details: status, number, one sentence, one remedy, and never a traceback."""

from http import HTTPStatus
from typing import Final

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from edgewright.controller.errors import (
    BrokerFullError,
    ControllerError,
    DeviceRevokedError,
    DigestMismatchError,
    DownloadsBusyError,
    EnrolmentRefusedError,
    ForbiddenError,
    InvalidRequestError,
    ModelError,
    NotAuthorisedError,
    RequestError,
    RolloutStateError,
    SignatureRefusedError,
    SignaturesMissingError,
    SurroundingsError,
    TooManyAttemptsError,
    UnknownAddressError,
    UnknownAlarmError,
    UnknownAliasError,
    UnknownBlobError,
    UnknownDeviceError,
    UnknownModelError,
    UnknownRolloutError,
    UnknownSigningRequestError,
    UnknownTokenError,
    VersionNotReadyError,
)
from edgewright.wire.errors import EdgewrightError, MessageError

MEDIA_TYPE: Final = "application/problem+json"

STATUSES: Final[tuple[tuple[type[EdgewrightError], HTTPStatus], ...]] = (
    (NotAuthorisedError, HTTPStatus.UNAUTHORIZED),
    (EnrolmentRefusedError, HTTPStatus.FORBIDDEN),
    (ForbiddenError, HTTPStatus.FORBIDDEN),
    (DeviceRevokedError, HTTPStatus.FORBIDDEN),
    (TooManyAttemptsError, HTTPStatus.TOO_MANY_REQUESTS),
    (DownloadsBusyError, HTTPStatus.SERVICE_UNAVAILABLE),
    (BrokerFullError, HTTPStatus.INSUFFICIENT_STORAGE),
    (UnknownBlobError, HTTPStatus.NOT_FOUND),
    (UnknownTokenError, HTTPStatus.NOT_FOUND),
    (UnknownAlarmError, HTTPStatus.NOT_FOUND),
    (UnknownAddressError, HTTPStatus.NOT_FOUND),
    (UnknownAliasError, HTTPStatus.NOT_FOUND),
    (UnknownDeviceError, HTTPStatus.NOT_FOUND),
    (UnknownModelError, HTTPStatus.NOT_FOUND),
    (UnknownRolloutError, HTTPStatus.NOT_FOUND),
    (UnknownSigningRequestError, HTTPStatus.NOT_FOUND),
    (RolloutStateError, HTTPStatus.CONFLICT),
    (VersionNotReadyError, HTTPStatus.CONFLICT),
    (SignatureRefusedError, HTTPStatus.CONFLICT),
    (SignaturesMissingError, HTTPStatus.CONFLICT),
    (DigestMismatchError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (ModelError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (RequestError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (MessageError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (SurroundingsError, HTTPStatus.SERVICE_UNAVAILABLE),
)
"""HTTP status by error class; the first row that fits counts."""


class Problem(BaseModel):
    """A problem as RFC 9457 has it, with our number and remedy."""

    type: str = Field(description="urn:edgewright:error:<number>")
    title: str = Field(description="Name of the error")
    status: int
    detail: str = Field(description="What is wrong, in one sentence")
    number: int = Field(description="Stable number, also the exit status of the command line")
    remedy: str = Field(description="What to do, in one sentence")


class UnexpectedError(ControllerError):
    """A defect of the controller; its log has the cause."""

    remedy = "Report it with the controller's log."


def problem_of(error: EdgewrightError) -> Problem:
    """The problem that tells of an error."""
    status = next((s for kind, s in STATUSES if isinstance(error, kind)), HTTPStatus.INTERNAL_SERVER_ERROR)
    return Problem(
        type=f"urn:edgewright:error:{error.number}",
        title=error.name,
        status=status,
        detail=error.sentence,
        number=error.number,
        remedy=error.remedy,
    )


def from_validation(error: RequestValidationError) -> InvalidRequestError:
    """The first thing that is wrong with a request, as a sentence."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return InvalidRequestError(f"The request does not fit at {where}: {first['msg']}.")


def from_http(error: HTTPException) -> EdgewrightError:
    """What the router itself refuses: an address or a method that does not exist."""
    if error.status_code == HTTPStatus.NOT_FOUND:
        return UnknownAddressError("Nothing lies at this address.")
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return UnknownAddressError("This address does not take this method.")
    return InvalidRequestError(f"The request cannot be read: {error.detail}.")
