"""Enrolment over Secure Transport (RFC 7030) at the HTTPS door, and the revocation of a device.

What is supported: the authority's certificates, enrolment and renewal. A client enrols by HTTP Basic with the
device's id as its name and the enrolment token as its password, and renews by the certificate that it holds.
What is not: server-side keys, full CMC and attributes of requests; each answers 404, as the RFC asks.
"""

import base64
import binascii
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request, Response
from fastapi.requests import HTTPConnection
from fastapi.security import HTTPBasic

from edgewright.controller.api.access import bearer_scheme, client_address, need
from edgewright.controller.api.schemas import RevokeBody
from edgewright.controller.api.seams import Services
from edgewright.controller.errors import InvalidRequestError, NotAuthorisedError
from edgewright.controller.identity.requests import certs_only, decode_base64

PREFIX: Final = "/.well-known/est"
PKCS7: Final = "application/pkcs7-mime"
BASE64: Final = {"Content-Transfer-Encoding": "base64"}


class _DescribedBasic(HTTPBasic):
    """Stands in the description of the API; what is shown is read by ``_basic``, which refuses by number."""

    async def __call__(self, request: HTTPConnection) -> None:
        """Read nothing."""
        del request


_scheme = _DescribedBasic(description="A device's id and its enrolment token")


async def _body(request: Request) -> bytes:
    return await request.body()


def _over_tls(request: Request) -> None:
    if request.url.scheme != "https":
        raise InvalidRequestError("Certificates are given out over HTTPS only.")


Body = Annotated[bytes, Depends(_body)]


def create_est(services: Services) -> APIRouter:
    """The operations of RFC 7030."""
    router = APIRouter(prefix=PREFIX, tags=["est"], dependencies=[Depends(_over_tls)])

    @router.get("/cacerts", operation_id="est_cacerts", dependencies=[need("authority.read")])
    def cacerts() -> Response:
        """The certificates of root and issuing authority."""
        return Response(certs_only(services.register.authority.authorities), headers=BASE64, media_type=PKCS7)

    @router.post(
        "/simpleenroll",
        operation_id="est_simpleenroll",
        dependencies=[need("device.enrol"), Depends(_scheme)],
    )
    def simpleenroll(request: Request, body: Body) -> Response:
        """Take a device in: a PKCS#10 request in base64, with its id and its token by HTTP Basic."""
        device, token = _basic(request)
        issued, _ = services.enrolment.admit(
            device, "", {}, token, decode_base64(body), client_address(request)
        )
        return _issued(certs_only([issued.certificate]))

    @router.post("/simplereenroll", operation_id="est_simplereenroll", dependencies=[need("device.renew")])
    def simplereenroll(request: Request, body: Body) -> Response:
        """Renew a certificate, by that certificate: a PKCS#10 request of a new key in base64."""
        shown: bytes = getattr(request.state, "client_certificate", b"")
        issued = services.register.renew(shown, decode_base64(body))
        return _issued(certs_only([issued.certificate]))

    return router


def create_revocation(services: Services) -> APIRouter:
    """What a person orders about a device's identity."""
    router = APIRouter(tags=["devices"], dependencies=[Depends(bearer_scheme)])

    @router.post(
        "/devices/{device}/revoke",
        operation_id="revoke_device",
        status_code=204,
        dependencies=[need("device.revoke")],
    )
    def revoke(device: str, body: RevokeBody) -> None:
        """Refuse a device from now on, and end its connection."""
        services.register.revoke(device, body.reason)

    return router


def _issued(certificates: bytes) -> Response:
    return Response(certificates, headers=BASE64, media_type=f"{PKCS7}; smime-type=certs-only")


def _basic(request: Request) -> tuple[str, str]:
    """Name and password of HTTP Basic (RFC 7617).

    Raises:
        NotAuthorisedError: there are none.
    """
    scheme, _, shown = request.headers.get("authorization", "").partition(" ")
    try:
        name, colon, password = base64.b64decode(shown, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        name, colon, password = "", "", ""
    if scheme.lower() != "basic" or not colon:
        raise NotAuthorisedError("A device's id and its enrolment token are needed, by HTTP Basic.")
    return name, password
