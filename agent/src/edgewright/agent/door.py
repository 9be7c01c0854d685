"""Speaking HTTPS to the controller's door, for short-lived processes."""

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any, Final

from edgewright.agent.tls import TlsContext

TIMEOUT_SECONDS: Final = 60
"""A controller answers an enrolment once its broker admits the device, which takes a moment in a crowd."""

MAX_ANSWER_BYTES: Final = 1024 * 1024
CERTIFICATES: Final = "/.well-known/est/cacerts"
RENEWAL: Final = "/.well-known/est/simplereenroll"
ENROLMENT: Final = "/api/v1/enrol"


class DoorError(Exception):
    """The door did not answer, or said no; internal to the agent.

    Attributes:
        refused: whether it said no; otherwise asking again later may help.
    """

    def __init__(self, sentence: str, *, refused: bool) -> None:
        super().__init__(sentence)
        self.refused = refused


def ask(
    url: str, context: TlsContext, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> bytes:
    """GET an address, or POST a body to it.

    Raises:
        DoorError: it is no HTTPS address, nobody answers there, or the answer is a refusal.
    """
    if urllib.parse.urlsplit(url).scheme != "https":
        raise DoorError(f"{url} is no HTTPS address.", refused=True)
    request = urllib.request.Request(url, data=body, headers=dict(headers or {}))  # noqa: S310 - https only
    try:
        opened = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS, context=context)  # noqa: S310 - https only
        with opened as response:
            return bytes(response.read(MAX_ANSWER_BYTES))
    except urllib.error.HTTPError as error:
        said = f"The controller answered {error.code}: {_problem(error)}."
        raise DoorError(said, refused=400 <= error.code < 500) from error
    except (urllib.error.URLError, OSError, ValueError) as error:
        cause = getattr(error, "reason", error)
        raise DoorError(f"The controller at {url} did not answer: {cause}.", refused=False) from error


def _problem(error: urllib.error.HTTPError) -> str:
    """The sentence of an RFC 9457 problem, or HTTP's own words."""
    try:
        body: Mapping[str, Any] = json.loads(error.read(MAX_ANSWER_BYTES))
        return str(body.get("detail") or body.get("title") or error.reason).rstrip(".")
    except (ValueError, AttributeError, OSError):
        return str(error.reason)
